"""Fetches, decodes and verifies frames; `pagestore.segments.fetch_plan` plans the reads."""

from collections.abc import Callable, Collection, Iterable, Iterator
from operator import attrgetter
from typing import Protocol

from pagestore.errors import CorruptObject, ObjectNotFound, PageStoreError, UnsupportedFormat
from pagestore.ids import SegmentId
from pagestore.objectstore import ObjectStore
from pagestore.parallel import Parallel
from pagestore.segments.decoding import Opened, StoredFrame, decoded, opened_ahead, opened_here
from pagestore.segments.delta_bases import Bases, NoBases, WaitingFrames, decode_delta
from pagestore.segments.dictionary import Dictionary, decode_dictionary
from pagestore.segments.fetch_plan import GAP_BYTES_MAX, RANGE_BYTES_MAX, FrameLocation, RangeRead, plan_fetch
from pagestore.segments.format import SEGMENT_HEADER_BYTES, DecodedFrame
from pagestore.segments.wide_reads import WideReads

WAITING_BYTES_MAX = 8 * 1024 * 1024
"""When the delta frames that wait for a base exceed this many stored bytes, their bases are fetched."""


class Dictionaries(Protocol):
    """A cache of segments' dictionaries, so that few are fetched twice; safe for threads."""

    def get(self, segment: SegmentId) -> Dictionary | None:
        """Return the dictionary of a segment if it is cached."""
        ...

    def add(self, segment: SegmentId, dictionary: Dictionary, stored: bytes) -> None:
        """Cache a dictionary with its stored bytes, which `pagestore.segments.dictionary.decode_dictionary` reads."""
        ...


class RecentDictionaries:
    """Caches all dictionaries for the life of this object; for a few segments."""

    def __init__(self) -> None:
        """Begin empty."""
        self._found: dict[SegmentId, Dictionary] = {}

    def get(self, segment: SegmentId) -> Dictionary | None:
        """See `Dictionaries.get`."""
        return self._found.get(segment)

    def add(self, segment: SegmentId, dictionary: Dictionary, stored: bytes) -> None:  # noqa: ARG002 - the port's
        """See `Dictionaries.add`."""
        self._found[segment] = dictionary


def fetch_frames(
    store: ObjectStore,
    parallel: Parallel,
    frames: Iterable[FrameLocation],
    page_size: int,
    *,
    dictionaries: Dictionaries | None = None,
    bases: Bases | None = None,
    wide_reads: WideReads | None = None,
    decoding: Parallel | None = None,
    gap_bytes_max: int = GAP_BYTES_MAX,
    range_bytes_max: int = RANGE_BYTES_MAX,
    on_read: Callable[[RangeRead], None] | None = None,
) -> Iterator[tuple[FrameLocation, DecodedFrame]]:
    """Yield each of ``frames`` once, verified; by object key and offset, except deltas and frames from ``wide_reads``.

    The reads run in parallel. Frames are decoded a little ahead of the consumer in the threads of ``decoding``, or
    without it in the caller's thread. A dictionary that is not in ``dictionaries`` is read in the same round trip as
    the frames that need it. A base that is neither in ``bases`` nor among ``frames`` takes a second round trip.
    ``on_read`` is called for each read when its bytes have arrived.

    Memory is bounded, however many frames there are, by ``(parallel.threads + 1) * range_bytes_max``,
    `WAITING_BYTES_MAX`, `AHEAD_BYTES_MAX` uncompressed, a few frames per decoding thread, and the cache of
    ``wide_reads``.

    Raises `CorruptObject` for missing or wrong bytes, naming the object and the place in it, and whatever
    ``store.get_range`` raises. Frames yielded before the error are good.
    """
    wide_reads, wanted = wide_reads or WideReads(), list(dict.fromkeys(frames))
    reader = _Reader(
        store, parallel, dictionaries or RecentDictionaries(), wide_reads, gap_bytes_max, range_bytes_max, on_read
    )
    stored = reader.read(wanted)
    opened = opened_ahead(decoding, stored, page_size) if decoding and wanted[1:] else opened_here(stored, page_size)
    try:
        yield from _decoded(opened, reader, page_size, bases or NoBases(), wide_reads)
    except CorruptObject:
        wide_reads.forget()
        raise


def fetch_lone_frame(
    store: ObjectStore,
    frame: FrameLocation,
    page_size: int,
    dictionaries: Dictionaries,
    on_read: Callable[[RangeRead], None] | None = None,
) -> DecodedFrame | None:
    """Return one verified frame in one plain read, which is faster for a waiting lookup than `fetch_frames`.

    Returns None, without a read, for a frame inside a commit, which may be a delta, and for a frame whose dictionary is
    not cached: those need `fetch_frames`. Raises like `fetch_frames`.
    """
    dictionary = dictionaries.get(frame.segment) if frame.dictionary_bytes else None
    if not frame.in_own_object or (frame.dictionary_bytes and dictionary is None):
        return None
    data = store.get_range(frame.key, frame.offset, frame.length)
    read = RangeRead(frame.key, frame.offset, frame.length, (frame,))
    _check_length(data, read, store)
    if on_read is not None:
        on_read(read)
    return decoded(StoredFrame(frame, memoryview(data), dictionary), page_size)


