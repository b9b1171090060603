"""Fetching frames: carries out what `pagestore.segments.fetch_plan` plans."""

from collections.abc import Callable, Collection, Iterable, Iterator
from operator import attrgetter
from typing import Protocol

from pagestore.errors import CorruptObject, ObjectNotFound, PageStoreError, UnsupportedFormat
from pagestore.ids import SegmentId
from pagestore.objectstore import ObjectStore
from pagestore.parallel import Parallel
from pagestore.segments.decoding import Opened, StoredFrame, decoded, opened_ahead, opened_here
from pagestore.segments.delta_bases import Bases, NoBases, WaitingFrames, decode_difference
from pagestore.segments.dictionary import Dictionary, decode_dictionary
from pagestore.segments.fetch_plan import GAP_BYTES_MAX, RANGE_BYTES_MAX, FrameLocation, RangeRead, plan_fetch
from pagestore.segments.format import SEGMENT_HEADER_BYTES, DecodedFrame
from pagestore.segments.wide_reads import Nearby

WAITING_BYTES_MAX = 8 * 1024 * 1024
"""Stored bytes of frames of differences that wait for their bases to come by; then those are fetched for them."""


class Dictionaries(Protocol):
    """Keeps the dictionaries of segments, some at least, so that they are not fetched again; safe for threads."""

    def get(self, segment: SegmentId) -> Dictionary | None:
        """Return the dictionary of a segment if it is here."""
        ...

    def keep(self, segment: SegmentId, dictionary: Dictionary, stored: bytes) -> None:
        """Keep a dictionary and its stored bytes, as `pagestore.segments.dictionary.decode_dictionary` reads them."""
        ...


class RecentDictionaries:
    """Keeps them for as long as this object lives; for a few segments."""

    def __init__(self) -> None:
        """Begin with none."""
        self._found: dict[SegmentId, Dictionary] = {}

    def get(self, segment: SegmentId) -> Dictionary | None:
        """See `Dictionaries.get`."""
        return self._found.get(segment)

    def keep(self, segment: SegmentId, dictionary: Dictionary, stored: bytes) -> None:  # noqa: ARG002 - the port's
        """See `Dictionaries.keep`."""
        self._found[segment] = dictionary


def fetch_frames(
    store: ObjectStore,
    parallel: Parallel,
    frames: Iterable[FrameLocation],
    page_size: int,
    *,
    dictionaries: Dictionaries | None = None,
    bases: Bases | None = None,
    nearby: Nearby | None = None,
    decoding: Parallel | None = None,
    gap_bytes_max: int = GAP_BYTES_MAX,
    range_bytes_max: int = RANGE_BYTES_MAX,
    told: Callable[[RangeRead], None] | None = None,
) -> Iterator[tuple[FrameLocation, DecodedFrame]]:
    """Yield each of ``frames`` once, verified: by object key and offset, but for differences and what was ``nearby``.

    Reads are made in parallel, and decoded in the threads of ``decoding``, a little ahead of who takes them, or
    without those in the caller's thread. So memory stays within ``(parallel.threads + 1) * range_bytes_max``,
    `WAITING_BYTES_MAX`, `AHEAD_BYTES_MAX` uncompressed, a few frames for each of those threads, and what ``nearby``
    keeps, however many frames there are. A dictionary that is not in ``dictionaries`` yet is read along with the
    frames that need it, in the same round trip. A base that is neither in ``bases`` nor among ``frames`` is read in a
    round trip after it. ``told`` is called with each read when its bytes are here. Raises `CorruptObject` for missing
    or wrong bytes, naming the object and the place in it, and what ``store.get_range`` raises; frames yielded before
    are good.
    """
    nearby, wanted = nearby or Nearby(), list(dict.fromkeys(frames))
    reader = _Reader(
        store, parallel, dictionaries or RecentDictionaries(), nearby, gap_bytes_max, range_bytes_max, told
    )
    stored = reader.read(wanted)
    opened = opened_ahead(decoding, stored, page_size) if decoding and wanted[1:] else opened_here(stored, page_size)
    try:
        yield from _decoded(opened, reader, page_size, bases or NoBases(), nearby)
    except CorruptObject:
        nearby.forget()
        raise


