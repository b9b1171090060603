"""The chunks of page maps, and how local commits change them."""

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from metastore.placement import CHUNK_PAGES, U64, chunk_count

CHUNK_SHIFT = 12
CHUNK_MASK = CHUNK_PAGES - 1
assert 1 << CHUNK_SHIFT == CHUNK_PAGES

_FEW_PAGES = 16
_UNREAD_MAX = 64
"""Most commits that a map holds before it applies them to its chunks."""


class MapChunk:
    """A run of 4,096 locations, built on first use; safe for threads."""

    __slots__ = ("_build", "_locations", "_lock", "fingerprint", "view")

    def __init__(
        self, fingerprint: int, *, build: Callable[[], U64] | None = None, locations: U64 | None = None
    ) -> None:
        """Take the locations, or the function that builds them."""
        self.fingerprint = fingerprint
        self.view: memoryview | None = None
        """The locations in format ``Q``, None until they are built; for the fast path."""
        self._build = build
        self._locations: U64 | None = None
        self._lock = threading.Lock()  # guards the building
        if locations is not None:
            self._publish(locations)

    @property
    def built(self) -> bool:
        """Whether the locations are built."""
        return self.view is not None

    def locations(self) -> U64:
        """Return the locations, which are read-only."""
        if self._locations is None:
            with self._lock:
                if self._locations is None:
                    assert self._build is not None, "BUG: a chunk without locations or builder"
                    self._publish(self._build())
                    self._build = None
        assert self._locations is not None, "BUG: a chunk was built without locations"
        return self._locations

    def _publish(self, locations: U64) -> None:
        locations.flags.writeable = False
        # The view first: a thread that sees the locations without holding the lock uses the view next.
        self.view = locations.data.cast("B").cast("Q")
        self._locations = locations


EMPTY_CHUNK = MapChunk(0, locations=np.zeros(CHUNK_PAGES, np.uint64))


class Change(Protocol):
    """What a local commit changes in a map; see `graft.journal.local_commit.LocalCommit`."""

    @property
    def slot_count(self) -> int:
        """An upper bound of the number of placed pages."""
        ...

    def places(self) -> Iterable[tuple[int, int]]:
        """Return the placed pages, each with its location."""
        ...

    @property
    def pages(self) -> npt.NDArray[np.int64]:
        """The same pages as an array."""
        ...

    @property
    def locations(self) -> U64:
        """The location of each of `pages`."""
        ...

    @property
    def page_count(self) -> int:
        """Page count of the map after the change."""
        ...

    @property
    def min_page_count(self) -> int:
        """Pages above it are dropped first."""
        ...


class Unread:
    """Changes that unread maps share, on top of the same chunks; each map uses the first few of them.

    Only `followed_by` appends to them.
    """

    __slots__ = ("changes", "chunks", "lock", "page_count")

    def __init__(self, chunks: Sequence[MapChunk], page_count: int) -> None:
        self.chunks = chunks
        self.page_count = page_count
        self.changes: list[Change] = []
        self.lock = threading.Lock()  # guards the growth of `changes`

    def followed_by(self, change: Change, length: int) -> bool:
        """Append a change if there are exactly ``length`` ones, and not too many; return whether it was appended."""
        with self.lock:
            if not len(self.changes) == length < _UNREAD_MAX:
                return False
            self.changes.append(change)
            return True


def laid_over(chunks: Sequence[MapChunk], page_count: int, changes: Sequence[Change]) -> Sequence[MapChunk]:
    """Return the chunks with changes applied in order; each chunk is copied once at most."""
    result = list(chunks)
    changed: dict[int, U64] = {}
    for change in changes:
        if change.min_page_count < page_count or change.page_count != page_count:
            _publish(changed, result)
            result = resized(result, page_count, change.page_count, change.min_page_count)
            page_count = change.page_count
        if change.slot_count <= _FEW_PAGES:
            # A typical transaction: most of its time would be numpy's overhead per call.
            for page, location in change.places():
                number = (page - 1) >> CHUNK_SHIFT
                if number not in changed:
                    changed[number] = copied(result[number].locations())
                changed[number][(page - 1) & CHUNK_MASK] = location
        else:
            pages, locations = change.pages, change.locations
            numbers = (pages - 1) >> CHUNK_SHIFT
            for number in dict.fromkeys(numbers.tolist()):
                mine = numbers == number
                if number not in changed:
                    changed[number] = copied(result[number].locations())
                changed[number][(pages[mine] - 1) & CHUNK_MASK] = locations[mine]
    _publish(changed, result)
    return result


def _publish(changed: dict[int, U64], chunks: list[MapChunk]) -> None:
    """Replace chunks by their changed copies."""
    for number, found in changed.items():
        chunks[number] = MapChunk(0, locations=found)
    changed.clear()


def copied(locations: U64) -> U64:
    """Return a writable copy.

    Not by ``copy``: it uses memcpy, which takes ten times as long on some processors (AMD Zen 3 and 4) if source and
    target have the same offset in their memory pages.
    """
    result: U64 = np.positive(locations)
    return result


def resized(chunks: Sequence[MapChunk], old_count: int, page_count: int, min_page_count: int) -> list[MapChunk]:
    """Return chunks of ``old_count`` pages resized to ``page_count``, without the pages above ``min_page_count``."""
    min_page_count = min(min_page_count, page_count, old_count)
    result = list(chunks[: chunk_count(min_page_count)])
    below = min_page_count % CHUNK_PAGES
    if below and min_page_count < old_count:
        locations = result[-1].locations()
        if np.any(locations[below:]):
            changed = copied(locations)
            changed[below:] = 0
            result[-1] = MapChunk(0, locations=changed)
    result.extend([EMPTY_CHUNK] * (chunk_count(page_count) - len(result)))
    return result
