"""The places of pages: references to segments, and columns of (page, frame, slot) per chunk of a volume.

A chunk is an aligned range of `CHUNK_PAGES` pages: chunk 0 holds pages 1…4096. It is the unit in which indexes are read
and page maps are built. Columns are NumPy arrays, so merging and decoding run no Python code per page.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from metastore.ids import LogId
from metastore.lsn import LSN, descending_text
from pagestore.distinct import distinct
from pagestore.ids import SegmentId
from pagestore.segments.fetch_plan import FrameLocation, segment_key
from pagestore.segments.format import FrameExtent

CHUNK_PAGES = 4096

U16: TypeAlias = npt.NDArray[np.uint16]
U32: TypeAlias = npt.NDArray[np.uint32]
U64: TypeAlias = npt.NDArray[np.uint64]


def chunk_of(page: int) -> int:
    """Return the chunk that holds a page."""
    return (page - 1) // CHUNK_PAGES


def chunk_count(page_count: int) -> int:
    """Return how many chunks hold ``page_count`` pages."""
    return -(-page_count // CHUNK_PAGES)


def commit_key(log: LogId, lsn: LSN) -> str:
    """``logs/l-0199…/commits/fffffffffffffffe``."""
    return f"logs/{log}/commits/{descending_text(lsn)}"


@dataclass(frozen=True, slots=True)
class OwnObject:
    """The segment is an object of its own."""

    dictionary_bytes: int = 0
    """Stored length of the dictionary behind its header, 0 for none."""


@dataclass(frozen=True, slots=True)
class InCommit:
    """The segment is inline in a commit, ``offset`` bytes from the start of that object."""

    log: LogId
    lsn: LSN
    offset: int


@dataclass(frozen=True, slots=True)
class SegmentRef:
    """A segment and the object that contains it."""

    segment: SegmentId
    home: OwnObject | InCommit

    def locate(self, offset: int, length: int) -> FrameLocation:
        """Return the location in the store of ``length`` bytes from ``offset`` in the segment."""
        if isinstance(self.home, InCommit):
            key, offset = commit_key(self.home.log, self.home.lsn), self.home.offset + offset
            return FrameLocation(key, offset, length, self.segment, segment_offset=self.home.offset)
        return FrameLocation(segment_key(self.segment), offset, length, self.segment, self.home.dictionary_bytes)


@dataclass(frozen=True, slots=True)
class ChunkPlacement:
    """The places of some pages of one chunk.

    The ``frame_*`` columns have one row per frame, sorted by (segment, offset); the ``page_*`` columns have one row per
    page, ascending.
    """

    frame_segment: U32
    """The segment's ordinal in the segment table of the index."""
    frame_offset: U64
    """In bytes from the start of the segment."""
    frame_length: U32
    """In stored bytes."""
    page_low: U16
    """Page − first page of the chunk, 0…4095."""
    page_frame: U16
    """The frame's row in the ``frame_*`` columns."""
    page_slot: U16
    """The page's position in its frame."""

    @property
    def pages(self) -> int:
        """The number of pages placed."""
        return len(self.page_low)

    def selected(self, chosen: npt.NDArray[np.bool_]) -> "ChunkPlacement":
        """Return only the pages for which ``chosen`` is true, with the frames that they still need."""
        return compacted(
            ChunkPlacement(
                self.frame_segment,
                self.frame_offset,
                self.frame_length,
                self.page_low[chosen],
                self.page_frame[chosen],
                self.page_slot[chosen],
            )
        )

    def renumbered(self, ordinals: U32) -> "ChunkPlacement":
        """Return a copy with each segment ordinal ``i`` replaced by ``ordinals[i]``."""
        return ChunkPlacement(
            ordinals[self.frame_segment],
            self.frame_offset,
            self.frame_length,
            self.page_low,
            self.page_frame,
            self.page_slot,
        )


_NO_U16: U16 = np.empty(0, np.uint16)
EMPTY = ChunkPlacement(
    np.empty(0, np.uint32), np.empty(0, np.uint64), np.empty(0, np.uint32), _NO_U16, _NO_U16, _NO_U16
)


