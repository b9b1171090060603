"""Plans a fetch: which byte ranges to read so that the wanted frames arrive in few requests."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter

from pagestore.ids import SegmentId

GAP_BYTES_MAX = 32 * 1024
RANGE_BYTES_MAX = 1024 * 1024


@lru_cache(maxsize=64)
def segment_key(segment: SegmentId) -> str:
    """Return the key of a segment that is an object of its own: ``segments/s-0199f3a1…``."""
    return f"segments/{segment}"


@dataclass(frozen=True, slots=True)
class FrameLocation:
    """The location of a frame in the store."""

    key: str
    """The key of the object: a segment, or a commit that holds the segment inline."""
    offset: int
    """In bytes from the start of the object."""
    length: int
    """In stored bytes."""
    segment: SegmentId
    """The segment that the frame belongs to and is verified against."""
    dictionary_bytes: int = 0
    """Stored length of the dictionary behind the segment's header, 0 for none."""
    segment_offset: int = 0
    """Where the segment begins in the object."""

    @property
    def in_own_object(self) -> bool:
        """Whether its segment is an object of its own, not part of a commit."""
        return self.key == segment_key(self.segment)

    def describe(self) -> str:
        """Return the location in words, for an error message."""
        return f"object {self.key}, {self.length} bytes at offset {self.offset}"


@dataclass(frozen=True, slots=True)
class RangeRead:
    """One ranged GET and the frames in its range."""

    key: str
    start: int
    length: int
    frames: tuple[FrameLocation, ...]
    """Ordered by offset; all within the range."""

    @property
    def gap_bytes(self) -> int:
        """The bytes that are read only because they lie between two frames."""
        return self.length - sum(frame.length for frame in self.frames)


def plan_fetch(
    frames: Iterable[FrameLocation],
    *,
    gap_bytes_max: int = GAP_BYTES_MAX,
    range_bytes_max: int = RANGE_BYTES_MAX,
) -> list[RangeRead]:
    """Return the reads that fetch all ``frames``, ordered by key and offset, whatever the order of ``frames``.

    Neighbours in one object share a read if at most ``gap_bytes_max`` unwanted bytes lie between them and the read
    stays within ``range_bytes_max``; a single frame may exceed that. A frame listed twice is read once.
    """
    reads: list[RangeRead] = []
    run: list[FrameLocation] = []
    end = 0
    last: FrameLocation | None = None
    for frame in sorted(frames, key=attrgetter("key", "offset", "length", "segment")):
        if frame == last:
            continue
        last = frame
        frame_end = frame.offset + frame.length
        joins = (
            run
            and run[0].key == frame.key
            and frame.offset - end <= gap_bytes_max
            and max(end, frame_end) - run[0].offset <= range_bytes_max
        )
        if not joins:
            if run:
                reads.append(_read(run, end))
            run, end = [], 0
        run.append(frame)
        end = max(end, frame_end)
    if run:
        reads.append(_read(run, end))
    return reads


def _read(run: list[FrameLocation], end: int) -> RangeRead:
    return RangeRead(run[0].key, run[0].offset, end - run[0].offset, tuple(run))
