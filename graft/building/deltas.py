"""Pushed pages as deltas to the remote's older versions of them, so that many fit into a commit (ADR 18).

pages → their places in the remote → bases whose bodies are local → frames, abandoned once they exceed the limit

A page's base is the frame that held it before, if that frame is in a segment object and its body is local: no base is
ever fetched. All other pages go whole, and so does page 1, which every reader needs first. Pages with the same base
share a frame.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from graft.pagemap.locations import FRAME_TAG, frame_of
from graft.pagemap.page_map import PageMap
from graft.reading.snapshot import Snapshot
from graft.settings import MIB, Settings
from metastore.placement import OwnObject
from pagestore.ids import SegmentId
from pagestore.pages import PageIdx
from pagestore.segments.codec import Codec
from pagestore.segments.delta import Base
from pagestore.segments.delta_bases import Bases
from pagestore.segments.format import encode_frame, version_for
from pagestore.segments.writer import SegmentWriter

PUSH_BYTES_MAX = 4 * MIB
"""Largest push, in uncompressed bytes, that is tried as deltas; it takes up to twice that in memory."""

_Frame = tuple[Sequence[PageIdx], bytes]


@dataclass(frozen=True, slots=True)
class _Sorted:
    """The pages of a push, ascending."""

    whole: Sequence[int]
    """Pages without a base."""
    by_base: Sequence[tuple[Sequence[int], Base]]
    """Pages that become deltas, grouped by base."""


def small_segment(
    segment: SegmentId,
    settings: Settings,
    snapshot: Snapshot,
    pages: npt.NDArray[np.int64],
    remote_map: PageMap,
    bases: Bases,
) -> tuple[SegmentWriter, bytes] | None:
    """Return a finished segment of deltas to the pages of ``remote_map``, if it is small enough to go inline.

    Returns None if it is too large, if no base is local, or if the whole pages would fit inline.
    """
    if settings.codec_id is not Codec.ZSTD:
        return None
    found = _sorted(pages.tolist(), remote_map, bases)
    if not found.by_base:
        return None
    if len(pages) * snapshot.page_size > settings.one_frame_bytes_max:  # else this was tried, as one frame
        whole = _frames(segment, snapshot, _Sorted(pages.tolist(), ()), settings.frame_bytes)
        if _fitting(segment, snapshot.page_size, whole, settings.inline_bytes_max):
            return None
    frames = _frames(segment, snapshot, found, max(settings.frame_bytes, settings.one_frame_bytes_max))
    return _fitting(segment, snapshot.page_size, frames, settings.inline_bytes_max)


def _sorted(pages: Sequence[int], remote_map: PageMap, bases: Bases) -> _Sorted:
    by_frame: dict[int, list[int]] = defaultdict(list)
    whole: list[int] = []
    for page in pages:
        location = remote_map.location(page)
        frame = frame_of(location) if location & FRAME_TAG and page != 1 else None
        if frame is not None and isinstance(remote_map.table.key(frame).ref.home, OwnObject):
            by_frame[frame].append(page)
        else:
            whole.append(page)
    by_base: list[tuple[Sequence[int], Base]] = []
    for frame, held in by_frame.items():
        place = remote_map.table.key(frame).locate()
        bodies = bases.get(place, held)
        if bodies is None:
            whole.extend(held)
        else:
            by_base.append((held, Base(place, bodies)))
    return _Sorted(sorted(whole), by_base)


def _frames(segment: SegmentId, snapshot: Snapshot, pages: _Sorted, whole_frame_bytes: int) -> Iterator[_Frame]:
    """Yield the frames; those of whole pages first, since they are the largest."""
    count = max(1, whole_frame_bytes // snapshot.page_size)
    for start in range(0, len(pages.whole), count):
        yield _frame(segment, snapshot, pages.whole[start : start + count], None)
    for held, base in pages.by_base:
        yield _frame(segment, snapshot, held, base)


def _frame(segment: SegmentId, snapshot: Snapshot, pages: Sequence[int], base: Base | None) -> _Frame:
    listed = [PageIdx(page) for page in pages]
    bodies = [snapshot.read(page) for page in listed]
    codec = Codec.ZSTD_DELTA if base else Codec.ZSTD
    return listed, encode_frame(segment, snapshot.page_size, listed, bodies, codec, base=base)


def _fitting(
    segment: SegmentId, page_size: int, frames: Iterator[_Frame], bytes_max: int
) -> tuple[SegmentWriter, bytes] | None:
    """Return a finished segment of these frames, None as soon as they exceed ``bytes_max``."""
    taken: list[_Frame] = []
    size = 0
    for frame in frames:
        taken.append(frame)
        size += len(frame[1])
        if size > bytes_max:
            return None
    writer = SegmentWriter(segment, page_size, layout_order=True, version=version_for(*(data[0] for _, data in taken)))
    data = b"".join([*(writer.append(listed, data) for listed, data in taken), writer.finish()])
    return (writer, data) if len(data) <= bytes_max else None
