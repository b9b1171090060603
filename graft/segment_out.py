"""The writing of a segment: which page goes into which frame, the dictionary, and the way to the remote.

pages → order → parts → frames, compressed in a few threads → inline, or streamed to the store

A push whose pages do not fit into its commit may do so as differences to what the remote has (`graft.differences`).

Memory is bounded by a few frames and the samples of the dictionary, whatever the number of pages.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

import numpy as np
import numpy.typing as npt

from graft.differences import PUSH_BYTES_MAX, small_segment
from graft.errors import remote_errors
from graft.pagemap import PageMap
from graft.remote import Remote
from graft.settings import KIB, Settings
from graft.snapshot import Snapshot
from pagestore.codec import Codec, compress
from pagestore.dictionary import Dictionary, train
from pagestore.fetch import segment_key
from pagestore.ids import SegmentId
from pagestore.pages import PageIdx
from pagestore.parallel import Parallel
from pagestore.segment import FrameExtent, encode_frame, version_for
from pagestore.segment_writer import SegmentWriter

WAY_DOWN_FRAME_BYTES = 256 * KIB
"""Pages on the way to others are fetched so many at once: 64 of 4 KiB, the way to any row of a table of 100 MB."""
_SAMPLES, _SAMPLE_BYTES = 1600, 2048
_DICTIONARY_SHARE = 64
"""A dictionary is at most this part of its segment's pages."""
_DICTIONARY_BYTES_MIN = 16 * KIB
_PROBE_FRAMES = 12
_COMPRESSING_THREADS = min(4, os.cpu_count() or 1)
_RUN_FRAMES = 8
_AHEAD_BYTES = 4 * 1024 * KIB
"""Uncompressed pages that are compressed while the upload keeps the one who takes them waiting."""
_INLINE_MARGIN = 4
"""A segment that is at most so many times what goes inline gets no dictionary, which cannot go inline."""

Pages = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ReadingOrder:
    """The pages of a snapshot in the order in which cold readers want them side by side; a hint."""

    way_down: Sequence[int] = ()
    """Pages that are read on the way to others, from the top."""
    leaves: Sequence[int] = ()
    """All that is worth ordering besides."""


Layout = Callable[[Snapshot], ReadingOrder]


@dataclass(frozen=True, slots=True)
class WrittenSegment:
    """A segment that is in the store already, or is to travel in its commit."""

    segment: SegmentId
    frames: Sequence[FrameExtent]
    size: int
    inline: bytes
    """All of it, if it goes inline."""
    dictionary_bytes: int


class Watcher(Protocol):
    """One who sees pages go by; called from several threads."""

    def bring(self, pages: Sequence[int]) -> None:
        """Pages are about to be read: make that cheap."""
        ...

    def wrote(self, pages: Sequence[int], bodies: Sequence[bytes | memoryview]) -> None:
        """Pages were put into a frame; a frame may be made twice."""
        ...


@dataclass(frozen=True, slots=True)
class _Part:
    """Pages that are framed alike."""

    pages: Pages
    frame_bytes: int
    codec: Codec


