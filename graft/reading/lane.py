"""Lanes: where a reader is in one tree, the trend it follows, and how far to read ahead of it. Pure."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from graft.reading.page_order import LOOKAHEAD_PAGES_MAX, PageOrder, Trend

_MissingFrame = Callable[[int], int | None]

_EXPECTED_FRAMES = 3
"""A miss follows an order if its frame is one of this many next missing frames."""
_LONG_WAY_FRAMES = 16
"""After this many frames along a trend, twice as many may be ahead: a scan waits while its window opens."""
_FIRST_PAGES_MAX = 512
"""How many pages of an order to search for a miss that is not on a trend yet."""
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
    """The page at which it last entered a frame."""
    step: int = 0
    """Pages in the order from the page before to `page`; negative backwards, 0 if that was not near."""
    trend: Trend | None = None
    streak: int = 0
    """Frames used along the trend."""
    used: int = 0
    """Frames used along the trend since the window was last halved."""
    is_at_end: bool = False
    """Whether the order named fewer frames than the background fetch wanted; the next miss tries again."""
    window: int = 0
    ahead: set[int] = field(default_factory=set)
    """Frames that were fetched for the trend and not reached yet."""
    piggybacked: set[int] = field(default_factory=set)
    """Frames that were piggybacked on requests for the trend, and not reached yet."""

    def turn(self, trend: Trend | None) -> None:
        """Follow a trend; a different trend starts with no frames used or ahead."""
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

    def count_use(self) -> None:
        """Note that the reader used a frame along the trend."""
        self.streak += 1
        self.used += 1

    def further_frames(self, frames_max: int) -> int:
        """Return how many frames to fetch in the background now, 0 while more than half of those allowed are ahead.

        Allowed are as many as were used, twice as many after a long way, and at most two windows.
        """
        if self.trend is None or self.is_strided or self.is_at_end:
            return 0
        ahead_max = min(self.used if self.used < _LONG_WAY_FRAMES else 2 * self.used, 2 * frames_max)
        room = ahead_max - len(self.ahead)
        return min(room, frames_max) if 2 * room >= ahead_max else 0

    def next_window(self, frames_max: int) -> int:
        """Return how many frames to fetch ahead now: twice the window, or half of it if too many frames were skipped.

        Half the window is too many, for strides a quarter.
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
        pages = islice(Trend(way).pages(lane.page, order), LOOKAHEAD_PAGES_MAX if lane.trend else _FIRST_PAGES_MAX)
        near[way] = list(missing_frames(pages, None, missing, _EXPECTED_FRAMES))
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
