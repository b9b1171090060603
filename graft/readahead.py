"""Readahead: which frames to fetch together with the one that a reader is waiting for, decided without I/O.

A reader that misses a page where an order said that it would is following that order: from then on each miss fetches a
window of what comes next, twice as large each time, up to a bound. A miss anywhere else ends it. So a scan costs a few
requests, and random lookups cost nothing extra.

Orders are strategies: pages by number, or, where somebody knows more, B-tree leaves by key.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from graft.snapshot import Snapshot

MissingFrame = Callable[[int], int | None]
"""Returns the number of the frame that a page must be fetched with; None when the page is here, or has no body."""

_EXPECTED_FRAMES = 3
_LOOK_PAGES_MAX = 4096


class PageOrder(Protocol):
    """A guess at which pages follow which."""

    def following(self, page: int, direction: int) -> Iterator[int]:
        """Yield the pages that come after ``page`` (direction 1) or before it (−1), nearest first."""
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


@dataclass(slots=True)
class ReadaheadUse:
    """What readahead did."""

    frames: int = 0
    """Fetched before anybody asked."""
    hits: int = 0
    """Misses that came where they were expected."""


class NumberAdvisor:
    """Reads ahead by page number; for volumes of which nothing more is known. See `graft.snapshot.Advisor`."""

    def __init__(self, frames_max: int) -> None:
        """Fetch at most ``frames_max`` frames ahead at once."""
        self.readahead = Readahead(frames_max)

    def plan(self, snapshot: Snapshot, page: int, frame: int) -> list[int]:
        """See `graft.snapshot.Advisor.plan`."""
        return self.readahead.plan(page, frame, NumberOrder(snapshot.page_count), snapshot.missing_frame)

    def arrived(self, snapshot: Snapshot, frames: Sequence[int]) -> None:
        """Learn nothing."""


class Readahead:
    """The trend of one reader; used by one thread at a time."""

    def __init__(self, frames_max: int) -> None:
        """Fetch at most ``frames_max`` frames ahead at once; 0 for none."""
        self._frames_max = frames_max
        self._window = 0
        self._last_page: int | None = None
        """Where the miss before was."""
        self._direction = 0
        """The way that the reader goes, 0 when it seems to go nowhere."""
        self.use = ReadaheadUse()

    def plan(self, page: int, frame: int, order: PageOrder, missing: MissingFrame) -> list[int]:
        """Return the frames to fetch for a miss on ``page`` in ``frame``: that one first, then those ahead."""
        if not self._frames_max:
            return [frame]
        self._direction = self._way_to(frame, order, missing)
        self._last_page = page
        if not self._direction:
            self._window = 0
            return [frame]
        self.use.hits += 1
        self._window = min(max(2 * self._window, 1), self._frames_max)
        ahead = list(_frames_ahead(page, frame, self._direction, order, missing, self._window))
        self.use.frames += len(ahead)
        return [frame, *ahead]

    def _way_to(self, frame: int, order: PageOrder, missing: MissingFrame) -> int:
        """Return the direction in which a frame comes next after the miss before, 0 if it does not.

        Only now, since what was fetched then may have told how the order goes on.
        """
        if self._last_page is None:
            return 0
        for way in (self._direction,) if self._direction else (1, -1):
            if frame in _frames_ahead(self._last_page, None, way, order, missing, _EXPECTED_FRAMES):
                return way
        return 0


def _frames_ahead(
    page: int, frame: int | None, direction: int, order: PageOrder, missing: MissingFrame, count: int
) -> Iterator[int]:
    """Yield up to ``count`` distinct missing frames, other than ``frame``, in the order of the pages ahead."""
    seen: set[int | None] = {frame, None}
    for following in islice(order.following(page, direction), _LOOK_PAGES_MAX):
        found = missing(following)
        if found is not None and found not in seen:
            yield found
            seen.add(found)
            if len(seen) == count + len({frame, None}):
                return
