"""Builds segments: which page goes into which frame, the dictionary, and the upload.

pages → order → parts → frames, compressed in a few threads → inline, or streamed to the store

The entry frame of a laid-out segment goes inline although the rest does not: cold readers get it with the commit
(ADR 19). A push whose pages do not fit into its commit may fit as deltas (`graft.building.deltas`).

Memory is bounded by a few frames and the samples of the dictionary, whatever the number of pages.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Protocol

import numpy as np
import numpy.typing as npt

from graft.building.deltas import PUSH_BYTES_MAX, small_segment
from graft.errors import remote_errors
from graft.pagemap.page_map import PageMap
from graft.reading.snapshot import Snapshot
from graft.remote.remote import Remote
from graft.settings import KIB, Settings
from metastore.index import HEAD_READ_BYTES
from metastore.placement import chunk_count
from metastore.rollup import NewSegment
from pagestore.ids import SegmentId
from pagestore.pages import PageIdx
from pagestore.parallel import Parallel
from pagestore.segments.codec import Codec, compress
from pagestore.segments.dictionary import Dictionary, train
from pagestore.segments.fetch_plan import segment_key
from pagestore.segments.format import encode_frame, version_for
from pagestore.segments.writer import SegmentWriter

ENTRY_FRAME_BYTES = 256 * KIB
"""Frame size of interior pages: 64 pages of 4 KiB lead to any row of a table of 100 MB."""
_ENTRY_INLINES = 2
"""How many inline limits an entry frame may take: a bulk load has one, and every cold reader needs it."""
_INDEX_CHUNK_BYTES = 1024
"""Estimated size of an index chunk of a bulk load; 0.8 KB with 16 pages in a frame."""
_SAMPLES, _SAMPLE_BYTES = 1600, 2048
_DICTIONARY_SHARE = 64
"""A dictionary takes at most one byte in this many of its segment's pages."""
_DICTIONARY_BYTES_MIN = 16 * KIB
_PROBE_FRAMES = 12
_COMPRESSING_THREADS = min(4, os.cpu_count() or 1)
_RUN_FRAMES = 8
_AHEAD_BYTES = 4 * 1024 * KIB
"""How many bytes of pages to compress ahead of the upload."""
_INLINE_MARGIN = 4
"""A segment of up to this many times the inline limit gets no dictionary, with which it could not go inline."""

Pages = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ReadingOrder:
    """A hint: the order in which cold readers want a snapshot's pages side by side."""

    interior: Sequence[int] = ()
    """Pages that lead to others, from the top."""
    leaves: Sequence[int] = ()
    """Other pages whose order matters."""


Layout = Callable[[Snapshot], ReadingOrder]


class Watcher(Protocol):
    """Observes pages as they are written; called from several threads."""

    def prefetch(self, pages: Sequence[int]) -> None:
        """Fetch pages that are about to be read."""
        ...

    def wrote(self, pages: Sequence[int], bodies: Sequence[bytes | memoryview]) -> None:
        """Note that pages were put into a frame; a frame may be made twice."""
        ...


@dataclass(frozen=True, slots=True)
class _Part:
    """Pages with the same frame size and codec."""

    pages: Pages
    frame_bytes: int
    codec: Codec


def write_segments(
    remote: Remote,
    settings: Settings,
    snapshot: Snapshot,
    pages: Pages,
    order: ReadingOrder | None = None,
    *,
    carried: Sequence[Pages] = (),
    remote_map: PageMap | None = None,
    watcher: Watcher | None = None,
) -> Sequence[NewSegment]:
    """Write ``pages`` (ascending) of ``snapshot`` as segments, laid out by ``order`` if given.

    There is one segment, unless a large one is laid out: then its entry frame is a segment of its own, inline and
    first, if it is short enough. A segment goes inline if it is small enough, whole or as deltas to the pages of
    ``remote_map``; any other is in the store on return. With ``carried`` pages of earlier pushes, each lot gets frames
    of its own, and the segment goes inline whatever its size. Raises the remote's errors.
    """
    if any(map(len, carried)):
        lots = [_Part(lot, settings.frame_bytes, settings.codec_id) for lot in carried]
        parts = [_Part(pages, settings.one_frame_bytes_max, settings.codec_id), *lots]
        return [_in_memory(remote, snapshot, parts, watcher)]
    if not len(pages):
        return []
    if order is None and len(pages) * snapshot.page_size <= settings.one_frame_bytes_max:
        whole = _in_memory(
            remote, snapshot, [_Part(pages, settings.one_frame_bytes_max, settings.codec_id)], watcher
        )  # fmt: skip
        if whole.size <= settings.inline_bytes_max:
            return [whole]
    if order is None and remote_map is not None and len(pages) * snapshot.page_size <= PUSH_BYTES_MAX:
        small = small_segment(
            SegmentId.new(remote.runtime), settings, snapshot, pages, remote_map, remote.bases_to_build_on
        )
        if small is not None:
            writer, data = small
            return [NewSegment(writer.segment, writer.frames, data, size=writer.size)]
    interior, rest, dictionary = _planned(snapshot, pages, order, settings, watcher)
    first, further = np.split(interior.pages, [_frame_pages(interior, snapshot.page_size)])
    bytes_max = _entry_bytes_max(settings, snapshot.page_count)
    if bytes_max and 0 < len(first) < len(pages):
        top = _in_memory(remote, snapshot, [replace(interior, pages=first)], watcher)
        if top.size <= bytes_max:
            below = [replace(interior, pages=further), rest]
            stored = _small_or_stored(remote, settings, snapshot, below, dictionary, watcher)
            if not stored.inline:
                return [top, stored]
    return [_small_or_stored(remote, settings, snapshot, [interior, rest], dictionary, watcher)]


