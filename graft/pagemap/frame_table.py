"""The frames that this process knows of, numbered in the order in which it met them.

Invariants: a number never changes its frame; the body of a frame is attached only after its checksum was verified;
detaching one is always allowed, since it can be fetched again.
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
    """Its page list, format ``I``: the page at each slot; 0 for one whose body was let go of."""
    data: memoryview
    """Its bodies, one after the other."""
    file: int
    """The cache file that holds it."""
    whole: bool = True
    """Whether all pages of the frame are there."""

    def lacks(self, slot: int) -> bool:
        """Tell whether the body at a slot, if the frame has that many, was let go of."""
        return not self.whole and (slot >= len(self.pages) or not self.pages[slot])


@dataclass(frozen=True, slots=True)
class FrameKey:
    """A frame by its place in the world."""

    ref: SegmentRef
    offset: int
    length: int

    def locate(self) -> FrameLocation:
        """Return where the frame is in the store."""
        return self.ref.locate(self.offset, self.length)


class BodyObserver(Protocol):
    """Told, one call at a time, of every body that comes and goes; for a reader that cannot look at Python objects."""

    def attached(self, number: int, body: FrameBody, /) -> None:
        """Take note of a body, which may stand in for an earlier one."""
        ...

    def detached(self, numbers: Sequence[int], /) -> None:
        """Have let go of these bodies on return, wherever they were being read."""
        ...


class FrameTable:
    """Frames by number; numbering and attaching are guarded by a lock, reading needs none."""

    def __init__(self) -> None:
        """Start with no frames."""
        self.bodies: list[FrameBody | None] = []
        """Changed by `attach`, `asked_for` and `detach` alone."""
        self.ahead: dict[int, FrameBody] = {}
        """Bodies that came before anybody asked for them: the first who does attaches them. Changed likewise."""
        self.coming: set[int] = set()
        """Frames that are being fetched in the background, and may be here already; changed by who fetches them."""
        self._observer: BodyObserver | None = None
        self._places: list[tuple[SegmentRef, int, int]] = []
        """What makes a frame's key: thousands are numbered for each one that is asked for."""
        self._numbers: dict[tuple[bytes, int], int] = {}
        self._seeds: U64 = np.empty(1024, np.uint64)
        self._lock = threading.Lock()  # guards the growth of all, and the bodies with their observer

    def key(self, number: int) -> FrameKey:
        """Return the frame with this number."""
        return FrameKey(*self._places[number])

    def number_all(self, placement: ChunkPlacement, segments: Sequence[SegmentRef]) -> U64:
        """Return the numbers of a placement's frames, giving new ones where needed."""
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
        """Return the numbers of frames by segment id and offset; a number that no frame has for those not met yet."""
        with self._lock:
            return np.array([self._numbers.get(frame, UNKNOWN) for frame in frames], np.uint64)

    def seeds(self, numbers: U64) -> U64:
        """Return the fingerprint seeds of frames by number."""
        return self._seeds[numbers]

    def rehome(self, ref: SegmentRef, offsets: Iterable[int]) -> None:
        """Note where a segment came to lie that was numbered before it had a place."""
        with self._lock:
            for offset in offsets:
                number = self._numbers[ref.segment.raw, offset]
                _, _, length = self._places[number]
                self._places[number] = ref, offset, length

    @property
    def observer(self) -> BodyObserver | None:
        """Who is told of bodies."""
        return self._observer

    def observe(self, observer: BodyObserver) -> None:
        """Tell ``observer`` of the bodies that are here, and from now on of all others, unless there is one already."""
        with self._lock:
            if self._observer is None:
                for number, body in enumerate(self.bodies):
                    if body is not None:
                        observer.attached(number, body)
                self._observer = observer

    def attach(self, number: int, body: FrameBody) -> None:
        """Keep the body of a frame, whose checksum was verified."""
        with self._lock:
            self.bodies[number] = body
            if self._observer is not None:
                self._observer.attached(number, body)

    def attach_ahead(self, number: int, body: FrameBody) -> None:
        """Keep the body of a frame that nobody has asked for yet."""
        with self._lock:
            if self.bodies[number] is None:
                self.ahead[number] = body

    def asked_for(self, number: int) -> bool:
        """Attach a body that was fetched ahead; tell whether there was one."""
        with self._lock:
            body = self.ahead.pop(number, None)
            if body is None:
                return False
            self.bodies[number] = body
            if self._observer is not None:
                self._observer.attached(number, body)
            return True

    def body(self, number: int) -> FrameBody | None:
        """Return the body of a frame, were it fetched ahead or asked for; None when it is not here."""
        return self.bodies[number] or self.ahead.get(number)

    def is_ahead(self, number: int) -> bool:
        """Tell whether a frame that nobody has asked for yet was fetched, or is being fetched."""
        return number in self.coming or number in self.ahead

    def detach(self, file: int) -> None:
        """Forget the bodies that a cache file holds."""
        with self._lock:
            for number in [number for number, body in self.ahead.items() if body.file == file]:
                del self.ahead[number]
            numbers = [number for number, body in enumerate(self.bodies) if body is not None and body.file == file]
            for number in numbers:
                self.bodies[number] = None
            if self._observer is not None:
                self._observer.detached(numbers)

    def disown(self) -> None:
        """In the child of a fork: whoever held the lock is not here."""
        self._lock = threading.Lock()
        self.coming = set()

    def _grow(self, seeds: U64) -> int:
        """Make room for frames with these seeds, and return the number of the first."""
        first, end = len(self._places), len(self._places) + len(seeds)
        if end > len(self._seeds):
            self._seeds = np.concatenate((self._seeds, np.empty(end, np.uint64)))
        self._seeds[first:end] = seeds
        self.bodies.extend([None] * len(seeds))
        return first
