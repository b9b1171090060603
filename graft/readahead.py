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
    """The trend of one reader; used by one thread at a time.

    Invariant: `_expected` holds frames only that were missing when they were named, by direction.
    """

    def __init__(self, frames_max: int) -> None:
        """Fetch at most ``frames_max`` frames ahead at once; 0 for none."""
        self._frames_max = frames_max
        self._window = 0
        self._expected: dict[int, frozenset[int]] = {}
        self.use = ReadaheadUse()

    def plan(self, page: int, frame: int, order: PageOrder, missing: MissingFrame) -> list[int]:
        """Return the frames to fetch for a miss on ``page`` in ``frame``: that one first, then those ahead."""
        if not self._frames_max:
            return [frame]
        direction = next((way for way, frames in self._expected.items() if frame in frames), 0)
        if direction:
            self.use.hits += 1
            self._window = min(max(2 * self._window, 1), self._frames_max)
        else:
            self._window = 0
        ahead = list(_frames_ahead(page, frame, direction or 1, order, missing, self._window + _EXPECTED_FRAMES))
        fetched, expected = ahead[: self._window], ahead[self._window :]
        if direction:
            self._expected = {direction: frozenset(expected)}
        else:
            behind = _frames_ahead(page, frame, -1, order, missing, _EXPECTED_FRAMES)
            self._expected = {1: frozenset(expected), -1: frozenset(behind)}
        self.use.frames += len(fetched)
        return [frame, *fetched]


def _frames_ahead(
    page: int, frame: int, direction: int, order: PageOrder, missing: MissingFrame, count: int
) -> Iterator[int]:
    """Yield up to ``count`` distinct missing frames, other than ``frame``, in the order of the pages ahead."""
    seen = {frame}
    for following in islice(order.following(page, direction), _LOOK_PAGES_MAX):
        found = missing(following)
        if found is not None and found not in seen:
            seen.add(found)
            yield found
            if len(seen) > count:
                return
