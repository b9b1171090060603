"""Fetching frames: carries out what `pagestore.fetch` plans."""

from collections.abc import Iterable, Iterator

from pagestore.errors import CorruptObject, UnsupportedFormat
from pagestore.fetch import GAP_BYTES_MAX, RANGE_BYTES_MAX, FrameLocation, RangeRead, plan_fetch
from pagestore.objectstore import ObjectStore
from pagestore.parallel import Parallel
from pagestore.segment import DecodedFrame, decode_frame


def fetch_frames(
    store: ObjectStore,
    parallel: Parallel,
    frames: Iterable[FrameLocation],
    page_size: int,
    *,
    gap_bytes_max: int = GAP_BYTES_MAX,
    range_bytes_max: int = RANGE_BYTES_MAX,
) -> Iterator[tuple[FrameLocation, DecodedFrame]]:
    """Yield each of ``frames`` once, verified, by object key and offset.

    Reads are made in parallel and decoded one frame at a time in the caller's thread, which is faster than
    any network; so memory stays within ``(parallel.threads + 1) * range_bytes_max`` and one frame, however
    many frames there are. Raises `CorruptObject` for missing or wrong bytes, naming the object and the place
    in it, and what ``store.get_range`` raises; frames yielded before are good.
    """

    def read(planned: RangeRead) -> tuple[RangeRead, bytes]:
        return planned, store.get_range(planned.key, planned.start, planned.length)

    plan = plan_fetch(frames, gap_bytes_max=gap_bytes_max, range_bytes_max=range_bytes_max)
    for planned, data in parallel.map(read, plan):
        if len(data) != planned.length:
            raise CorruptObject(
                f"object {planned.key}: expected {planned.length} bytes at offset {planned.start}, "
                f"got {len(data)} from {store.url}"
            )
        view = memoryview(data)
        for frame in planned.frames:
            start = frame.offset - planned.start
            yield frame, _decode(view[start : start + frame.length], frame, page_size)


def _decode(data: memoryview, frame: FrameLocation, page_size: int) -> DecodedFrame:
    try:
        return decode_frame(data, frame.segment, page_size)
    except (CorruptObject, UnsupportedFormat) as error:
        raise type(error)(f"object {frame.key}, {frame.length} bytes at offset {frame.offset}: {error}") from error
