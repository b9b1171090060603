"""Which pages of cached frames are still live: the newest version has them at that place."""

from collections.abc import Sequence

import numpy as np

from graft.cache.cleaning_plan import CachedFrame, Mask
from graft.pagemap.chunks import CHUNK_MASK, CHUNK_SHIFT
from graft.pagemap.frame_table import FrameTable
from graft.pagemap.locations import in_frames
from graft.replica.view import View
from metastore.placement import U64


def live_in(table: FrameTable, view: View, frames: Sequence[CachedFrame]) -> list[Mask]:
    """Return, for each slot of each frame, whether the remote's newest version has its page there, or may have.

    The caller holds the sync lock, so that nothing is pushed or pulled and no frame is newer than ``view``.
    """
    if not frames:
        return []
    counts = np.array([len(frame.pages) // 4 for frame in frames], np.int64)
    ends = np.cumsum(counts)
    pages = np.frombuffer(b"".join(frame.pages for frame in frames), "<u4").astype(np.int64)
    chunks = (pages - 1) >> CHUNK_SHIFT
    order = np.argsort(chunks, kind="stable")
    order = order[np.searchsorted(chunks[order], 0) :]  # freed slots are in no chunk
    groups = np.split(order, np.flatnonzero(np.diff(chunks[order])) + 1) if len(order) else []
    # Building a chunk adds its frames to the table, so their numbers are looked up afterwards.
    maps = [_locations(view, int(chunks[mine[0]])) for mine in groups]
    numbers = table.numbers_of((frame.segment, frame.offset) for frame in frames)
    slots = np.arange(len(pages)) - np.repeat(ends - counts, counts)
    expected = in_frames(np.repeat(numbers, counts), slots.astype(np.uint64))
    live = np.zeros(len(pages), np.bool_)
    for mine, locations in zip(groups, maps, strict=True):
        live[mine] = True if locations is None else locations[(pages[mine] - 1) & CHUNK_MASK] == expected[mine]
    return np.split(live, ends[:-1])


def _locations(view: View, number: int) -> U64 | None:
    """Return a chunk of the remote's map; None if it would take a request."""
    chunks = view.remote_map.chunks
    if number >= len(chunks):
        return np.zeros(1 << CHUNK_SHIFT, np.uint64)
    if not chunks[number].built and any(index.lacks(number) for index in view.state.chain):
        return None
    return chunks[number].locations()
