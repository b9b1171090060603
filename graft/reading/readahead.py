"""Readahead: which frames to fetch together with the one that a reader is waiting for, decided without I/O.

A miss where a page order expected the next one indicates a scan. From then on each miss fetches a window of the next
frames. The window doubles while its frames are used, halves when half of it was skipped, and ends with the first miss
elsewhere. Frames that were fetched ahead and never used are counted. A reader that wasted too many must follow a trend
for longer before anything is fetched for it. So a scan costs a few requests, and random lookups cost none extra.

A scan rarely waits: when it reaches a frame that was fetched ahead, the frames after that are fetched in the
background. At most two windows are ahead of it, and never more frames than it has used so far.

A query may read an index and its table in turn, so each tree has a trend of its own (`graft.reading.lane`). A trend
goes forwards or backwards, page by page or in strides, through a page order (`graft.reading.page_order`): pages by
number, or B-tree leaves by key. Where pushes have scattered pages, other frames are piggybacked
(`graft.reading.piggyback`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from graft.reading.lane import Lane, distance, missing_frames, trend_at
from graft.reading.page_order import NumberOrder, PageOrder
from graft.reading.piggyback import Objects, piggyback, piggyback_room
from graft.reading.snapshot import Snapshot

_LANES_MAX = 8
_WASTE_PART = 32
"""Readahead may waste one frame for this many that the reader requested, besides `_WASTE_FREE`."""
_WASTE_FREE = 2
_WARY_STREAK = 3
"""How many misses must follow a trend before anything is fetched ahead, once more than that was wasted."""


@dataclass(slots=True)
class ReadaheadUse:
    """What readahead did for one reader."""

    frames: int = 0
    """Frames that were fetched ahead."""
    used: int = 0
    """Those of `frames` that the reader requested later."""
    asked: int = 0
    """Frames that the reader requested, fetched ahead or not."""
    hits: int = 0
    """Misses that a trend expected."""

    @property
    def wasted(self) -> int:
        """Frames that were fetched ahead and not requested so far."""
        return self.frames - self.used


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
        """Do nothing: page numbers need no frames."""


class Readahead:
    """What one reader is doing; used by one thread at a time."""

    def __init__(self, frames_max: int, piggyback_max: int | None = None) -> None:
        """Fetch at most ``frames_max`` frames ahead at once (0 for none) and piggyback ``piggyback_max`` more.

        By default as many are piggybacked as are fetched ahead.
        """
        self._frames_max = frames_max
        self._piggyback_max = frames_max if piggyback_max is None else piggyback_max
        self._lanes: dict[int, Lane] = {}
        """By tree, the least recently used first."""
        self._unused: set[int] = set()
        """Frames that were fetched ahead, for any trend, and not requested yet."""
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
            lane.turn(trend_at(lane, page, frame, order, places.missing_frame))
            lane.page = page
        if lane.trend is None:
            return [frame]
        self.use.hits += 1
        lane.count_use()
        if lane.streak < self._streak_needed():
            return [frame]
        lane.window, lane.is_at_end = lane.next_window(self._frames_max), False
        ahead = self._ahead(lane, frame, order, places, lane.window)
        self.sparse = lane.is_strided
        self._note(lane, ahead)
        return [frame, *ahead]

    def entered(self, page: int, frame: int, order: PageOrder, places: Objects) -> list[int]:
        """Note that the reader entered a frame that had been fetched ahead, by itself or by another reader.

        Returns the frames to fetch now without waiting for them; the caller calls `fetching` if it begins to.
        """
        self.use.asked += 1
        if frame in self._unused:
            self._unused.discard(frame)
            self.use.used += 1
        lane = self._lane_at(page, order)
        lane.piggybacked.discard(frame)
        if frame in lane.ahead:
            lane.ahead.discard(frame)
            lane.count_use()
        if lane.trend is not None and lane.is_strided:
            lane.step = distance(order, lane.page, page, (lane.trend.direction,))
            lane.trend = lane.trend.after(lane.step)
        lane.page = page
        return self._further(lane, order, places)

    def fetching(self, frames: Sequence[int]) -> None:
        """Note that the frames that `entered` wanted just now are being fetched."""
        lane = next(reversed(self._lanes.values()))
        lane.window = max(lane.window, sum(frame not in lane.piggybacked for frame in frames))
        self._note(lane, frames)

    def _further(self, lane: Lane, order: PageOrder, places: Objects) -> list[int]:
        count = lane.further_frames(self._frames_max)
        if not count or lane.trend is None or lane.streak < self._streak_needed():
            return []
        found = self._ahead(lane, None, order, places, count)
        lane.is_at_end = len(found) < count
        return found

    def _ahead(self, lane: Lane, frame: int | None, order: PageOrder, places: Objects, count: int) -> list[int]:
        """Return the next ``count`` missing frames, and those that are piggybacked on their requests."""
        assert lane.trend is not None, "BUG: a lane without a trend has nothing ahead"
        pages = lane.trend.pages(lane.page, order)
        ahead = list(missing_frames(pages, frame, places.missing_frame, count))
        if lane.is_strided:
            return ahead
        planned = ahead if frame is None else [frame, *ahead]
        room = piggyback_room(lane.used, len(lane.piggybacked), self._piggyback_max)
        piggybacked = piggyback(pages, planned, lane.used, room, places)
        lane.piggybacked.update(piggybacked)
        return ahead + piggybacked

    def _note(self, lane: Lane, ahead: Sequence[int]) -> None:
        self.use.frames += len(ahead)
        self._unused.update(ahead)
        lane.ahead.update(frame for frame in ahead if frame not in lane.piggybacked)

    def _lane_at(self, page: int, order: PageOrder) -> Lane:
        tree = order.tree(page)
        lane = self._lanes.pop(tree, None) or Lane(page)
        self._lanes[tree] = lane
        if len(self._lanes) > _LANES_MAX:
            del self._lanes[next(iter(self._lanes))]
        return lane

    def _streak_needed(self) -> int:
        return 1 if self.use.wasted <= _WASTE_FREE + self.use.asked // _WASTE_PART else _WARY_STREAK