def _entry_bytes_max(settings: Settings, page_count: int) -> int:
    """Return how long an entry frame may be in a commit: the first read of the commit must include it.

    The index precedes it. If the index may take more than half of the read, the result is 0.
    """
    half = HEAD_READ_BYTES // 2
    if chunk_count(page_count) * _INDEX_CHUNK_BYTES > half:
        return 0
    return min(_ENTRY_INLINES * settings.inline_bytes_max, half)


def _in_memory(remote: Remote, snapshot: Snapshot, parts: Sequence[_Part], watcher: Watcher | None) -> NewSegment:
    """Return an inline segment."""
    version = version_for(*(part.codec for part in parts))
    writer = SegmentWriter(SegmentId.new(remote.runtime), snapshot.page_size, layout_order=True, version=version)
    data = b"".join(_encoded(writer, snapshot, parts, None, watcher))
    return NewSegment(writer.segment, writer.frames, data, size=writer.size)


def _small_or_stored(
    remote: Remote,
    settings: Settings,
    snapshot: Snapshot,
    parts: Sequence[_Part],
    dictionary: Dictionary | None,
    watcher: Watcher | None,
) -> NewSegment:
    """Return a segment: inline if it is small enough, else uploaded."""
    parts = [part for part in parts if len(part.pages)]
    version = version_for(Codec.ZSTD_DICTIONARY if dictionary else parts[0].codec)
    writer = SegmentWriter(
        SegmentId.new(remote.runtime), snapshot.page_size, layout_order=True, dictionary=dictionary, version=version
    )
    inline_bytes_max = settings.inline_bytes_max if not dictionary else 0
    inline = _written(remote, writer, _encoded(writer, snapshot, parts, dictionary, watcher), inline_bytes_max)
    return NewSegment(writer.segment, writer.frames, inline or b"", writer.dictionary_bytes, writer.size)


def _planned(
    snapshot: Snapshot, pages: Pages, order: ReadingOrder | None, settings: Settings, watcher: Watcher | None
) -> tuple[_Part, _Part, Dictionary | None]:
    """Return the interior pages, all others, and a dictionary if it saves anything."""
    codec, frame_bytes = settings.codec_id, settings.frame_bytes
    if order is None:
        first, rest = pages[:0], pages
    else:
        first = _named(order.interior, pages)
        others = pages[~np.isin(pages, first)]
        leaves = _named(order.leaves, others)
        rest = np.concatenate((leaves, others[~np.isin(others, leaves)]))
    dictionary = _dictionary(snapshot, rest, settings, watcher) if codec is Codec.ZSTD else None
    top = Codec.ZSTD_STRIDES if codec is Codec.ZSTD else codec
    interior = _Part(first, max(frame_bytes, ENTRY_FRAME_BYTES), top)
    return interior, _Part(rest, frame_bytes, codec), dictionary


def _named(order: Sequence[int], pages: Pages) -> Pages:
    """Return those of ``pages`` that ``order`` names, in its order, each once."""
    named = np.asarray(order, np.int64)
    _, first = np.unique(named, return_index=True)
    named = named[np.sort(first)]
    return named[np.isin(named, pages)]


def _dictionary(snapshot: Snapshot, pages: Pages, settings: Settings, watcher: Watcher | None) -> Dictionary | None:
    """Return a dictionary for these pages, None if it would not make the segment smaller."""
    size = min(settings.dictionary_bytes_max, len(pages) * snapshot.page_size // _DICTIONARY_SHARE)
    if size < _DICTIONARY_BYTES_MIN:
        return None
    picked = pages[np.linspace(0, len(pages) - 1, min(_SAMPLES, len(pages))).astype(np.int64)]
    if watcher:
        watcher.prefetch(picked.tolist())
    length = min(_SAMPLE_BYTES, snapshot.page_size)
    samples = [
        bytes(snapshot.read(page)[start : start + length])
        for page, start in zip(picked.tolist(), _starts(snapshot.page_size - length), strict=False)
    ]
    dictionary = train(samples, size)
    return dictionary if dictionary and _pays(dictionary, snapshot, pages, settings) else None


def _starts(last: int) -> Iterator[int]:
    """Yield offsets in a page, without end, spread over its length."""
    place = 0
    while True:
        yield place
        place = (place + 937) % (last + 1)


def _pays(dictionary: Dictionary, snapshot: Snapshot, pages: Pages, settings: Settings) -> bool:
    """Return whether a dictionary saves more than it takes, by compressing a few frames with and without it."""
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
    """Return the segment if it is small enough to go inline, None if it was uploaded."""
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
    """Yield the bytes of the segment, a run of frames at a time; a few threads compress ahead."""

    def run_of_frames(run: _Part) -> list[tuple[_Frame, bytes]]:
        if watcher:
            watcher.prefetch(run.pages.tolist())
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
        yield replace(part, pages=part.pages[start : start + count])


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
