"""The page map: page index → location, in chunks that versions share.

A map is immutable: a change makes a new map that shares every chunk it did not touch, so reading a page costs the
same after a million commits as after one. A chunk of a remote map is built when it is first touched, from the indexes
that mention it; the result never depends on when.

Invariants: `fingerprint` and `live_pages` describe the remote part alone and are checked against the commit that the
map claims to be; locations above `page_count` are 0.
"""

import threading
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from graft.errors import Corrupt
from graft.frametable import FrameTable
from graft.locations import frames_of, in_frames
from metastore.fingerprint import fingerprint
from metastore.index import CommitIndex
from metastore.placement import CHUNK_PAGES, U64, ChunkPlacement, SegmentRef, chunk_count
from metastore.rollup import cut

CHUNK_SHIFT = 12
CHUNK_MASK = CHUNK_PAGES - 1
assert 1 << CHUNK_SHIFT == CHUNK_PAGES

_FEW_PAGES = 16

ChunkLoader = Callable[[Iterable[tuple[CommitIndex, int]]], None]
"""Reads the index chunks that are lacking (`metastore.index.load_chunks`)."""


class MapChunk:
    """4,096 locations, built on first use; safe for threads."""

    __slots__ = ("_build", "_locations", "_lock", "fingerprint", "view")

    def __init__(
        self, fingerprint: int, *, build: Callable[[], U64] | None = None, locations: U64 | None = None
    ) -> None:
        """Take the locations, or what builds them."""
        self.fingerprint = fingerprint
        self.view: memoryview | None = None
        """The locations, format ``Q``, once they are built; for the fast path."""
        self._build = build
        self._locations: U64 | None = None
        self._lock = threading.Lock()  # guards the building
        if locations is not None:
            self._publish(locations)

    @property
    def built(self) -> bool:
        """Whether the locations are there already."""
        return self.view is not None

    def locations(self) -> U64:
        """Return the locations; not to be written to."""
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
        # The view first: whoever sees the locations without holding the lock goes on to use the view.
        self.view = locations.data.cast("B").cast("Q")
        self._locations = locations


_EMPTY_CHUNK = MapChunk(0, locations=np.zeros(CHUNK_PAGES, np.uint64))


class PageMap:
    """An immutable map of one version of a volume."""

    __slots__ = ("chunks", "fingerprint", "live_pages", "page_count", "table")

    def __init__(
        self,
        table: FrameTable,
        page_count: int,
        chunks: Sequence[MapChunk],
        live_pages: int,
        fingerprint: int,
    ) -> None:
        """Take parts that agree with each other; use `compose` or the ``with_`` methods."""
        self.table = table
        self.page_count = page_count
        self.chunks = chunks
        self.live_pages = live_pages
        self.fingerprint = fingerprint

    @classmethod
    def empty(cls, table: FrameTable) -> "PageMap":
        """Return the map of a volume without pages."""
        return cls(table, 0, (), 0, 0)

    def chunk_fingerprint(self, number: int) -> int:
        """Return the fingerprint of one chunk; 0 beyond the end."""
        return self.chunks[number].fingerprint if number < len(self.chunks) else 0

    def is_built_at(self, page: int) -> bool:
        """Tell whether a page's location can be had without reading an index; pages beyond the end are nowhere."""
        number = (page - 1) >> CHUNK_SHIFT
        return number >= len(self.chunks) or self.chunks[number].built

    def location(self, page: int) -> int:
        """Return where a page is; pages beyond the end are nowhere."""
        number = (page - 1) >> CHUNK_SHIFT
        if not 0 <= number < len(self.chunks):
            return 0
        chunk = self.chunks[number]
        if chunk.view is None:
            chunk.locations()
        assert chunk.view is not None, "BUG: a built chunk has a view"
        return int(chunk.view[(page - 1) & CHUNK_MASK])

    def with_locations(self, pages: npt.NDArray[np.int64], locations: U64, page_count: int, kept: int) -> "PageMap":
        """Return this map with pages above ``kept`` dropped, then these pages placed, and a new page count.

        For local commits: fingerprints are not kept.
        """
        chunks = self._resized(page_count, kept)
        changed: dict[int, U64] = {}
        if len(pages) <= _FEW_PAGES:
            # A typical transaction: numpy's overhead per call would be most of it.
            for page, location in zip(pages.tolist(), locations.tolist(), strict=True):
                number = (page - 1) >> CHUNK_SHIFT
                if number not in changed:
                    changed[number] = chunks[number].locations().copy()
                changed[number][(page - 1) & CHUNK_MASK] = location
        else:
            numbers = (pages - 1) >> CHUNK_SHIFT
            for number in dict.fromkeys(numbers.tolist()):
                mine = numbers == number
                changed[number] = chunks[number].locations().copy()
                changed[number][(pages[mine] - 1) & CHUNK_MASK] = locations[mine]
        for number, found in changed.items():
            chunks[number] = MapChunk(0, locations=found)
        return PageMap(self.table, page_count, chunks, 0, 0)

    def with_placements(
        self,
        placements: dict[int, ChunkPlacement],
        segments: Sequence[SegmentRef],
        page_count: int,
        kept: int,
    ) -> "PageMap":
        """Return this remote map with pages above ``kept`` dropped and one segment's pages placed.

        Fingerprints and live pages are kept up to date in the number of changed chunks.
        """
        chunks = self._resized(page_count, kept)
        for number, placement in placements.items():
            changed = chunks[number].locations().copy()
            frames = self.table.number_all(placement, segments)[placement.page_frame]
            changed[placement.page_low] = in_frames(frames, placement.page_slot.astype(np.uint64))
            chunks[number] = MapChunk(0, locations=changed)
        live, whole = self.live_pages, self.fingerprint
        for number in range(max(len(self.chunks), len(chunks))):
            old = self.chunks[number] if number < len(self.chunks) else _EMPTY_CHUNK
            new = chunks[number] if number < len(chunks) else _EMPTY_CHUNK
            if new is old:
                continue
            if new is not _EMPTY_CHUNK:
                new.fingerprint = _fingerprint_of(self.table, number, new.locations())
            whole ^= old.fingerprint ^ new.fingerprint
            live += int(np.count_nonzero(new.locations())) - int(np.count_nonzero(old.locations()))
        return PageMap(self.table, page_count, chunks, live, whole)

    def _resized(self, page_count: int, kept: int) -> list[MapChunk]:
        """Return the chunks for ``page_count`` pages with what lies above page ``kept`` dropped."""
        kept = min(kept, page_count, self.page_count)
        chunks = list(self.chunks[: chunk_count(kept)])
        below = kept % CHUNK_PAGES
        if below and kept < self.page_count:
            locations = chunks[-1].locations()
            if np.any(locations[below:]):
                changed = locations.copy()
                changed[below:] = 0
                chunks[-1] = MapChunk(0, locations=changed)
        chunks.extend([_EMPTY_CHUNK] * (chunk_count(page_count) - len(chunks)))
        return chunks


