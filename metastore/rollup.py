"""Roll-ups: merges a commit's own changes with the older indexes in its Fenwick range (pure).

Each index is a layer; layers are merged newest first. A page's place is void if a newer layer truncated the volume
below that page, even if the volume grew again afterwards.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from metastore.commit import Commit
from metastore.index import CommitIndex
from metastore.placement import (
    CHUNK_PAGES,
    U32,
    ChunkPlacement,
    InCommit,
    OwnObject,
    SegmentRef,
    chunk_count,
    chunk_of,
    overlaid,
    placements_of,
)
from pagestore.ids import SegmentId
from pagestore.pages import PAGE_IDX_MAX
from pagestore.segments.format import FrameExtent


@dataclass(frozen=True, slots=True)
class NewSegment:
    """A segment that a new commit is the first to name: already uploaded, or inline in the commit."""

    segment: SegmentId
    frames: Sequence[FrameExtent]
    inline: bytes = b""
    """The whole segment if it is inline in the commit, otherwise empty."""
    dictionary_bytes: int = 0
    """Stored length of its dictionary, 0 for none; inline segments have none."""
    size: int = 0
    """Bytes of the whole segment; nothing in the commit depends on it."""

    @property
    def pages(self) -> int:
        """The number of pages in the segment."""
        return sum(len(frame.pages) for frame in self.frames)

    @property
    def provisional(self) -> SegmentRef:
        """The reference to use before the offset of an inline segment in its commit is known."""
        return SegmentRef(self.segment, OwnObject(self.dictionary_bytes))

    def ref_in(self, commit: Commit) -> SegmentRef:
        """Return the final reference once ``commit``, which names the segment first, has landed."""
        return (
            SegmentRef(self.segment, InCommit(commit.log, commit.lsn, commit.inline_offset))
            if self.inline
            else self.provisional
        )


@dataclass(frozen=True)
class Changes:
    """What one commit changes: new segments, no page in two of them, and the volume's new size."""

    segments: Sequence[NewSegment]
    """At most one of them is inline."""
    byte_size: int
    page_count: int
    min_page_count: int
    """The smallest page count of the volume since the parent commit, including the new one."""
    carried_pages: int = 0
    """How many pages of the segments did not change, but come from earlier commits."""

    reused_segments: tuple[SegmentRef, ...] = ()
    """Segments of older versions in which this commit places pages again; only where ``segments`` is empty."""
    reused: Mapping[int, ChunkPlacement] = field(default_factory=dict)
    """Those places by chunk; a segment's ordinal is its position in ``reused_segments``."""

    @property
    def inline(self) -> bytes:
        """The inline segment, empty for none."""
        inline = [segment.inline for segment in self.segments if segment.inline]
        assert len(inline) <= 1, "BUG: two segments inside one commit"
        return inline[0] if inline else b""

    @cached_property
    def placements(self) -> dict[int, ChunkPlacement]:
        """Chunk number → places; a segment's ordinal is its position in ``segments``."""
        found: dict[int, list[ChunkPlacement]] = {}
        for ordinal, segment in enumerate(self.segments):
            for number, placement in placements_of(segment.frames, ordinal).items():
                found.setdefault(number, []).append(placement)
        for number, placement in self.reused.items():
            found.setdefault(number, []).append(placement)
        return {number: overlaid(parts) for number, parts in found.items()}

    def touched(self, placements: Mapping[int, ChunkPlacement], pages_before: int = PAGE_IDX_MAX) -> set[int]:
        """Return the chunks whose map changes: those written to, and the one in which the volume was truncated.

        ``pages_before`` is the page count of the parent commit.
        """
        assert all(number < chunk_count(self.page_count) for number in placements), "BUG: a page beyond the end"
        touched = set(placements)
        if self.min_page_count < pages_before and self.min_page_count % CHUNK_PAGES:
            touched.add(chunk_of(self.min_page_count))
        return touched


@dataclass(frozen=True, slots=True)
class RollUp:
    """The merged index of a range of commits."""

    min_page_count: int
    segments: tuple[SegmentRef | SegmentId, ...]
    placements: Mapping[int, ChunkPlacement]
    """Chunk number → places; an empty placement means that truncation left the chunk without pages."""

    @property
    def pages(self) -> int:
        """The number of pages placed."""
        return sum(placement.pages for placement in self.placements.values())


def roll_up(changes: Changes, sources: Sequence[CommitIndex], pages_before: int = PAGE_IDX_MAX) -> RollUp:
    """Merge a commit's own changes with older indexes, newest first, all of whose chunks have been read.

    ``pages_before`` is the page count of the parent commit, which shows whether this commit truncates the volume.
    """
    table: dict[SegmentRef | SegmentId, int] = {
        segment.segment if segment.inline else segment.provisional: ordinal
        for ordinal, segment in enumerate(changes.segments)
    }
    assert not (changes.segments and changes.reused_segments), "BUG: a commit either writes pages or reuses places"
    table.update({ref: ordinal for ordinal, ref in enumerate(changes.reused_segments)})
    own = changes.placements
    layers: dict[int, list[ChunkPlacement]] = {
        number: [own[number]] if number in own else [] for number in changes.touched(own, pages_before)
    }
    chunks = chunk_count(changes.page_count)
    limit = changes.min_page_count
    for source in sources:
        ordinals = np.array([table.setdefault(ref, len(table)) for ref in source.commit.segments], np.uint32)
        for entry in source.commit.directory:
            if entry.number < chunks:
                placement = cut(entry.number, source.placement(entry.number), limit)
                layers.setdefault(entry.number, []).append(placement.renumbered(ordinals))
        limit = min(limit, source.commit.min_page_count)
    merged = {number: overlaid(found) for number, found in sorted(layers.items())}
    return _with_used_segments(limit, list(table), merged)


def as_base(merged: RollUp) -> RollUp:
    """Turn a roll-up that includes a base into a base itself, which no longer depends on older commits."""
    placements = {number: placement for number, placement in merged.placements.items() if placement.pages}
    return RollUp(0, merged.segments, placements)


def cut(number: int, placement: ChunkPlacement, page_count: int) -> ChunkPlacement:
    """Remove the places of pages above ``page_count`` from a chunk."""
    below = page_count - number * CHUNK_PAGES
    if below >= CHUNK_PAGES or not placement.pages or int(placement.page_low[-1]) < below:
        return placement
    return placement.selected(placement.page_low.astype(np.int64) < below)


def _with_used_segments(
    min_page_count: int, table: Sequence[SegmentRef | SegmentId], merged: Mapping[int, ChunkPlacement]
) -> RollUp:
    used = _used(placement.frame_segment for placement in merged.values())
    if len(used) == len(table):
        return RollUp(min_page_count, tuple(table), merged)
    ordinals = np.zeros(len(table), np.uint32)
    ordinals[used] = np.arange(len(used), dtype=np.uint32)
    return RollUp(
        min_page_count,
        tuple(table[ordinal] for ordinal in used),
        {number: placement.renumbered(ordinals) for number, placement in merged.items()},
    )


def _used(columns: Iterable[U32]) -> list[int]:
    used: set[int] = set()
    for column in columns:
        used.update(column.tolist())
    return sorted(used)
