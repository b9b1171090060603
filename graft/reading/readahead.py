"""Readahead: which frames to fetch together with the one that a reader is waiting for, decided without I/O.

A reader that comes to a page where an order said that it would is following that order: from then on each miss fetches
a window of what comes next. The window doubles while what was fetched is used, halves when half of it was passed over,
and ends with the first miss anywhere else. What was fetched ahead and never asked for is counted, and a reader that was
misled too often must show a trend for longer before anything is fetched for it. So a scan costs a few requests, and
random lookups cost nothing extra.

A scan does not wait if it can be helped: as it comes to what was fetched ahead, what follows that is fetched in the
background. So up to two windows are ahead of it, but never more than it has used so far.

A query may be at several places at once, on an index and on its table: each tree has a trend of its own.

Where pushes have scattered pages, other frames go along with a window: `graft.reading.piggyback`.

A trend goes forwards or backwards, to the next page or in strides, through an order: pages by number, or, where
somebody knows more, B-tree leaves by key.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from graft.reading.piggyback import Objects, company, company_room
from graft.reading.snapshot import Snapshot

_MissingFrame = Callable[[int], int | None]

_EXPECTED_FRAMES = 3
_LANES_MAX = 8
_LONG_WAY_FRAMES = 16
"""Who used so many frames along a trend has twice as many ahead: a scan is kept waiting while its window opens."""
_LOOK_PAGES_MAX = 4096
_FIRST_LOOK_PAGES_MAX = 512
NEAR_PAGES = 1024
"""Pages of an order that lie farther apart have nothing to do with each other."""
_STRIDE_FRAMES_MAX = 6
"""So many steps ahead at most: errors add up."""
_STRIDE_MEMORY = 8
"""Steps that an average remembers."""
_STRIDE_TOLERANCE = 8
"""A step may differ from the one before by this part of it: rows are not equally long."""
_WASTE_PART = 32
"""Of the frames asked for, so many may have been fetched in vain for each one …"""
_WASTE_FREE = 2
"""… and these."""
_WARY_STREAK = 3
"""Misses that must follow a trend, when more than that was fetched in vain."""


class PageOrder(Protocol):
    """A guess at which pages follow which."""

    def following(self, page: int, direction: int) -> Iterator[int]:
        """Yield the pages that come after ``page`` (direction 1) or before it (−1), nearest first."""
        ...

    def distance(self, page: int, other: int, steps_max: int) -> int:
        """Return how many steps of `following` lead from one page to another, negative backwards; 0 if so many do not.

        A reader whose misses are random asks for it at each of them.
        """
        ...

    def tree(self, page: int) -> int:
        """Return the same number for all pages that are ordered among each other, as far as that is known."""
        ...


@dataclass(frozen=True, slots=True)
class NumberOrder:
    """Pages by number, ``stride`` apart."""

    page_count: int
    stride: int = 1

    def following(self, page: int, direction: int) -> Iterator[int]:
        """See `PageOrder.following`."""
        step = direction * self.stride
        return iter(range(page + step, self.page_count + 1 if step > 0 else 0, step))

    def distance(self, page: int, other: int, steps_max: int) -> int:
        """See `PageOrder.distance`."""
        steps, rest = divmod(other - page, self.stride)
        return steps if not rest and abs(steps) <= steps_max and 1 <= other <= self.page_count else 0

    def tree(self, page: int) -> int:  # noqa: ARG002 - the protocol's
        """All pages are of one tree."""
        return 0


@dataclass(slots=True)
class ReadaheadUse:
    """What readahead did for one reader."""

    frames: int = 0
    """Fetched before anybody asked."""
    used: int = 0
    """Of those, frames that were asked for later."""
    asked: int = 0
    """Frames that were asked for, fetched ahead or not."""
    hits: int = 0
    """Misses that came where they were expected."""

    @property
    def wasted(self) -> int:
        """Frames that were fetched ahead and not asked for so far."""
        return self.frames - self.used


@dataclass(frozen=True, slots=True)
class Trend:
    """Where a reader goes."""

    direction: int
    """1 forwards, −1 backwards in the order."""
    stride: float = 1.0
    """Pages of the order from one that is read to the next, on average …"""
    steps: int = 0
    """… of so many."""

    def pages(self, page: int, order: PageOrder) -> Iterator[int]:
        """Yield the pages that are likely to be read after ``page``, nearest first."""
        ahead = islice(order.following(page, self.direction), _LOOK_PAGES_MAX)
        if self.stride == 1:
            yield from ahead
            return
        steps = 1
        for position, following in enumerate(ahead, 1):
            if position == round(steps * self.stride):
                yield following
                steps += 1

    def after(self, step: int) -> "Trend":
        """Return the trend with one more step in its average; 0 is none."""
        if not step:
            return self
        stride = self.stride + (abs(step) - self.stride) / min(self.steps + 1, _STRIDE_MEMORY)
        return Trend(self.direction, stride, self.steps + 1)


class NumberAdvisor:
    """Reads ahead by page number; for volumes of which nothing more is known. See `graft.reading.snapshot.Advisor`."""

    def __init__(self, frames_max: int) -> None:
        """Fetch at most ``frames_max`` frames ahead at once."""
        self.readahead = Readahead(frames_max)

    @property
    def sparse(self) -> bool:
        """See `graft.reading.snapshot.Advisor.sparse`."""
        return self.readahead.sparse

    def plan(self, snapshot: Snapshot, page: int, frame: int) -> list[int]:
        """See `graft.reading.snapshot.Advisor.plan`."""
        return self.readahead.plan(page, frame, NumberOrder(snapshot.page_count), snapshot)

    def used(self, snapshot: Snapshot, page: int, frame: int) -> list[int]:
        """See `graft.reading.snapshot.Advisor.used`."""
        return self.readahead.entered(page, frame, NumberOrder(snapshot.page_count), snapshot)

    def fetching(self, frames: Sequence[int]) -> None:
        """See `graft.reading.snapshot.Advisor.fetching`."""
        self.readahead.fetching(frames)

    def arrived(self, snapshot: Snapshot, frames: Sequence[int]) -> None:
        """Learn nothing."""


@dataclass(slots=True)
class _Lane:
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
    """Frames that were fetched for the trend, and that the reader has not come to yet …"""
    company: set[int] = field(default_factory=set)
    """… and those that went along with them."""

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
            self.company.clear()
        self.trend = trend

    @property
    def is_strided(self) -> bool:
        """Whether it goes in strides."""
        return self.trend is not None and self.trend.stride != 1

    def came_along(self) -> None:
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


class Readahead:
    """What one reader is doing; used by one thread at a time."""

    def __init__(self, frames_max: int, company_max: int | None = None) -> None:
        """Fetch at most ``frames_max`` frames ahead at once, 0 for none, and have ``company_max`` more go along.

        That is as many again if nothing is said.
        """
        self._frames_max = frames_max
        self._company_max = frames_max if company_max is None else company_max
        self._lanes: dict[int, _Lane] = {}
        """By tree; the one used last is the last."""
        self._unused: set[int] = set()
        """Frames that were fetched ahead, for whatever trend, and not asked for yet."""
        self.sparse = False
        """Whether the frames planned last lie in strides."""
        self.use = ReadaheadUse()

    def plan(self, page: int, frame: int, order: PageOrder, places: Objects) -> list[int]:
        """Return the frames to fetch for a miss on ``page`` in ``frame``: that one first, then those ahead."""
        self.use.asked += 1
        if not self._frames_max:
            return [frame]
        lane = self._lane_at(page, order)
        if lane.page != page:
            lane.turn(_trend_at(lane, page, frame, order, places.missing_frame))
            lane.page = page
        if lane.trend is None:
            return [frame]
        self.use.hits += 1
        lane.came_along()
        if lane.streak < self._streak_needed():
            return [frame]
        lane.window, lane.is_at_end = lane.next_window(self._frames_max), False
        ahead = self._ahead(lane, frame, order, places, lane.window)
        self.sparse = lane.is_strided
        self._note(lane, ahead)
        return [frame, *ahead]

    def entered(self, page: int, frame: int, order: PageOrder, places: Objects) -> list[int]:
        """Note that the reader came to a frame that had been fetched ahead, by itself or by another reader.

        Returns the frames that are to be fetched now, without waiting for them; `fetching` is to be told if they are.
        """
        self.use.asked += 1
        if frame in self._unused:
            self._unused.discard(frame)
            self.use.used += 1
        lane = self._lane_at(page, order)
        lane.company.discard(frame)
        if frame in lane.ahead:
            lane.ahead.discard(frame)
            lane.came_along()
        if lane.trend is not None and lane.is_strided:
            lane.step = _distance(order, lane.page, page, (lane.trend.direction,))
            lane.trend = lane.trend.after(lane.step)
        lane.page = page
        return self._further(lane, order, places)

    def fetching(self, frames: Sequence[int]) -> None:
        """Note that the frames that `entered` wanted just now are being fetched."""
        lane = next(reversed(self._lanes.values()))
        lane.window = max(lane.window, sum(frame not in lane.company for frame in frames))
        self._note(lane, frames)

    def _further(self, lane: _Lane, order: PageOrder, places: Objects) -> list[int]:
        count = lane.further_frames(self._frames_max)
        if not count or lane.trend is None or lane.streak < self._streak_needed():
            return []
        found = self._ahead(lane, None, order, places, count)
        lane.is_at_end = len(found) < count
        return found

    def _ahead(self, lane: _Lane, frame: int | None, order: PageOrder, places: Objects, count: int) -> list[int]:
        """Return the next ``count`` frames that are missing, and those that go along with them."""
        assert lane.trend is not None, "BUG: nothing is ahead of who goes nowhere"
        pages = lane.trend.pages(lane.page, order)
        ahead = list(_frames(pages, frame, places.missing_frame, count))
        if lane.is_strided:
            return ahead
        planned = ahead if frame is None else [frame, *ahead]
        room = company_room(lane.used, len(lane.company), self._company_max)
        along = company(pages, planned, lane.used, room, places)
        lane.company.update(along)
        return ahead + along

    def _note(self, lane: _Lane, ahead: Sequence[int]) -> None:
        self.use.frames += len(ahead)
        self._unused.update(ahead)
        lane.ahead.update(frame for frame in ahead if frame not in lane.company)

    def _lane_at(self, page: int, order: PageOrder) -> _Lane:
        tree = order.tree(page)
        lane = self._lanes.pop(tree, None) or _Lane(page)
        self._lanes[tree] = lane
        if len(self._lanes) > _LANES_MAX:
            del self._lanes[next(iter(self._lanes))]
        return lane

    def _streak_needed(self) -> int:
        return 1 if self.use.wasted <= _WASTE_FREE + self.use.asked // _WASTE_PART else _WARY_STREAK


def _trend_at(lane: _Lane, page: int, frame: int, order: PageOrder, missing: _MissingFrame) -> Trend | None:
    """Return the trend that a miss follows.

    Only now, since what was fetched before may have told how the order goes on.
    """
    ways = (lane.trend.direction,) if lane.trend is not None else (1, -1)
    step, before = _distance(order, lane.page, page, ways), lane.step
    if not step and lane.trend is None:
        lane.step = 0
        return None  # not near: what a random lookup comes to, so it must be cheap to see
    place, near = {}, {}
    for way in ways:
        look = islice(Trend(way).pages(lane.page, order), _LOOK_PAGES_MAX if lane.trend else _FIRST_LOOK_PAGES_MAX)
        near[way] = list(_frames(look, None, missing, _EXPECTED_FRAMES))
        place[way] = near[way].index(frame) if frame in near[way] else _EXPECTED_FRAMES
    way = min(ways, key=place.__getitem__)
    if place[way] == 0 and not lane.is_strided:
        lane.step = 0
        return Trend(way)
    lane.step = step
    if lane.trend is not None and lane.is_strided:
        expected = _frames(lane.trend.pages(lane.page, order), None, missing, _EXPECTED_FRAMES)
        if frame in expected or _alike(abs(step), lane.trend.stride):
            return lane.trend.after(step)
    if step * before > 0 and _alike(step, before):
        return Trend(1 if step > 0 else -1, (abs(step) + abs(before)) / 2, 2)
    return Trend(way) if place[way] < _EXPECTED_FRAMES else None


def _alike(step: int, before: float) -> bool:
    return abs(step - before) <= max(1, abs(before) / _STRIDE_TOLERANCE)


def _frames(pages: Iterator[int], frame: int | None, missing: _MissingFrame, count: int) -> Iterator[int]:
    """Yield up to ``count`` distinct missing frames, other than ``frame``, in the order of the pages."""
    seen: set[int | None] = {frame, None}
    for page in pages:
        found = missing(page)
        if found is not None and found not in seen:
            yield found
            seen.add(found)
            if len(seen) == count + len({frame, None}):
                return


def _distance(order: PageOrder, page: int, other: int, ways: Sequence[int]) -> int:
    """Return how many steps of the order lead from one page to another, negative backwards; 0 if none are near."""
    found = order.distance(page, other, NEAR_PAGES)
    return found if (1 if found > 0 else -1) in ways else 0