def compose(table: FrameTable, sources: Sequence[CommitIndex], load: ChunkLoader, previous: PageMap | None) -> PageMap:
    """Return the map of ``sources[0]``, given the chain from it down to its base.

    ``previous`` is the map of the commit after which ``sources`` were fetched, or None: chunks of it that no source
    changed are kept. Raises `Corrupt` when the indexes do not add up to the map that the commit claims.
    """
    head = sources[0].commit
    total = chunk_count(head.page_count)
    mentioning: dict[int, list[CommitIndex]] = {}
    for source in sources:
        for entry in source.commit.directory:
            if entry.number < total:
                mentioning.setdefault(entry.number, []).append(source)
    chunks = [_EMPTY_CHUNK] * total
    whole = 0
    for number, layers in mentioning.items():
        expected = _expected_fingerprint(number, sources, layers[0])
        whole ^= expected
        kept = previous.chunks[number] if previous and number < len(previous.chunks) else None
        if kept is not None and kept.fingerprint == expected and kept.built:
            chunks[number] = kept
        else:
            chunks[number] = MapChunk(expected, build=_builder(table, number, sources, load, expected))
    if whole != head.fingerprint:
        raise Corrupt(
            f"log {head.log}: the indexes of commits {[source.commit.lsn for source in sources]} do not add up to the "
            f"page map that commit {head.lsn} claims"
        )
    return PageMap(table, head.page_count, chunks, head.live_pages, head.fingerprint)


def _expected_fingerprint(number: int, sources: Sequence[CommitIndex], newest: CommitIndex) -> int:
    """Return what the newest index that says anything of a chunk says: its fingerprint, or that it was cut off."""
    for source in sources:
        if source is newest:
            break
        if source.commit.min_page_count <= number * CHUNK_PAGES:
            return 0
    return newest.fingerprint_of(number)


def _builder(
    table: FrameTable, number: int, sources: Sequence[CommitIndex], load: ChunkLoader, expected: int
) -> Callable[[], U64]:
    def build() -> U64:
        load([(source, number) for source in sources if source.lacks(number)])
        locations = np.zeros(CHUNK_PAGES, np.uint64)
        placed = np.zeros(CHUNK_PAGES, np.bool_)
        limit = sources[0].commit.page_count
        for source in sources:
            placement = cut(number, source.placement(number), limit)
            new = placement.kept(~placed[placement.page_low]) if placement.pages else placement
            if new.pages:
                frames = table.number_all(new, source.commit.segments)[new.page_frame]
                locations[new.page_low] = in_frames(frames, new.page_slot.astype(np.uint64))
                placed[new.page_low] = True
            limit = min(limit, source.commit.min_page_count)
        if _fingerprint_of(table, number, locations) != expected:
            head = sources[0].commit
            raise Corrupt(f"log {head.log}: chunk {number} of the page map of commit {head.lsn} fails its fingerprint")
        return locations

    return build


def _fingerprint_of(table: FrameTable, number: int, locations: U64) -> int:
    live = np.flatnonzero(locations)
    pages = live.astype(np.uint64) + np.uint64(number * CHUNK_PAGES + 1)
    return fingerprint(pages, table.seeds(frames_of(locations[live])))
