"""Resolving delta frames: a source of bases at hand, and the frames that wait for a base to be fetched."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Protocol

from pagestore.errors import CorruptObject
from pagestore.segments.delta import bodies_of
from pagestore.segments.fetch_plan import FrameLocation
from pagestore.segments.format import DecodedFrame, decode_frame

_NAMED_MAX = 3
"""How many waiting frames an error names."""


class Bases(Protocol):
    """A cache of base frames, so that few are fetched twice; safe for threads."""

    def get(self, place: FrameLocation, pages: Sequence[int]) -> bytes | None:
        """Return the bodies that these pages have in a frame, concatenated, if all of them are cached."""
        ...

    def add(self, place: FrameLocation, frame: DecodedFrame) -> None:
        """Cache a frame that was fetched as a base."""
        ...


class NoBases:
    """Caches nothing: for readers that verify everything from the remote."""

    def get(self, place: FrameLocation, pages: Sequence[int]) -> bytes | None:  # noqa: ARG002 - the port's
        """See `Bases.get`."""
        return None

    def add(self, place: FrameLocation, frame: DecodedFrame) -> None:
        """See `Bases.add`."""


class WaitingFrames:
    """Stored delta frames whose bases have not been read yet; used by one thread."""

    def __init__(self, page_size: int) -> None:
        """Begin without frames."""
        self.stored_bytes = 0
        self._page_size = page_size
        self._waiting: dict[FrameLocation, list[tuple[FrameLocation, bytes, list[int]]]] = defaultdict(list)

    @property
    def bases(self) -> list[FrameLocation]:
        """The base frames that are still missing."""
        return list(self._waiting)

    def add(self, frame: FrameLocation, stored: bytes, base: FrameLocation, pages: list[int]) -> None:
        """Hold a frame until its base is read."""
        self._waiting[base].append((frame, stored, pages))
        self.stored_bytes += len(stored)

    def resolve(self, base: FrameLocation, found: DecodedFrame) -> Iterator[tuple[FrameLocation, DecodedFrame]]:
        """Yield the frames that waited for this base, decoded and verified; raises `CorruptObject`."""
        if base not in self._waiting:
            return
        held = found.pages.tolist()
        for frame, stored, pages in self._waiting.pop(base):
            self.stored_bytes -= len(stored)
            bodies = bodies_of(pages, held, found.body, self._page_size)
            if bodies is None:
                raise CorruptObject(f"{frame.describe()}: its base, {base.describe()}, lacks pages of {pages}")
            yield frame, decode_delta(stored, frame, base, bodies, self._page_size)

    def describe(self) -> str:
        """Name some of the waiting frames, for an error about their bases."""
        frames = [frame for waiting in self._waiting.values() for frame, _, _ in waiting]
        named = "; ".join(frame.describe() for frame in frames[:_NAMED_MAX])
        return f"{named}; and others ({len(frames) - _NAMED_MAX})" if len(frames) > _NAMED_MAX else named


def decode_delta(
    stored: bytes | memoryview, frame: FrameLocation, base: FrameLocation, base_bodies: bytes, page_size: int
) -> DecodedFrame:
    """Decode and verify a delta frame; raises `CorruptObject` naming it and its base."""
    try:
        return decode_frame(stored, frame.segment, page_size, base_bodies=base_bodies)
    except CorruptObject as error:
        raise CorruptObject(f"{frame.describe()}, with {base.describe()} as its base: {error}") from error
