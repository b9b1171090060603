"""The attribute ``carried`` of a commit: the pages that its consolidation moved, and when each last changed.

See docs/formats/commit.md. `graft.building.consolidation` decides which pages these are.
"""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from graft.errors import Corrupt
from graft.pagemap.frame_table import FrameKey
from metastore.commit import Commit
from metastore.index import CommitIndex
from metastore.placement import CHUNK_PAGES, InCommit
from pagestore.errors import PageStoreError
from pagestore.segments.codec import Codec, compress, decompress

CARRIED = "carried"

_HEAD = struct.Struct("<IB")
_RAW_BYTES_MAX = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Carried:
    """Pages that a commit carries: ascending, each with the LSN that last changed it."""

    pages: npt.NDArray[np.uint32]
    since: npt.NDArray[np.uint64]

    def without(self, pages: Iterable[int]) -> "Carried":
        """Return the same without some pages."""
        keep = ~np.isin(self.pages, np.fromiter(pages, np.uint32))
        return Carried(self.pages[keep], self.since[keep])


NOTHING = Carried(np.empty(0, np.uint32), np.empty(0, np.uint64))


def encode_carried(carried: Carried, lsn: int) -> bytes:
    """Return the attribute's bytes in the commit ``lsn``."""
    steps = carried.pages.copy()
    steps[1:] -= carried.pages[:-1]
    ago = (np.uint64(lsn) - carried.since).astype("<u4")
    raw = steps.astype("<u4").tobytes() + ago.tobytes()
    codec, stored = compress(raw, Codec.ZSTD, 3)
    return _HEAD.pack(len(raw), codec) + stored


def decode_carried(commit: Commit) -> Carried:
    """Return what a commit carries; raises `Corrupt` if the attribute is damaged."""
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


def frames_held_elsewhere(index: CommitIndex, lsn: int) -> Mapping[FrameKey, list[int]]:
    """Return the frames of a commit's inline segment whose pages a reader at ``lsn`` all has, in other places.

    Each has its pages by slot. Empty if part of the index was not read.
    """
    carried = decode_carried(index.commit)
    here = set(carried.pages[carried.since <= lsn].tolist())
    return {key: pages for key, pages in inline_frames(index).items() if here.issuperset(pages)} if here else {}


def inline_frames(index: CommitIndex) -> Mapping[FrameKey, list[int]]:
    """Return the frames of a commit's inline segment with their pages by slot, from its index.

    Empty if part of the index was not read; without frames that the index lists only in part, since later pushes
    overwrote pages of them.
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
