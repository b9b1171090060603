"""The frames that this process knows, numbered in the order in which it first saw them.

Invariants: a number always means the same frame. A body is attached only after its checksum was verified. A body may be
detached at any time, since it can be fetched again.
"""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from metastore.fingerprint import frame_seeds
from metastore.placement import U64, ChunkPlacement, SegmentRef
from pagestore.segments.fetch_plan import FrameLocation

UNKNOWN = 2**46 - 1
"""The number of no frame."""


@dataclass(frozen=True, slots=True)
class FrameBody:
    """A verified frame in memory or in a mapped file."""

    pages: memoryview
    """Its page list, format ``I``: the page at each slot; 0 for a dropped body."""
    data: memoryview
    """Its bodies, one after the other."""
    file: int
    """The cache file that holds it."""
    whole: bool = True
    """Whether all pages of the frame are there."""

    def lacks(self, slot: int) -> bool:
        """Return whether the body at a slot was dropped; False if the frame never had such a slot."""
        return not self.whole and (slot >= len(self.pages) or not self.pages[slot])


@dataclass(frozen=True, slots=True)
class FrameKey:
    """The identity of a frame: its place in a segment."""

    ref: SegmentRef
    offset: int
    length: int

    def locate(self) -> FrameLocation:
        """Return where the frame is in the store."""
        return self.ref.locate(self.offset, self.length)


class BodyObserver(Protocol):
    """Called, one call at a time, for each body that is attached or detached; for a reader outside Python."""

    def attached(self, number: int, body: FrameBody, /) -> None:
        """Store a body, which may replace an earlier one of the same frame."""
        ...

    def detached(self, numbers: Sequence[int], /) -> None:
        """Forget these bodies; on return no thread reads them any more."""
        ...


class FrameTable:
    """Frames by number; a lock guards numbering and attaching, reading needs none."""

    def __init__(self) -> None:
        """Start with no frames."""
        self.bodies: list[FrameBody | None] = []
        """Changed by `attach`, `request` and `detach` alone."""
        self.ahead: dict[int, FrameBody] = {}
        """Bodies that were fetched ahead: the first reader that requests one attaches it."""
        self.coming: set[int] = set()
        """Frames that are being fetched in the background, and may be here already; the loader changes this."""
        self._observer: BodyObserver | None = None
        self._places: list[tuple[SegmentRef, int, int]] = []
        """The fields of each frame's key, since thousands are numbered for each one that is read."""
        self._numbers: dict[tuple[bytes, int], int] = {}
        self._seeds: U64 = np.empty(1024, np.uint64)
        self._lock = threading.Lock()  # guards the growth of all members, and the bodies with their observer

    def key(self, number: int) -> FrameKey:
        """Return the frame with this number."""
        return FrameKey(*self._places[number])

    def number_all(self, placement: ChunkPlacement, segments: Sequence[SegmentRef]) -> U64:
        """Return the numbers of a placement's frames; new frames get new numbers."""
        refs = [segments[ordinal] for ordinal in placement.frame_segment.tolist()]
        offsets, lengths = placement.frame_offset.tolist(), placement.frame_length.tolist()
        frames = [(ref.segment.raw, offset) for ref, offset in zip(refs, offsets, strict=True)]
        with self._lock:
            numbers = [self._numbers.get(frame) for frame in frames]
            new = [row for row, number in enumerate(numbers) if number is None]
            if new:
                seeds = frame_seeds([frames[row] for row in new])
                first = self._grow(seeds)
                self._places.extend((refs[row], offsets[row], lengths[row]) for row in new)
                self._numbers.update((frames[row], first + count) for count, row in enumerate(new))
                numbers = [self._numbers[frame] for frame in frames]
        return np.array(numbers, np.uint64)

    def numbers_of(self, frames: Iterable[tuple[bytes, int]]) -> U64:
        """Return the numbers of frames by segment id and offset; `UNKNOWN` for frames without a number."""
        with self._lock:
            return np.array([self._numbers.get(frame, UNKNOWN) for frame in frames], np.uint64)

    def seeds(self, numbers: U64) -> U64:
        """Return the fingerprint seeds of frames by number."""
        return self._seeds[numbers]

    def rehome(self, ref: SegmentRef, offsets: Iterable[int]) -> None:
        """Store the final place of a segment that was numbered before it had one."""
        with self._lock:
            for offset in offsets:
                number = self._numbers[ref.segment.raw, offset]
                _, _, length = self._places[number]
                self._places[number] = ref, offset, length

    @property
    def observer(self) -> BodyObserver | None:
        """The observer of bodies, None if there is none."""
        return self._observer

    def observe(self, observer: BodyObserver) -> None:
        """Report to ``observer`` the attached bodies and all later changes, unless there is an observer already."""
        with self._lock:
            if self._observer is None:
                for number, body in enumerate(self.bodies):
                    if body is not None:
                        observer.attached(number, body)
                self._observer = observer

    def attach(self, number: int, body: FrameBody) -> None:
        """Attach the body of a frame, whose checksum was verified."""
        with self._lock:
            self.bodies[number] = body
            if self._observer is not None:
                self._observer.attached(number, body)

    def attach_ahead(self, number: int, body: FrameBody) -> None:
        """Hold the body of a frame that no reader has requested yet."""
        with self._lock:
            if self.bodies[number] is None:
                self.ahead[number] = body

    def request(self, number: int) -> bool:
        """Attach a body that was fetched ahead; return whether there was one."""
        with self._lock:
            body = self.ahead.pop(number, None)
            if body is None:
                return False
            self.bodies[number] = body
            if self._observer is not None:
                self._observer.attached(number, body)
            return True

    def body(self, number: int) -> FrameBody | None:
        """Return the body of a frame, attached or fetched ahead; None if it is not here."""
        return self.bodies[number] or self.ahead.get(number)

    def is_ahead(self, number: int) -> bool:
        """Return whether a frame that no reader has requested yet was fetched, or is being fetched."""
        return number in self.coming or number in self.ahead

    def detach(self, file: int) -> None:
        """Detach the bodies that a cache file holds."""
        with self._lock:
            for number in [number for number, body in self.ahead.items() if body.file == file]:
                del self.ahead[number]
            numbers = [number for number, body in enumerate(self.bodies) if body is not None and body.file == file]
            for number in numbers:
                self.bodies[number] = None
            if self._observer is not None:
                self._observer.detached(numbers)

    def disown(self) -> None:
        """In the child of a fork: replace the lock, which a thread of the parent may have held."""
        self._lock = threading.Lock()
        self.coming = set()

    def _grow(self, seeds: U64) -> int:
        """Make room for frames with these seeds, and return the first one's number."""
        first, end = len(self._places), len(self._places) + len(seeds)
        if end > len(self._seeds):
            self._seeds = np.concatenate((self._seeds, np.empty(end, np.uint64)))
        self._seeds[first:end] = seeds
        self.bodies.extend([None] * len(seeds))
        return first