def fetch_lone_frame(
    store: ObjectStore,
    frame: FrameLocation,
    page_size: int,
    dictionaries: Dictionaries,
    told: Callable[[RangeRead], None] | None = None,
) -> DecodedFrame | None:
    """Return a frame, verified, without what only many need; None, and nothing is read, where that is not enough.

    So it is for a frame in a commit, which may consist of differences, and for one whose dictionary is not here yet:
    `fetch_frames` knows what to do. A lookup waits for this. Raises like that.
    """
    dictionary = dictionaries.get(frame.segment) if frame.dictionary_bytes else None
    if not frame.in_own_object or (frame.dictionary_bytes and dictionary is None):
        return None
    data = store.get_range(frame.key, frame.offset, frame.length)
    read = RangeRead(frame.key, frame.offset, frame.length, (frame,))
    _check_length(data, read, store)
    if told is not None:
        told(read)
    return decoded(StoredFrame(frame, memoryview(data), dictionary), page_size)


def _decoded(
    opened: Iterable[Opened], reader: "_Reader", page_size: int, bases: Bases, nearby: Nearby
) -> Iterator[tuple[FrameLocation, DecodedFrame]]:
    waiting = WaitingFrames(page_size)
    for stored, found in opened:
        frame = stored.place
        if isinstance(found, DecodedFrame):
            yield frame, found
            yield from waiting.settled_by(frame, found)
            continue
        nearby.met(frame)
        if (bodies := bases.get(*found)) is not None:
            yield frame, decode_difference(stored.data, frame, found[0], bodies, page_size)
        else:
            waiting.add(frame, bytes(stored.data), *found)
            if waiting.stored_bytes > WAITING_BYTES_MAX:
                yield from _with_bases_read(reader, waiting, bases, page_size)
    if waiting.stored_bytes:
        yield from _with_bases_read(reader, waiting, bases, page_size)


def _with_bases_read(
    reader: "_Reader", waiting: WaitingFrames, bases: Bases, page_size: int
) -> Iterator[tuple[FrameLocation, DecodedFrame]]:
    """Yield what waits, fetching the bases; each is applied as it arrives."""
    for base, found in _bases_read(reader, waiting, page_size):
        bases.keep(base, found)
        yield from waiting.settled_by(base, found)


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
    """Reads stored frames and the dictionaries that they need, as `plan_fetch` has it."""

    def __init__(
        self,
        store: ObjectStore,
        parallel: Parallel,
        dictionaries: Dictionaries,
        nearby: Nearby,
        gap_bytes_max: int,
        range_bytes_max: int,
        told: Callable[[RangeRead], None] | None,
    ) -> None:
        self._store = store
        self._parallel = parallel
        self._dictionaries = dictionaries
        self._nearby = nearby
        self._gap_bytes_max = gap_bytes_max
        self._range_bytes_max = range_bytes_max
        self._told = told
        self._at_hand: dict[SegmentId, Dictionary] = {}

    def read(self, frames: Collection[FrameLocation]) -> Iterator[StoredFrame]:
        """Yield each frame's stored bytes, by object key and offset, with its segment's dictionary if it has one."""
        wanted = self._with_dictionaries(frames)
        found = {frame: near for frame in wanted if (near := self._nearby.get(frame)) is not None}
        for frame in sorted(found, key=attrgetter("key", "offset")):
            yield StoredFrame(frame, found[frame], None)
        # The plan is by offset, so that a dictionary comes before the frames that need it.
        plan = plan_fetch(
            (frame for frame in wanted if frame not in found) if found else wanted,
            gap_bytes_max=self._gap_bytes_max,
            range_bytes_max=self._range_bytes_max,
        )
        for planned, data in self._parallel.map(self._read_range, plan):
            _check_length(data, planned, self._store)
            if self._told is not None:
                self._told(planned)
            view = memoryview(data)
            for frame in planned.frames:
                start = frame.offset - planned.start
                stored = view[start : start + frame.length]
                if _is_dictionary(frame):
                    self._at_hand[frame.segment] = _decode_dictionary(stored, frame)
                    self._dictionaries.keep(frame.segment, self._at_hand[frame.segment], bytes(stored))
                else:
                    yield StoredFrame(frame, stored, self._at_hand.get(frame.segment))

    def _read_range(self, planned: RangeRead) -> tuple[RangeRead, bytes]:
        return self._nearby.read(self._store, planned)

    def _with_dictionaries(self, frames: Collection[FrameLocation]) -> list[FrameLocation]:
        """Return the frames, and the dictionaries that they need and that are not here."""
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
