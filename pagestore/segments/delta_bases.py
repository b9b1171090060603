"""Frames of differences on their way to the bodies: the bases that are here, and what waits for one that is not."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Protocol

from pagestore.errors import CorruptObject
from pagestore.segments.delta import bodies_of
from pagestore.segments.fetch_plan import FrameLocation
from pagestore.segments.format import DecodedFrame, decode_frame

_NAMED_MAX = 3
"""How many of those that wait for a base an error names."""


class Bases(Protocol):
    """Keeps frames that others are differences to, some at least, so that none is fetched twice; safe for threads."""

    def get(self, place: FrameLocation, pages: Sequence[int]) -> bytes | None:
        """Return the bodies that these pages have in a frame, one after the other, if all of them are here."""
        ...

    def keep(self, place: FrameLocation, frame: DecodedFrame) -> None:
        """Take in a frame that was fetched because others are differences to it."""
        ...


class NoBases:
    """Keeps nothing: for those who trust nothing that is here already."""

    def get(self, place: FrameLocation, pages: Sequence[int]) -> bytes | None:  # noqa: ARG002 - the port's
        """See `Bases.get`."""
        return None

    def keep(self, place: FrameLocation, frame: DecodedFrame) -> None:
        """See `Bases.keep`."""


class WaitingFrames:
    """Stored frames of differences whose bases are not here yet; used by one thread."""

    def __init__(self, page_size: int) -> None:
        """Begin with none."""
        self.stored_bytes = 0
        self._page_size = page_size
        self._waiting: dict[FrameLocation, list[tuple[FrameLocation, bytes, list[int]]]] = defaultdict(list)

    @property
    def bases(self) -> list[FrameLocation]:
        """The frames that are waited for."""
        return list(self._waiting)

    def add(self, frame: FrameLocation, stored: bytes, base: FrameLocation, pages: list[int]) -> None:
        """Take in a frame until its base comes by."""
        self._waiting[base].append((frame, stored, pages))
        self.stored_bytes += len(stored)

    def settled_by(self, base: FrameLocation, found: DecodedFrame) -> Iterator[tuple[FrameLocation, DecodedFrame]]:
        """Yield the frames that waited for this one, decoded and verified; raises `CorruptObject`."""
        if base not in self._waiting:
            return
        held = found.pages.tolist()
        for frame, stored, pages in self._waiting.pop(base):
            self.stored_bytes -= len(stored)
            bodies = bodies_of(pages, held, found.body, self._page_size)
            if bodies is None:
                raise CorruptObject(f"{frame.describe()}: its base, {base.describe()}, lacks pages of {pages}")
            yield frame, decode_difference(stored, frame, base, bodies, self._page_size)

    def describe(self) -> str:
        """Name some of those that wait, for an error about their bases."""
        frames = [frame for waiting in self._waiting.values() for frame, _, _ in waiting]
        named = "; ".join(frame.describe() for frame in frames[:_NAMED_MAX])
        return f"{named}; and others ({len(frames) - _NAMED_MAX})" if len(frames) > _NAMED_MAX else named


def decode_difference(
    stored: bytes | memoryview, frame: FrameLocation, base: FrameLocation, base_bodies: bytes, page_size: int
) -> DecodedFrame:
    """Return the pages of a frame of differences; raises `CorruptObject` naming it and its base."""
    try:
        return decode_frame(stored, frame.segment, page_size, base_bodies=base_bodies)
    except CorruptObject as error:
        raise CorruptObject(f"{frame.describe()}, with {base.describe()} as its base: {error}") from error
