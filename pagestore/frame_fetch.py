"""Fetching frames: carries out what `pagestore.fetch` plans."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from pagestore.dictionary import Dictionary, decode_dictionary
from pagestore.errors import CorruptObject, UnsupportedFormat
from pagestore.fetch import GAP_BYTES_MAX, RANGE_BYTES_MAX, FrameLocation, RangeRead, plan_fetch
from pagestore.ids import SegmentId
from pagestore.objectstore import ObjectStore
from pagestore.parallel import Parallel
from pagestore.segment import SEGMENT_HEADER_BYTES, DecodedFrame, decode_frame


class Dictionaries(Protocol):
    """Keeps the dictionaries of segments, some at least, so that they are not fetched again; safe for threads."""

    def get(self, segment: SegmentId) -> Dictionary | None:
        """Return the dictionary of a segment if it is here."""
        ...

    def keep(self, segment: SegmentId, dictionary: Dictionary, stored: bytes) -> None:
        """Take in a dictionary, and its stored bytes as `pagestore.dictionary.decode_dictionary` reads them."""
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
    gap_bytes_max: int = GAP_BYTES_MAX,
    range_bytes_max: int = RANGE_BYTES_MAX,
    told: Callable[[RangeRead], None] | None = None,
) -> Iterator[tuple[FrameLocation, DecodedFrame]]:
    """Yield each of ``frames`` once, verified, by object key and offset.

    Reads are made in parallel and decoded one frame at a time in the caller's thread, which is faster than
    any network; so memory stays within ``(parallel.threads + 1) * range_bytes_max`` and one frame, however
    many frames there are. A dictionary that is not in ``dictionaries`` yet is read along with the frames that need it,
    in the same round trip. ``told`` is called with each read when its bytes are here. Raises `CorruptObject` for
    missing or wrong bytes, naming the object and the place in it, and what ``store.get_range`` raises; frames yielded
    before are good.
    """
    dictionaries = dictionaries or RecentDictionaries()
    at_hand: dict[SegmentId, Dictionary] = {}
    wanted: set[FrameLocation] = set()
    for frame in frames:
        wanted.add(frame)
        if frame.dictionary_bytes and frame.segment not in at_hand:
            dictionary = dictionaries.get(frame.segment)
            if dictionary is not None:
                at_hand[frame.segment] = dictionary
            else:
                wanted.add(_dictionary_of(frame))

    def read(planned: RangeRead) -> tuple[RangeRead, bytes]:
        return planned, store.get_range(planned.key, planned.start, planned.length)

    # The plan is by offset, so that a dictionary comes before the frames that need it.
    plan = plan_fetch(wanted, gap_bytes_max=gap_bytes_max, range_bytes_max=range_bytes_max)
    for planned, data in parallel.map(read, plan):
        if len(data) != planned.length:
            raise CorruptObject(
                f"object {planned.key}: expected {planned.length} bytes at offset {planned.start}, "
                f"got {len(data)} from {store.url}"
            )
        if told is not None:
            told(planned)
        view = memoryview(data)
        for frame in planned.frames:
            start = frame.offset - planned.start
            stored = view[start : start + frame.length]
            if _is_dictionary(frame):
                at_hand[frame.segment] = _decode_dictionary(stored, frame)
                dictionaries.keep(frame.segment, at_hand[frame.segment], bytes(stored))
            else:
                yield frame, _decode(stored, frame, page_size, at_hand.get(frame.segment))


def _dictionary_of(frame: FrameLocation) -> FrameLocation:
    return FrameLocation(
        frame.key, SEGMENT_HEADER_BYTES, frame.dictionary_bytes, frame.segment, frame.dictionary_bytes
    )  # fmt: skip


def _is_dictionary(frame: FrameLocation) -> bool:
    return bool(frame.dictionary_bytes) and frame.offset == SEGMENT_HEADER_BYTES


def _decode(data: memoryview, frame: FrameLocation, page_size: int, dictionary: Dictionary | None) -> DecodedFrame:
    try:
        return decode_frame(data, frame.segment, page_size, dictionary)
    except (CorruptObject, UnsupportedFormat) as error:
        raise type(error)(f"object {frame.key}, {frame.length} bytes at offset {frame.offset}: {error}") from error


def _decode_dictionary(data: memoryview, frame: FrameLocation) -> Dictionary:
    try:
        return decode_dictionary(data, frame.segment)
    except (CorruptObject, UnsupportedFormat) as error:
        raise type(error)(f"object {frame.key}, {frame.length} bytes at offset {frame.offset}: {error}") from error
