"""Decodes stored frames in a few threads, ahead of the consumer: one processor alone cannot outrun a fast network.

The threads get runs of frames, since each piece of work costs two thread switches.
"""

import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeAlias

from pagestore.errors import CorruptObject, PageStoreError, UnsupportedFormat
from pagestore.parallel import Parallel
from pagestore.segments.dictionary import Dictionary
from pagestore.segments.fetch_plan import FrameLocation
from pagestore.segments.format import DecodedFrame, base_of, decode_frame, raw_bytes

DECODING_THREADS = min(4, os.cpu_count() or 1)
AHEAD_BYTES_MAX = 2 * 1024 * 1024
"""How many uncompressed bytes of frames may be decoded ahead of the frame that is taken next."""
_RUN_BYTES = 256 * 1024

Base: TypeAlias = tuple[FrameLocation, list[int]]
"""The base of a delta frame, and the pages that the delta frame takes from it."""


class StoredFrame(NamedTuple):
    """A frame as read from the store."""

    place: FrameLocation
    data: memoryview
    dictionary: Dictionary | None
    """The dictionary of its segment."""


Opened: TypeAlias = tuple[StoredFrame, DecodedFrame | Base]


def opened_here(frames: Iterable[StoredFrame], page_size: int) -> Iterator[Opened]:
    """Yield the same as `opened_ahead`, but decode each frame when it is taken, in the caller's thread."""
    for stored in frames:
        yield stored, _opened(stored, page_size)


def opened_ahead(threads: Parallel, frames: Iterable[StoredFrame], page_size: int) -> Iterator[Opened]:
    """Yield all frames in order: decoded and verified, or, for a delta frame, with its base.

    Raises `CorruptObject` and `UnsupportedFormat`, naming the object and the place in it, when the frame's turn comes.
    """

    def opened_run(run: _Run) -> list[Opened | PageStoreError]:
        found: list[Opened | PageStoreError] = []
        for stored in run.frames:
            try:
                found.append((stored, _opened(stored, page_size)))
            except (CorruptObject, UnsupportedFormat) as error:
                found.append(error)
                break
        return found

    runs = _runs(frames, page_size, _RUN_BYTES if threads.threads > 1 else 0)
    for run in threads.map_ahead(opened_run, runs, lambda run: run.raw_bytes, AHEAD_BYTES_MAX):
        for opened in run:
            if isinstance(opened, PageStoreError):
                raise opened
            yield opened


def decoded(stored: StoredFrame, page_size: int) -> DecodedFrame:
    """Decode and verify a frame that is not a delta; raises like `opened_ahead`."""
    place = stored.place
    try:
        return decode_frame(stored.data, place.segment, page_size, stored.dictionary)
    except (CorruptObject, UnsupportedFormat) as error:
        raise type(error)(f"{place.describe()}: {error}") from error


class _Run(NamedTuple):
    frames: list[StoredFrame]
    raw_bytes: int


def _runs(frames: Iterable[StoredFrame], page_size: int, run_bytes: int) -> Iterator[_Run]:
    run: list[StoredFrame] = []
    size = 0
    for stored in frames:
        run.append(stored)
        size += raw_bytes(stored.data, page_size)
        if size >= run_bytes:
            yield _Run(run, size)
            run, size = [], 0
    if run:
        yield _Run(run, size)


def _opened(stored: StoredFrame, page_size: int) -> DecodedFrame | Base:
    place = stored.place
    if not place.in_own_object:  # only then it may be a delta
        try:
            base = base_of(stored.data, place.segment, page_size)
        except (CorruptObject, UnsupportedFormat) as error:
            raise type(error)(f"{place.describe()}: {error}") from error
        if base is not None:
            return base
    return decoded(stored, page_size)
