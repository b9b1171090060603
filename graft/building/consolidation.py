"""Carrying: now and then a push takes along pages of the pushes before it, so that nobody ever reads many tiny objects.

A small push leaves its pages inline in its commit. After a thousand of them a scan would have to read a thousand
commits. So the push of an LSN that 16 divides carries what the 15 before it hold inline, one that 256 divides what the
255 before it hold, and so on: the same bodies, in a new place, inside the one object that is put anyway. Each page
travels once more per level at most, and the inline pages of *n* pushes lie in about 15 × log₁₆ *n* objects.

A reader that has a page's body at the old place need not fetch it from the new one: the commit says, of each page that
it carries, since which LSN the page is as it is (docs/formats/commit.md, attribute ``carried``).
"""

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from graft.errors import Corrupt
from graft.pagemap.frame_table import FrameKey
from graft.pagemap.locations import FRAME_TAG, frame_of
from graft.pagemap.page_map import PageMap
from graft.remote.entry_frame import laid_out_at
from metastore.commit import Commit
from metastore.ids import LogId
from metastore.index import CommitIndex
from metastore.lsn import LSN
from metastore.placement import CHUNK_PAGES, InCommit, SegmentRef
from pagestore.distinct import distinct
from pagestore.errors import PageStoreError
from pagestore.segments.codec import Codec, compress, decompress

CARRIED = "carried"
RADIX = 16

_HEAD = struct.Struct("<IB")
_RAW_BYTES_MAX = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Carried:
    """Pages that a commit carries: ascending, and of each the LSN whose push left it as it is."""

    pages: npt.NDArray[np.uint32]
    since: npt.NDArray[np.uint64]

    def without(self, pages: Iterable[int]) -> "Carried":
        """Return the same but for some pages."""
        keep = ~np.isin(self.pages, np.fromiter(pages, np.uint32))
        return Carried(self.pages[keep], self.since[keep])


NOTHING = Carried(np.empty(0, np.uint32), np.empty(0, np.uint64))


def joined(parts: Sequence[Carried]) -> Carried:
    """Return all pages of some parts that have none in common."""
    pages = np.concatenate([NOTHING.pages, *(part.pages for part in parts)])
    since = np.concatenate([NOTHING.since, *(part.since for part in parts)])
    order = np.argsort(pages)
    return Carried(pages[order], since[order])


def spans(lsn: int) -> Iterator[int]:
    """Yield how many LSNs, its own included, the push of ``lsn`` may sum up, longest first.

    >>> list(spans(512)), list(spans(7))
    ([256, 16], [])
    """
    span = RADIX
    while lsn % (span * RADIX) == 0:
        span *= RADIX
    while span >= RADIX and lsn % span == 0:
        yield span
        span //= RADIX


def to_carry(
    log: LogId, lsn: int, chain: Sequence[CommitIndex], remote_map: PageMap, kept: int, pages_max: int
) -> Carried:
    """Return what the push of ``lsn``, after the commits of ``chain``, should carry: nothing, mostly.

    That is what the longest span of commits holds inline in no more than ``pages_max`` pages, up to page ``kept``. The
    index chunks that `chunks_to_read` names must have been read.
    """
    laid_out = laid_out_at(chain[0].commit) if chain else None
    for span in spans(lsn):
        after = lsn - span
        pages = distinct(np.concatenate([_EMPTY, *_inline_pages(log, after, laid_out, chain)]))
        found = _as_placed(log, after, laid_out, pages[pages <= kept], remote_map)
        if 0 < len(found.pages) <= pages_max:
            return found
    return NOTHING


def chunks_to_read(lsn: int, chain: Sequence[CommitIndex]) -> list[tuple[CommitIndex, int]]:
    """Return the index chunks that `to_carry` looks at."""
    after = lsn - next(spans(lsn), 1)
    return [(index, entry.number) for index in chain if index.commit.lsn > after for entry in index.commit.directory]


_EMPTY: npt.NDArray[np.uint32] = np.empty(0, np.uint32)


def _inline_pages(
    log: LogId, after: int, laid_out: LSN | None, chain: Sequence[CommitIndex]
) -> Iterator[npt.NDArray[np.uint32]]:
    for index in chain:
        if index.commit.lsn <= after:
            continue
        young = np.array([_is_young(ref, log, after, laid_out) for ref in index.commit.segments], np.bool_)
        for entry in index.commit.directory:
            placement = index.placement(entry.number)
            if placement.pages:
                low = placement.page_low[young[placement.frame_segment][placement.page_frame]]
                yield low.astype(np.uint32) + np.uint32(entry.number * CHUNK_PAGES + 1)


