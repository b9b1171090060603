"""Marking: which objects the retained versions need, and why (pure; the indexes have been read).

A commit's own index is the newest layer at its version, so all that it names is live there. What older layers name may
be hidden by newer ones: for the oldest version of a window, and for versions on their own, the whole chain is merged.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from metastore.ids import LogId
from metastore.index import CommitIndex
from metastore.lsn import LSN
from metastore.placement import ChunkPlacement, InCommit, SegmentRef
from metastore.rollup import Changes, roll_up
from pagestore.ids import SegmentId
from pagestore.segments.format import base_of


@dataclass(frozen=True, slots=True)
class InlineFrame:
    """A live frame inside a commit object; it may be a delta to a frame elsewhere."""

    home: InCommit
    segment: SegmentId
    offset: int
    """Bytes from the start of the segment."""
    length: int
    page_size: int


@dataclass(slots=True)
class Marks:
    """What is needed so far; only ever added to."""

    objects: dict[tuple[LogId, LSN], str] = field(default_factory=dict)
    """Commit objects, with the reason why they stay."""
    segments: dict[SegmentId, str] = field(default_factory=dict)
    """Segment objects, with the reason."""
    unresolved: dict[tuple[LogId, LSN], dict[InlineFrame, str]] = field(default_factory=dict)
    """Live frames inside commits whose bases are not marked yet, by commit."""
    _resolved: set[InlineFrame] = field(default_factory=set)
    live_bytes: dict[SegmentId, int] = field(default_factory=dict)
    """Stored bytes of the live frames of each segment object."""
    frames: dict[tuple[SegmentId, int], int] = field(default_factory=dict)
    """The length of each live frame in a segment object, by segment and offset."""

    def take_in(self, other: "Marks") -> None:
        """Add what other marks found; only what is live, without what is still to be resolved."""
        self.objects = other.objects | self.objects
        self.segments = other.segments | self.segments
        for (segment, offset), length in other.frames.items():
            self._count_frame(segment, offset, length)

    def need_commit(self, log: LogId, lsn: LSN, why: str) -> None:
        """A commit object must stay."""
        self.objects.setdefault((log, lsn), why)

    def need_own(self, index: CommitIndex, why: str) -> None:
        """All that a retained version's own index names must stay; the index has been read whole."""
        commit = index.commit
        self.need_commit(commit.log, commit.lsn, why)
        self._need_placements(
            commit.segments, [index.placement(entry.number) for entry in commit.directory], commit.page_size, why
        )
        if index.inline is not None:
            self.resolve(commit.log, commit.lsn, index.inline, commit.inline_offset)

    def need_version(self, chain: Sequence[CommitIndex], why: str) -> None:
        """All that a version needs must stay: the commits of its chain, which were read whole, and what is live."""
        newest = chain[0].commit
        self.need_commit(newest.log, newest.lsn, why)
        for index in chain[1:]:
            self.need_commit(index.commit.log, index.commit.lsn, f"leads to LSN {newest.lsn}: {why}")
        unchanged = Changes((), newest.byte_size, newest.page_count, newest.page_count)
        merged = roll_up(unchanged, chain)
        refs = [ref for ref in merged.segments if isinstance(ref, SegmentRef)]
        self._need_placements(refs, merged.placements.values(), newest.page_size, why)
        for index in chain:
            if index.inline is not None:
                self.resolve(index.commit.log, index.commit.lsn, index.inline, index.commit.inline_offset)

    def resolve(self, log: LogId, lsn: LSN, data: bytes, offset: int) -> None:
        """Mark the bases of the live frames in a commit, of whose object ``data`` are the bytes from ``offset`` on."""
        for frame, why in self.unresolved.pop((log, lsn), {}).items():
            start = frame.home.offset + frame.offset - offset
            found = base_of(data[start : start + frame.length], frame.segment, frame.page_size)
            self._resolved.add(frame)
            if found is not None:
                place, _ = found
                self._need_frame(place.segment, place.offset, place.length, f"base of a delta: {why}")

    def _need_placements(
        self, segments: Sequence[SegmentRef], placements: Iterable[ChunkPlacement], page_size: int, why: str
    ) -> None:
        for placement in placements:
            for ordinal, offset, length in zip(
                placement.frame_segment.tolist(),
                placement.frame_offset.tolist(),
                placement.frame_length.tolist(),
                strict=True,
            ):
                ref = segments[ordinal]
                if isinstance(ref.home, InCommit):
                    self.need_commit(ref.home.log, ref.home.lsn, f"holds pages inline: {why}")
                    frame = InlineFrame(ref.home, ref.segment, offset, length, page_size)
                    if frame not in self._resolved:
                        self.unresolved.setdefault((ref.home.log, ref.home.lsn), {}).setdefault(frame, why)
                else:
                    self._need_frame(ref.segment, offset, length, why)

    def _need_frame(self, segment: SegmentId, offset: int, length: int, why: str) -> None:
        self.segments.setdefault(segment, why)
        self._count_frame(segment, offset, length)

    def _count_frame(self, segment: SegmentId, offset: int, length: int) -> None:
        if (segment, offset) not in self.frames:
            self.frames[segment, offset] = length
            self.live_bytes[segment] = self.live_bytes.get(segment, 0) + length
