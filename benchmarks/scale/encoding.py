"""The index size of a simulated commit, encoded by the code that writes real commits.

A commit's pages lie in one frame that travels inside it. Pages that no commit changed lie where the import put them,
16 to a frame. Of an index of very many pages a run of chunks is encoded, and the rest counted as if it were like that.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xxhash

from benchmarks.scale.simulation import U32, SimulatedLog
from metastore.commit import HASH_BYTES, NONCE_BYTES, CommitKind
from metastore.commit_codec import FIXED_BYTES, ChunkBytes, CommitDraft, encode_commit
from metastore.ids import LogId
from metastore.lsn import BEFORE_FIRST, LSN, covers_after
from metastore.placement import CHUNK_PAGES, ChunkPlacement, InCommit, OwnObject, SegmentRef, chunk_count, compacted
from metastore.placement_codec import encode_placement
from pagestore.ids import SegmentId

FRAME_PAGES = 16
PAGE_SIZE = 4096
_CHUNKS_MAX = 16
_ENTRIES_MAX = 50_000
_FIXED_BYTES = FIXED_BYTES + HASH_BYTES + 8
_LOG = LogId(bytes(range(16)))
_SEGMENT_HEAD = 40
_INDEX_IN_COMMIT = 400
"""Where an inline segment begins in its commit, roughly; it only has to compress like a real one."""


@dataclass(frozen=True, slots=True)
class IndexBytes:
    """Of one commit."""

    head: int
    chunks: int

    @property
    def total(self) -> int:
        """All but the inline segment."""
        return self.head + self.chunks


def index_bytes(log: SimulatedLog, lsn: int) -> IndexBytes:
    """Encode the index of a commit, and return its sizes."""
    chunks = chunk_count(log.workload.pages)
    many = chunks > _CHUNKS_MAX and log.entries[lsn] > _ENTRIES_MAX
    first = (lsn * 7919) % (chunks - _CHUNKS_MAX) if many else 0
    run = range(first, first + _CHUNKS_MAX if many else chunks)
    after = 0 if log.is_base[lsn] else covers_after(LSN(lsn))
    placements, origins = _placements(log, after, lsn, run)
    segments = [_segment(origin) for origin in origins.tolist()]
    encoded = [ChunkBytes(number, encode_placement(placement), number) for number, placement in placements.items()]
    base = lsn if after == BEFORE_FIRST else 1
    data = encode_commit(
        CommitDraft(
            log=_LOG, lsn=LSN(lsn), kind=CommitKind.WRITE, page_size=PAGE_SIZE, covers_after=LSN(after),
            base=LSN(base), byte_size=log.workload.pages * PAGE_SIZE,
            min_page_count=0 if base == lsn else log.workload.pages, live_pages=log.workload.pages,
            changed_pages=log.workload.scattered + 1, timestamp_us=lsn, nonce=_random(lsn, NONCE_BYTES),
            parent_hash=_random(lsn + 1, HASH_BYTES), fingerprint=lsn, attributes={}, segments=segments,
            chunks=encoded, inline=b"",
        )
    )  # fmt: skip
    body = sum(len(chunk.data) for chunk in encoded)
    share = len(run) / chunks
    return IndexBytes(_FIXED_BYTES + round((len(data) - body - _FIXED_BYTES) / share), round(body / share))


def _placements(log: SimulatedLog, after: int, lsn: int, run: range) -> tuple[dict[int, ChunkPlacement], U32]:
    """Return the places of a run of chunks, and the commits that their segments came with, oldest first."""
    low, high = run.start * CHUNK_PAGES + 1, run.stop * CHUNK_PAGES
    newest = _newest(log, after, lsn, low, min(high, log.workload.pages))
    pages, origins = newest
    table, ordinal = np.unique(origins, return_inverse=True)
    found: dict[int, ChunkPlacement] = {}
    bounds = np.searchsorted(pages, [number * CHUNK_PAGES + 1 for number in (*run, run.stop)])
    for number, start, stop in zip(run, bounds[:-1], bounds[1:], strict=True):
        if start < stop:
            found[number] = _chunk(
                number, pages[start:stop], origins[start:stop], ordinal[start:stop].astype(np.uint32)
            )
    return found, table.astype(np.uint32)


def _newest(log: SimulatedLog, after: int, lsn: int, low: int, high: int) -> tuple[U32, U32]:
    """Return the pages from ``low`` to ``high`` that changed after an LSN, and the commit that changed each last."""
    begin = max(after, 1) + 1  # the first commit is the import
    drawn = log.drawn[begin : lsn + 1].ravel()
    inside = np.flatnonzero((drawn >= low) & (drawn <= high))[::-1]
    pages, first = np.unique(drawn[inside], return_index=True)
    origins = (inside[first] // log.workload.scattered + begin).astype(np.uint32)
    if low == 1:
        pages, origins = np.insert(pages, 0, 1), np.insert(origins, 0, lsn)
    if after == BEFORE_FIRST:
        every = np.arange(low, high + 1, dtype=np.uint32)
        where = np.ones(len(every), np.uint32)
        where[pages - low] = origins
        return every, where
    return pages.astype(np.uint32), origins.astype(np.uint32)


def _chunk(number: int, pages: U32, origins: U32, ordinals: U32) -> ChunkPlacement:
    imported = origins == 1
    index = pages.astype(np.int64) - 1
    frame = np.where(imported, index // FRAME_PAGES, 0)
    length = frame_bytes(origins.astype(np.int64), frame).astype(np.uint32)
    first = number * CHUNK_PAGES // FRAME_PAGES
    ends = np.cumsum(frame_bytes(np.int64(1), np.arange(first, first + CHUNK_PAGES // FRAME_PAGES)))
    begin = _SEGMENT_HEAD + first * 5500 + np.concatenate(([0], ends[:-1]))  # frames of an import touch each other
    offset = np.where(imported, begin[np.where(imported, frame - first, 0)], _SEGMENT_HEAD).astype(np.uint64)
    slot = np.where(imported, index % FRAME_PAGES, (pages != 1) * (1 + index % 3)).astype(np.uint16)
    rows = np.arange(len(pages), dtype=np.uint16)
    low = (index % CHUNK_PAGES).astype(np.uint16)
    assert number == index[0] // CHUNK_PAGES, "BUG: a page of another chunk"
    return compacted(ChunkPlacement(ordinals.astype(np.uint32), offset, length, low, rows, slot))


def frame_bytes(origin: npt.NDArray[np.int64] | np.int64, frame: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the stored bytes of frames: random, so that no two are alike."""
    return 3000 + (origin * 2654435761 + frame * 40503) % 5000


def _segment(origin: int) -> SegmentRef | SegmentId:
    segment = SegmentId(_random(origin, 16))
    if origin == 1:
        return SegmentRef(segment, OwnObject())
    return SegmentRef(segment, InCommit(_LOG, LSN(origin), _INDEX_IN_COMMIT + origin % 97))


def _random(seed: int, count: int) -> bytes:
    return xxhash.xxh3_128_digest(seed.to_bytes(8, "little"))[:count]