def compacted(placement: ChunkPlacement) -> ChunkPlacement:
    """Drop unused frames, merge equal frames and sort the rest; pages must be ascending."""
    return _assembled(
        placement.frame_segment,
        placement.frame_offset,
        placement.frame_length,
        placement.page_low,
        placement.page_frame,
        placement.page_slot,
    )


def _assembled(segment: U32, offset: U64, length: U32, low: U16, frame: U16 | U32, slot: U16) -> ChunkPlacement:
    """Return the placement of ascending pages, given their rows in frame columns with unused or equal frames."""
    used = distinct(frame)
    new_row = np.zeros(len(segment), np.uint16)
    segment, offset, length = segment[used], offset[used], length[used]
    order = np.lexsort((offset, segment))
    segment, offset, length = segment[order], offset[order], length[order]
    first = np.ones(len(order), np.bool_)
    if len(order) > 1:
        first[1:] = (segment[1:] != segment[:-1]) | (offset[1:] != offset[:-1])
    new_row[used[order]] = first.cumsum() - 1
    return ChunkPlacement(segment[first], offset[first], length[first], low, new_row[frame], slot)


def overlaid(layers: Sequence[ChunkPlacement]) -> ChunkPlacement:
    """Merge placements of one chunk, newest first, all with the same segment table: a page's newest place wins."""
    layers = [layer for layer in layers if layer.pages]
    if not layers:
        return EMPTY
    if len(layers) == 1:
        return layers[0]
    frame_counts = [len(layer.frame_segment) for layer in layers]
    rows = np.concatenate([layer.page_frame for layer in layers]).astype(np.uint32)
    rows += np.repeat(np.cumsum([0, *frame_counts[:-1]], dtype=np.uint32), [len(layer.page_low) for layer in layers])
    page_low, newest = np.unique(np.concatenate([layer.page_low for layer in layers]), return_index=True)
    return _assembled(
        np.concatenate([layer.frame_segment for layer in layers]),
        np.concatenate([layer.frame_offset for layer in layers]),
        np.concatenate([layer.frame_length for layer in layers]),
        page_low,
        rows[newest],
        np.concatenate([layer.page_slot for layer in layers])[newest],
    )


def placements_of(frames: Iterable[FrameExtent], ordinal: int) -> dict[int, ChunkPlacement]:
    """Return chunk number → places of the pages of a new segment with this ordinal; ``frames`` are sorted by offset."""
    extents = list(frames)
    if not extents:
        return {}
    counts = np.array([len(extent.pages) for extent in extents], np.uint32)
    page = np.fromiter(chain.from_iterable(extent.pages for extent in extents), np.uint32, int(counts.sum()))
    page -= np.uint32(1)
    frame = np.repeat(np.arange(len(extents), dtype=np.uint32), counts)
    firsts = np.cumsum(counts, dtype=np.uint32) - counts
    slot = (np.arange(len(page), dtype=np.uint32) - np.repeat(firsts, counts)).astype(np.uint16)
    offset = np.array([extent.offset for extent in extents], np.uint64)
    length = np.array([extent.length for extent in extents], np.uint32)
    order = np.argsort(page, kind="stable")
    page, frame, slot = page[order], frame[order], slot[order]
    chunk, low = page // CHUNK_PAGES, (page % CHUNK_PAGES).astype(np.uint16)
    numbers = distinct(chunk)
    starts = np.searchsorted(chunk, numbers).tolist()
    placements = {}
    for number, start, stop in zip(numbers.tolist(), starts, [*starts[1:], len(page)], strict=True):
        used = distinct(frame[start:stop])
        page_frame = np.searchsorted(used, frame[start:stop])
        placements[int(number)] = ChunkPlacement(
            np.full(len(used), ordinal, np.uint32),
            offset[used],
            length[used],
            low[start:stop],
            page_frame.astype(np.uint16),
            slot[start:stop],
        )
    return placements
