"""Fragmentation: how many frames and segments hold a version's pages, and how few could.

A cold reader fetches a frame's dead pages together with the live one that it wants, with one request for each frame.
Index chunks that were never read are fetched.
"""

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np

from graft.building.segment_builder import Pages
from graft.pagemap.locations import frames_of, is_in_frame
from graft.reading.snapshot import Snapshot
from metastore.placement import CHUNK_PAGES


@dataclass(frozen=True, slots=True)
class Fragmentation:
    """How the remote pages of a version are spread."""

    frames: int
    """Frames with at least one live page."""
    frames_needed: int
    """Estimated number of frames after a compaction."""
    segments: int
    """Segments that hold these frames."""


def fragmentation(snapshot: Snapshot, frame_bytes: int) -> Fragmentation:
    """Count frames and segments."""
    uses = _uses(snapshot)
    table = snapshot.page_map.table
    segments = {table.key(frame).ref.segment for frame in uses}
    needed = math.ceil(uses.total() / max(1, frame_bytes // snapshot.page_size))
    return Fragmentation(len(uses), needed, len(segments))


def live_pages(snapshot: Snapshot) -> Pages:
    """Return all pages that lie in frames, ascending."""
    return _pages_in(snapshot, None)


def scattered_pages(snapshot: Snapshot, frame_bytes: int) -> Pages:
    """Return the pages, ascending, whose frames have less than half a frame of live pages each.

    None if together they would take half as many frames again, or more.
    """
    per_frame = max(1, frame_bytes // snapshot.page_size)
    uses = _uses(snapshot)
    sparse = {frame for frame, live in uses.items() if 2 * live < per_frame}
    gains = 2 * math.ceil(sum(uses[frame] for frame in sparse) / per_frame) < len(sparse)
    return _pages_in(snapshot, sparse if gains else set())


def _uses(snapshot: Snapshot) -> Counter[int]:
    """Return the number of live pages of each frame."""
    uses: Counter[int] = Counter()
    for chunk in snapshot.page_map.chunks:
        locations = chunk.locations()
        frames, counts = np.unique(frames_of(locations[is_in_frame(locations)]), return_counts=True)
        uses.update(dict(zip(frames.tolist(), counts.tolist(), strict=True)))
    return uses


def _pages_in(snapshot: Snapshot, frames: set[int] | None) -> Pages:
    wanted = None if frames is None else np.fromiter(sorted(frames), np.uint64, len(frames))
    found = [np.empty(0, np.int64)]
    for number, chunk in enumerate(snapshot.page_map.chunks):
        locations = chunk.locations()
        live = is_in_frame(locations)
        if wanted is not None:
            live &= np.isin(frames_of(locations), wanted)
        found.append(np.flatnonzero(live).astype(np.int64) + (number * CHUNK_PAGES + 1))
    return np.concatenate(found)