def _is_young(ref: SegmentRef, log: LogId, after: int, laid_out: LSN | None) -> bool:
    """Tell whether a commit after an LSN holds a segment; the way down of a bulk load is in good company there."""
    return isinstance(ref.home, InCommit) and ref.home.log == log and after < ref.home.lsn != laid_out


def _as_placed(
    log: LogId, after: int, laid_out: LSN | None, pages: npt.NDArray[np.uint32], remote_map: PageMap
) -> Carried:
    """Keep the pages whose newest body is in a young commit, and say in which."""
    found: list[int] = []
    since: list[int] = []
    for page in pages.tolist():
        location = remote_map.location(page)
        if not location & FRAME_TAG:
            continue
        ref = remote_map.table.key(frame_of(location)).ref
        if _is_young(ref, log, after, laid_out):
            assert isinstance(ref.home, InCommit), "BUG: young, but not in a commit"
            found.append(page)
            since.append(ref.home.lsn)
    return Carried(np.array(found, np.uint32), np.array(since, np.uint64))


def encode_carried(carried: Carried, lsn: int) -> bytes:
    """Return the attribute's bytes in the commit ``lsn``."""
    steps = carried.pages.copy()
    steps[1:] -= carried.pages[:-1]
    ago = (np.uint64(lsn) - carried.since).astype("<u4")
    raw = steps.astype("<u4").tobytes() + ago.tobytes()
    codec, stored = compress(raw, Codec.ZSTD, 3)
    return _HEAD.pack(len(raw), codec) + stored


def decode_carried(commit: Commit) -> Carried:
    """Return what a commit carries; raises `Corrupt` for bytes that say nothing."""
    data = commit.attributes.get(CARRIED)
    if data is None:
        return NOTHING
    try:
        length, codec = _HEAD.unpack_from(data)
        if length % 8 or length > _RAW_BYTES_MAX:
            raise ValueError(f"{length} bytes")
        raw = decompress(codec, memoryview(data)[_HEAD.size :], length)
    except (struct.error, ValueError, PageStoreError) as error:
        raise Corrupt(f"commit {commit.lsn} of log {commit.log}: the list of carried pages: {error}") from error
    columns = np.frombuffer(raw, "<u4").reshape(2, -1)
    pages = columns[0].cumsum(dtype=np.uint64).astype(np.uint32)
    return Carried(pages, np.uint64(commit.lsn) - columns[1].astype(np.uint64))


def frames_here(index: CommitIndex, lsn: int) -> Mapping[FrameKey, list[int]]:
    """Return the frames of a commit's inline segment of which a reader at ``lsn`` has every page, in another place.

    Each with its pages by slot. Nothing if part of the index was not read.
    """
    carried = decode_carried(index.commit)
    here = set(carried.pages[carried.since <= lsn].tolist())
    return {key: pages for key, pages in inline_frames(index).items() if here.issuperset(pages)} if here else {}


def inline_frames(index: CommitIndex) -> Mapping[FrameKey, list[int]]:
    """Return the frames of a commit's inline segment with their pages by slot, from its index.

    Nothing if part of the index was not read, and no frame of which an overwritten page makes the index say less.
    """
    commit = index.commit
    if any(index.lacks(entry.number) for entry in commit.directory):
        return {}
    own = InCommit(commit.log, commit.lsn, commit.inline_offset)
    ordinal = next((number for number, ref in enumerate(commit.segments) if ref.home == own), None)
    pages_of: dict[FrameKey, dict[int, int]] = {}
    for entry in commit.directory:
        placement = index.placement(entry.number)
        for row in np.flatnonzero(placement.frame_segment == ordinal).tolist():
            key = FrameKey(
                commit.segments[placement.frame_segment[row]],
                int(placement.frame_offset[row]),
                int(placement.frame_length[row]),
            )
            mine = placement.page_frame == row
            pages = placement.page_low[mine].astype(np.int64) + (entry.number * CHUNK_PAGES + 1)
            pages_of.setdefault(key, {}).update(zip(placement.page_slot[mine].tolist(), pages.tolist(), strict=True))
    return {
        key: [slots[slot] for slot in sorted(slots)]
        for key, slots in pages_of.items()
        if sorted(slots) == list(range(len(slots)))
    }
