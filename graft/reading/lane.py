"""Lanes: where a reader is in one tree, the trend it follows, and how far to read ahead of it. Pure."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from graft.reading.page_order import LOOK_PAGES_MAX, PageOrder, Trend

_MissingFrame = Callable[[int], int | None]

_EXPECTED_FRAMES = 3
"""A miss follows an order where it comes to one of this many next missing frames."""
_LONG_WAY_FRAMES = 16
"""After this many frames along a trend, twice as many may be ahead: a scan waits while its window opens."""
_FIRST_LOOK_PAGES_MAX = 512
NEAR_PAGES = 1024
"""Pages of an order that lie farther apart have nothing to do with each other."""
_STRIDE_FRAMES_MAX = 6
"""How many steps of a stride to fetch ahead at most: errors add up."""
_STRIDE_TOLERANCE = 8
"""A step may differ from the one before by this part of it: rows are not equally long."""


@dataclass(slots=True)
class Lane:
    """Where a reader is in one tree."""

    page: int
    """At which it came to a frame last."""
    step: int = 0
    """Pages in the order from the one before to there; negative backwards, 0 if that was not near."""
    trend: Trend | None = None
    streak: int = 0
    """Frames that it came to along the trend …"""
    used: int = 0
    """… since the window was halved last."""
    is_at_end: bool = False
    """Whether the order named less than was wanted in the background; the next miss looks again."""
    window: int = 0
    ahead: set[int] = field(default_factory=set)
    """Frames that were fetched for the trend and that the reader has not reached yet …"""
    piggybacked: set[int] = field(default_factory=set)
    """… and those that were piggybacked on their requests."""

    def turn(self, trend: Trend | None) -> None:
        """Follow a trend; another one than before begins anew."""
        if (
            trend is None
            or self.trend is None
            or trend.direction != self.trend.direction
            or self.is_strided != (trend.stride != 1)
        ):
            self.streak, self.used, self.window, self.is_at_end = 0, 0, 0, False
            self.ahead.clear()
            self.piggybacked.clear()
        self.trend = trend

    @property
    def is_strided(self) -> bool:
        """Whether it goes in strides."""
        return self.trend is not None and self.trend.stride != 1

    def stored_inline(self) -> None:
        """Note that the reader came to a frame where the trend led."""
        self.streak += 1
        self.used += 1

    def further_frames(self, frames_max: int) -> int:
        """Return how many frames to fetch in the background now: those that are ahead are half of what they may be.

        They may be as many as were used, twice as many once it is a long way, and two windows.
        """
        if self.trend is None or self.is_strided or self.is_at_end:
            return 0
        ahead_max = min(self.used if self.used < _LONG_WAY_FRAMES else 2 * self.used, 2 * frames_max)
        room = ahead_max - len(self.ahead)
        return min(room, frames_max) if 2 * room >= ahead_max else 0

    def next_window(self, frames_max: int) -> int:
        """Return how many frames to fetch ahead now: twice as many, or half as many if too many were passed over.

        Half the window is too many, in strides a quarter.
        """
        if self.window and (4 if self.is_strided else 2) * len(self.ahead) >= self.window:
            self.ahead.clear()
            self.used = max(self.window // 2, 1)
            return self.used
        return min(max(2 * self.window, 1), frames_max, _STRIDE_FRAMES_MAX if self.is_strided else frames_max)


def trend_at(lane: Lane, page: int, frame: int, order: PageOrder, missing: _MissingFrame) -> Trend | None:
    """Return the trend that a miss follows.

    It is decided at the miss, since frames that were fetched before may have shown how the order continues.
    """
    ways = (lane.trend.direction,) if lane.trend is not None else (1, -1)
    step, before = distance(order, lane.page, page, ways), lane.step
    if not step and lane.trend is None:
        lane.step = 0
        return None  # not near: the usual case of random lookups, so it must be cheap
    place, near = {}, {}
    for way in ways:
        look = islice(Trend(way).pages(lane.page, order), LOOK_PAGES_MAX if lane.trend else _FIRST_LOOK_PAGES_MAX)
        near[way] = list(missing_frames(look, None, missing, _EXPECTED_FRAMES))
        place[way] = near[way].index(frame) if frame in near[way] else _EXPECTED_FRAMES
    way = min(ways, key=place.__getitem__)
    if place[way] == 0 and not lane.is_strided:
        lane.step = 0
        return Trend(way)
    lane.step = step
    if lane.trend is not None and lane.is_strided:
        expected = missing_frames(lane.trend.pages(lane.page, order), None, missing, _EXPECTED_FRAMES)
        if frame in expected or _alike(abs(step), lane.trend.stride):
            return lane.trend.after(step)
    if step * before > 0 and _alike(step, before):
        return Trend(1 if step > 0 else -1, (abs(step) + abs(before)) / 2, 2)
    return Trend(way) if place[way] < _EXPECTED_FRAMES else None


def _alike(step: int, before: float) -> bool:
    return abs(step - before) <= max(1, abs(before) / _STRIDE_TOLERANCE)


def missing_frames(pages: Iterator[int], frame: int | None, missing: _MissingFrame, count: int) -> Iterator[int]:
    """Yield up to ``count`` distinct missing frames, other than ``frame``, in the order of the pages."""
    seen: set[int | None] = {frame, None}
    for page in pages:
        found = missing(page)
        if found is not None and found not in seen:
            yield found
            seen.add(found)
            if len(seen) == count + len({frame, None}):
                return


def distance(order: PageOrder, page: int, other: int, ways: Sequence[int]) -> int:
    """Return how many steps of the order lead from one page to another, negative backwards; 0 if none are near."""
    found = order.distance(page, other, NEAR_PAGES)
    return found if (1 if found > 0 else -1) in ways else 0