def write_segment(
    remote: Remote,
    settings: Settings,
    snapshot: Snapshot,
    pages: Pages,
    order: ReadingOrder | None = None,
    *,
    along: Sequence[Pages] = (),
    remote_map: PageMap | None = None,
    watcher: Watcher | None = None,
) -> WrittenSegment:
    """Write ``pages``, which ascend, as ``snapshot`` has them, laid out in an order if there is one.

    A segment that is small enough is returned whole, and so is one that is small enough with differences to what
    ``remote_map`` has; any other one is in the store on return. Pages that go ``along`` follow, each lot in frames of
    its own, and all goes inline, whatever its size. Raises the remote's errors.
    """
    if any(map(len, along)):
        codec = settings.codec_id
        writer = SegmentWriter(SegmentId.new(remote.runtime), snapshot.page_size, layout_order=True)
        lots = [_Part(lot, settings.frame_bytes, codec) for lot in along]
        parts = [_Part(pages, settings.one_frame_bytes_max, codec), *lots]
        data = b"".join(_encoded(writer, snapshot, parts, None, watcher))
        return WrittenSegment(writer.segment, writer.frames, writer.size, data, 0)
    if not len(pages):
        return WrittenSegment(SegmentId.new(remote.runtime), (), 0, b"", 0)
    if order is None and len(pages) * snapshot.page_size <= settings.one_frame_bytes_max:
        writer = SegmentWriter(SegmentId.new(remote.runtime), snapshot.page_size, layout_order=True)
        whole = _Part(pages, settings.one_frame_bytes_max, settings.codec_id)
        data = b"".join(_encoded(writer, snapshot, [whole], None, watcher))
        if len(data) <= settings.inline_bytes_max:
            return WrittenSegment(writer.segment, writer.frames, writer.size, data, 0)
    if order is None and remote_map is not None and len(pages) * snapshot.page_size <= PUSH_BYTES_MAX:
        small = small_segment(SegmentId.new(remote.runtime), settings, snapshot, pages, remote_map, remote.bases)
        if small is not None:
            writer, data = small
            return WrittenSegment(writer.segment, writer.frames, writer.size, data, 0)
    parts, dictionary = _planned(snapshot, pages, order, settings, watcher)
    version = version_for(Codec.ZSTD_DICTIONARY if dictionary else parts[0].codec)
    writer = SegmentWriter(
        SegmentId.new(remote.runtime), snapshot.page_size, layout_order=True, dictionary=dictionary, version=version
    )
    inline_bytes_max = settings.inline_bytes_max if not dictionary else 0
    inline = _written(remote, writer, _encoded(writer, snapshot, parts, dictionary, watcher), inline_bytes_max)
    return WrittenSegment(writer.segment, writer.frames, writer.size, inline or b"", writer.dictionary_bytes)


def _planned(
    snapshot: Snapshot, pages: Pages, order: ReadingOrder | None, settings: Settings, watcher: Watcher | None
) -> tuple[list[_Part], Dictionary | None]:
    codec, frame_bytes = settings.codec_id, settings.frame_bytes
    if order is None:
        first, rest = pages[:0], pages
    else:
        first = _named(order.way_down, pages)
        others = pages[~np.isin(pages, first)]
        leaves = _named(order.leaves, others)
        rest = np.concatenate((leaves, others[~np.isin(others, leaves)]))
    dictionary = _dictionary(snapshot, rest, settings, watcher) if codec is Codec.ZSTD else None
    top = Codec.ZSTD_STRIDES if codec is Codec.ZSTD else codec
    parts = [_Part(first, max(frame_bytes, WAY_DOWN_FRAME_BYTES), top), _Part(rest, frame_bytes, codec)]
    return [part for part in parts if len(part.pages)], dictionary


def _named(order: Sequence[int], pages: Pages) -> Pages:
    """Return those of ``pages`` that ``order`` names, in its order, each once."""
    named = np.asarray(order, np.int64)
    _, first = np.unique(named, return_index=True)
    named = named[np.sort(first)]
    return named[np.isin(named, pages)]