def _decoded(
    opened: Iterable[Opened], reader: "_Reader", page_size: int, bases: Bases, wide_reads: WideReads
) -> Iterator[tuple[FrameLocation, DecodedFrame]]:
    waiting = WaitingFrames(page_size)
    for stored, found in opened:
        frame = stored.place
        if isinstance(found, DecodedFrame):
            yield frame, found
            yield from waiting.resolve(frame, found)
            continue
        wide_reads.met(frame)
        if (bodies := bases.get(*found)) is not None:
            yield frame, decode_delta(stored.data, frame, found[0], bodies, page_size)
        else:
            waiting.add(frame, bytes(stored.data), *found)
            if waiting.stored_bytes > WAITING_BYTES_MAX:
                yield from _with_bases_read(reader, waiting, bases, page_size)
    if waiting.stored_bytes:
        yield from _with_bases_read(reader, waiting, bases, page_size)


def _with_bases_read(
    reader: "_Reader", waiting: WaitingFrames, bases: Bases, page_size: int
) -> Iterator[tuple[FrameLocation, DecodedFrame]]:
    """Fetch the missing bases, and yield the waiting frames as their bases arrive."""
    for base, found in _bases_read(reader, waiting, page_size):
        bases.add(base, found)
        yield from waiting.resolve(base, found)


def _bases_read(
    reader: "_Reader", waiting: WaitingFrames, page_size: int
) -> Iterator[tuple[FrameLocation, DecodedFrame]]:
    try:
        for stored in reader.read(waiting.bases):
            yield stored.place, decoded(stored, page_size)
    except (CorruptObject, UnsupportedFormat) as error:
        raise type(error)(_needed(error, waiting)) from error
    except ObjectNotFound as error:
        raise CorruptObject(_needed(error, waiting)) from error


def _needed(error: PageStoreError, waiting: WaitingFrames) -> str:
    return f"{error}; needed as a base by {waiting.describe()}"


class _Reader:
    """Reads stored frames and the dictionaries that they need, in the reads of `plan_fetch`."""

    def __init__(
        self,
        store: ObjectStore,
        parallel: Parallel,
        dictionaries: Dictionaries,
        wide_reads: WideReads,
        gap_bytes_max: int,
        range_bytes_max: int,
        on_read: Callable[[RangeRead], None] | None,
    ) -> None:
        self._store = store
        self._parallel = parallel
        self._dictionaries = dictionaries
        self._wide_reads = wide_reads
        self._gap_bytes_max = gap_bytes_max
        self._range_bytes_max = range_bytes_max
        self._on_read = on_read
        self._at_hand: dict[SegmentId, Dictionary] = {}

    def read(self, frames: Collection[FrameLocation]) -> Iterator[StoredFrame]:
        """Yield each frame's stored bytes, by object key and offset, with its segment's dictionary if it has one."""
        wanted = self._with_dictionaries(frames)
        found = {frame: near for frame in wanted if (near := self._wide_reads.get(frame)) is not None}
        for frame in sorted(found, key=attrgetter("key", "offset")):
            yield StoredFrame(frame, found[frame], None)
        # The plan is ordered by offset, so a dictionary comes before the frames that need it.
        plan = plan_fetch(
            (frame for frame in wanted if frame not in found) if found else wanted,
            gap_bytes_max=self._gap_bytes_max,
            range_bytes_max=self._range_bytes_max,
        )
        for planned, data in self._parallel.map(self._read_range, plan):
            _check_length(data, planned, self._store)
            if self._on_read is not None:
                self._on_read(planned)
            view = memoryview(data)
            for frame in planned.frames:
                start = frame.offset - planned.start
                stored = view[start : start + frame.length]
                if _is_dictionary(frame):
                    self._at_hand[frame.segment] = _decode_dictionary(stored, frame)
                    self._dictionaries.add(frame.segment, self._at_hand[frame.segment], bytes(stored))
                else:
                    yield StoredFrame(frame, stored, self._at_hand.get(frame.segment))

    def _read_range(self, planned: RangeRead) -> tuple[RangeRead, bytes]:
        return self._wide_reads.read(self._store, planned)

    def _with_dictionaries(self, frames: Collection[FrameLocation]) -> list[FrameLocation]:
        """Return the frames and the dictionaries that they need and that are not cached."""
        by_segment = {frame.segment: frame for frame in frames if frame.dictionary_bytes}
        missing = []
        for segment, frame in by_segment.items():
            if segment not in self._at_hand:
                dictionary = self._dictionaries.get(segment)
                if dictionary is not None:
                    self._at_hand[segment] = dictionary
                else:
                    missing.append(_dictionary_of(frame))
        return [*missing, *frames]


def _check_length(data: bytes, read: RangeRead, store: ObjectStore) -> None:
    if len(data) != read.length:
        raise CorruptObject(
            f"object {read.key}: expected {read.length} bytes at offset {read.start}, got {len(data)} from {store.url}"
        )


def _dictionary_of(frame: FrameLocation) -> FrameLocation:
    return FrameLocation(
        frame.key, SEGMENT_HEADER_BYTES, frame.dictionary_bytes, frame.segment, frame.dictionary_bytes
    )  # fmt: skip


def _is_dictionary(frame: FrameLocation) -> bool:
    return bool(frame.dictionary_bytes) and frame.offset == SEGMENT_HEADER_BYTES


def _decode_dictionary(data: memoryview, frame: FrameLocation) -> Dictionary:
    try:
        return decode_dictionary(data, frame.segment)
    except (CorruptObject, UnsupportedFormat) as error:
        raise type(error)(f"{frame.describe()}: {error}") from error
