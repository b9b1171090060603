"""The page map: page index → location, in chunks that versions share.

A map is immutable: a change makes a new map that shares every unchanged chunk, so reading a page costs the same after a
million commits as after one. A chunk of a remote map is built on first use, from the indexes that name it. A local
commit is applied to the chunks when the map is first read, together with earlier commits whose maps were not read; the
result does not depend on when.

Invariants: `fingerprint` and `live_pages` describe only the remote part, and are checked against the commit that the
map belongs to. Locations above `page_count` are 0.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from graft.errors import Corrupt
from graft.pagemap.chunks import (
    CHUNK_MASK,
    CHUNK_SHIFT,
    EMPTY_CHUNK,
    Change,
    MapChunk,
    Unread,
    copied,
    laid_over,
    resized,
)
from graft.pagemap.frame_table import FrameTable
from graft.pagemap.locations import frames_of, in_frames
from metastore.fingerprint import fingerprint
from metastore.index import CommitIndex
from metastore.placement import CHUNK_PAGES, U64, ChunkPlacement, SegmentRef, chunk_count
from metastore.rollup import cut

ChunkLoader = Callable[[Iterable[tuple[CommitIndex, int]]], None]
"""Reads missing index chunks (`metastore.index.load_chunks`)."""
_WHOLE = np.arange(CHUNK_PAGES)


class PageMap:
    """An immutable map of one version of a volume."""

    __slots__ = ("_chunks", "_length", "_unread", "fingerprint", "live_pages", "page_count", "table")

    def __init__(
        self,
        table: FrameTable,
        page_count: int,
        chunks: Sequence[MapChunk],
        live_pages: int,
        fingerprint: int,
    ) -> None:
        """Take parts that agree with each other; callers use `compose` or the ``with_`` methods."""
        self.table = table
        self.page_count = page_count
        self.live_pages = live_pages
        self.fingerprint = fingerprint
        self._chunks: Sequence[MapChunk] | None = chunks
        self._unread: Unread | None = None
        self._length = 0

    @property
    def read(self) -> bool:
        """Whether all local commits are applied, so that `chunks` costs nothing."""
        return self._chunks is not None

    @property
    def chunks(self) -> Sequence[MapChunk]:
        """The chunks with all local commits applied; raises the errors of building the remote chunks."""
        chunks = self._chunks
        if chunks is None:
            unread = self._unread
            if unread is None:  # another thread has just applied them
                return self.chunks
            chunks = self._chunks = laid_over(unread.chunks, unread.page_count, unread.changes[: self._length])
            self._unread = None
        return chunks

    @classmethod
    def empty(cls, table: FrameTable) -> "PageMap":
        """Return the map of a volume without pages."""
        return cls(table, 0, (), 0, 0)

    def chunk_fingerprint(self, number: int) -> int:
        """Return the fingerprint of one chunk; 0 beyond the end."""
        return self.chunks[number].fingerprint if number < len(self.chunks) else 0

    def is_built_at(self, page: int) -> bool:
        """Return whether `location` needs no index chunk for a page; pages beyond the end need none."""
        number = (page - 1) >> CHUNK_SHIFT
        return number >= len(self.chunks) or self.chunks[number].built

    def location(self, page: int) -> int:
        """Return the location of a page; 0 if it has no body or lies beyond the end."""
        number = (page - 1) >> CHUNK_SHIFT
        if not 0 <= number < len(self.chunks):
            return 0
        chunk = self.chunks[number]
        if chunk.view is None:
            chunk.locations()
        assert chunk.view is not None, "BUG: a built chunk has a view"
        return int(chunk.view[(page - 1) & CHUNK_MASK])

    def with_change(self, change: Change) -> "PageMap":
        """Return this map after a local commit, which drops pages, places pages, and sets the page count.

        The result has no fingerprints. The cost does not depend on the map's size until the result is read.
        """
        unread, length = self._unread, self._length
        if unread is None or not unread.followed_by(change, length):
            unread, length = Unread(self.chunks, self.page_count), 0
            unread.followed_by(change, length)
        result = PageMap(self.table, change.page_count, (), 0, 0)
        result._chunks, result._unread, result._length = None, unread, length + 1
        return result

    def with_placements(
        self,
        placements: dict[int, ChunkPlacement],
        segments: Sequence[SegmentRef],
        page_count: int,
        min_page_count: int,
    ) -> "PageMap":
        """Return this remote map with pages above ``min_page_count`` dropped and one segment's pages placed.

        Updates fingerprints and live pages in time proportional to the placed pages and the cut chunks.
        """
        chunks = resized(self.chunks, self.page_count, page_count, min_page_count)
        live, whole = self.live_pages, self.fingerprint
        for number in range(max(len(self.chunks), len(chunks))):
            old = self.chunks[number] if number < len(self.chunks) else EMPTY_CHUNK
            new = chunks[number] if number < len(chunks) else EMPTY_CHUNK
            if new is not old:
                if new is not EMPTY_CHUNK:
                    new.fingerprint = _mixed(self.table, number, _WHOLE, new.locations())
                whole ^= old.fingerprint ^ new.fingerprint
                live += int(np.count_nonzero(new.locations())) - int(np.count_nonzero(old.locations()))
        for number, placement in placements.items():
            old = chunks[number]
            changed = copied(old.locations())
            change, added = _placed(changed, self.table, number, placement, segments)
            chunks[number] = MapChunk(old.fingerprint ^ change, locations=changed)
            whole ^= change
            live += added
        return PageMap(self.table, page_count, chunks, live, whole)


def compose(table: FrameTable, sources: Sequence[CommitIndex], load: ChunkLoader, previous: PageMap | None) -> PageMap:
    """Return the map of ``sources[0]``, given the chain from it down to its base.

    ``previous`` is the map of the commit after which ``sources`` were fetched, or None: its chunks that no source
    changed are reused. Raises `Corrupt` if the indexes do not add up to the map that the commit claims.
    """
    head = sources[0].commit
    total = chunk_count(head.page_count)
    mentioning: dict[int, list[CommitIndex]] = {}
    for source in sources:
        for entry in source.commit.directory:
            if entry.number < total:
                mentioning.setdefault(entry.number, []).append(source)
    chunks = [EMPTY_CHUNK] * total
    whole = 0
    for number, layers in mentioning.items():
        expected = _expected_fingerprint(number, sources, layers[0])
        whole ^= expected
        reused = previous.chunks[number] if previous and number < len(previous.chunks) else None
        if reused is not None and reused.fingerprint == expected and reused.built:
            chunks[number] = reused
        else:
            chunks[number] = MapChunk(expected, build=_builder(table, number, sources, load, expected))
    if whole != head.fingerprint:
        raise Corrupt(
            f"log {head.log}: the indexes of commits {[source.commit.lsn for source in sources]} do not add up to the "
            f"page map that commit {head.lsn} claims"
        )
    return PageMap(table, head.page_count, chunks, head.live_pages, head.fingerprint)


def _expected_fingerprint(number: int, sources: Sequence[CommitIndex], newest: CommitIndex) -> int:
    """Return the fingerprint of a chunk by the newest index that mentions it, 0 if a newer commit cut it off."""
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
            new = placement.selected(~placed[placement.page_low]) if placed.any() else placement
            if new.pages:
                frames = table.number_all(new, source.commit.segments)[new.page_frame]
                locations[new.page_low] = in_frames(frames, new.page_slot.astype(np.uint64))
                placed[new.page_low] = True
            limit = min(limit, source.commit.min_page_count)
        if _mixed(table, number, _WHOLE, locations) != expected:
            head = sources[0].commit
            raise Corrupt(f"log {head.log}: chunk {number} of the page map of commit {head.lsn} fails its fingerprint")
        return locations

    return build


def _placed(
    locations: U64, table: FrameTable, number: int, placement: ChunkPlacement, segments: Sequence[SegmentRef]
) -> tuple[int, int]:
    """Place pages in a chunk; return the change of its fingerprint, and the number of pages that had no body before."""
    low, frames = placement.page_low, table.number_all(placement, segments)[placement.page_frame]
    before, after = locations[low], in_frames(frames, placement.page_slot.astype(np.uint64))
    locations[low] = after
    change = _mixed(table, number, low, before) ^ _mixed(table, number, low, after)
    return change, len(before) - int(np.count_nonzero(before))


def _mixed(table: FrameTable, number: int, low: npt.NDArray[np.integer], locations: U64) -> int:
    """Return the contribution of pages, by their positions in a chunk, to its fingerprint."""
    live = np.flatnonzero(locations)
    pages = low[live].astype(np.uint64) + np.uint64(number * CHUNK_PAGES + 1)
    return fingerprint(pages, table.seeds(frames_of(locations[live])))