def _dictionary(snapshot: Snapshot, pages: Pages, settings: Settings, watcher: Watcher | None) -> Dictionary | None:
    """Return a dictionary for these pages, None where it would not make the segment smaller."""
    size = min(settings.dictionary_bytes_max, len(pages) * snapshot.page_size // _DICTIONARY_SHARE)
    if size < _DICTIONARY_BYTES_MIN:
        return None
    picked = pages[np.linspace(0, len(pages) - 1, min(_SAMPLES, len(pages))).astype(np.int64)]
    if watcher:
        watcher.bring(picked.tolist())
    length = min(_SAMPLE_BYTES, snapshot.page_size)
    samples = [
        bytes(snapshot.read(page)[start : start + length])
        for page, start in zip(picked.tolist(), _starts(snapshot.page_size - length), strict=False)
    ]
    dictionary = train(samples, size)
    return dictionary if dictionary and _pays(dictionary, snapshot, pages, settings) else None


def _starts(last: int) -> Iterator[int]:
    """Yield places in a page without end, early ones and late ones."""
    place = 0
    while True:
        yield place
        place = (place + 937) % (last + 1)


def _pays(dictionary: Dictionary, snapshot: Snapshot, pages: Pages, settings: Settings) -> bool:
    """Try a few frames with and without, and reckon up."""
    count = max(1, settings.frame_bytes // snapshot.page_size)
    starts = np.linspace(0, max(0, len(pages) - count), _PROBE_FRAMES).astype(np.int64).tolist()
    frames = [_joined(snapshot, pages[start : start + count]) for start in starts]
    with_it = sum(len(dictionary.compress(frame)) for frame in frames)
    without = sum(len(compress(frame, Codec.ZSTD)[1]) for frame in frames)
    scale = len(pages) / (count * _PROBE_FRAMES)
    large = without * scale > _INLINE_MARGIN * settings.inline_bytes_max
    return large and (without - with_it) * scale > len(compress(dictionary.raw, Codec.ZSTD)[1])


def _joined(snapshot: Snapshot, pages: Pages) -> bytes:
    return b"".join(snapshot.read_all(pages.tolist()))


def _written(remote: Remote, writer: SegmentWriter, frames: Iterator[bytes], inline_bytes_max: int) -> bytes | None:
    """Return the segment if it is small enough to go inline, None when it was uploaded instead."""
    buffered: list[bytes] = []
    for data in frames:
        buffered.append(data)
        if writer.size > inline_bytes_max:
            with remote_errors(f"uploading segment {writer.segment} to {remote.store.url}"):
                remote.store.put_stream(segment_key(writer.segment), chain(buffered, frames))
            return None
    return b"".join(buffered)


def _encoded(
    writer: SegmentWriter,
    snapshot: Snapshot,
    parts: Sequence[_Part],
    dictionary: Dictionary | None,
    watcher: Watcher | None,
) -> Iterator[bytes]:
    """Yield the bytes of the segment a run of frames at a time, compressed ahead in a few threads."""

    def run_of_frames(run: _Part) -> list[tuple[_Frame, bytes]]:
        if watcher:
            watcher.bring(run.pages.tolist())
        return [
            (frame, _frame_bytes(writer, snapshot, frame, dictionary, watcher))
            for frame in _frames_of(run, snapshot.page_size)
        ]

    def raw_bytes(run: _Part) -> int:
        return len(run.pages) * snapshot.page_size

    runs = [run for part in parts for run in _runs_of(part, snapshot.page_size)]
    with Parallel(_COMPRESSING_THREADS) as threads:
        for run in threads.map_ahead(run_of_frames, runs, raw_bytes, _AHEAD_BYTES):
            yield b"".join(writer.append(frame.pages, data) for frame, data in run)
    yield writer.finish()


@dataclass(frozen=True, slots=True)
class _Frame:
    pages: tuple[PageIdx, ...]
    codec: Codec


def _runs_of(part: _Part, page_size: int) -> Iterator[_Part]:
    count = _RUN_FRAMES * _frame_pages(part, page_size)
    for start in range(0, len(part.pages), count):
        yield _Part(part.pages[start : start + count], part.frame_bytes, part.codec)


def _frame_pages(part: _Part, page_size: int) -> int:
    return max(1, part.frame_bytes // page_size)


def _frames_of(part: _Part, page_size: int) -> Iterator[_Frame]:
    count = _frame_pages(part, page_size)
    for start in range(0, len(part.pages), count):
        yield _Frame(tuple(PageIdx(page) for page in sorted(part.pages[start : start + count].tolist())), part.codec)


def _frame_bytes(
    writer: SegmentWriter, snapshot: Snapshot, frame: _Frame, dictionary: Dictionary | None, watcher: Watcher | None
) -> bytes:
    bodies = snapshot.read_all(frame.pages)
    if watcher:
        watcher.wrote(frame.pages, bodies)
    codec = Codec.ZSTD_DICTIONARY if dictionary and frame.codec == Codec.ZSTD else frame.codec
    return encode_frame(writer.segment, snapshot.page_size, frame.pages, bodies, codec, dictionary=dictionary)
