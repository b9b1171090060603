"""Re-keying: when a reader pulls a compaction, frames of the compaction are made out of cached frames.

A compaction changes places, not contents: each of its pages has the same bytes as in the commit before it. If the
reader's map and the map of that commit agree on a page, the cached page is also the one in the new place. A new frame
is made only if all its pages are here, and cached as if it had been fetched; the others are fetched when they are read.
This costs the pull one more round trip at most, and none if the cache is empty.
"""

import contextlib
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from graft.errors import GraftError
from graft.pagemap.frame_table import FrameKey
from graft.pagemap.locations import SLOT_MASK, frame_of, is_in_frame
from graft.pagemap.page_map import PageMap, compose
from graft.reading.page_access import PageAccess
from graft.remote.landmarks import COMPACTED_AT, COMPACTED_INTO
from graft.sync.inline_bodies import keep_inline
from metastore.index import CommitIndex
from metastore.lsn import LSN
from metastore.placement import CHUNK_PAGES
from pagestore.segments.format import DecodedFrame

_BATCH_FRAMES = 64


def rekey_cached_frames(access: PageAccess, mine: PageMap, my_lsn: int, chain: Sequence[CommitIndex]) -> int:
    """Make frames of the newest compaction in ``chain`` that ``mine`` lacks out of cached frames; return how many.

    Nothing depends on this: after an error, frames are fetched as usual.
    """
    with contextlib.suppress(GraftError, ValueError):
        lsn = int(chain[0].commit.attributes.get(COMPACTED_AT, b"0")) if chain else 0
        if lsn <= my_lsn:
            return 0
        access.bodies.flush()
        if not access.cache.use().frames:
            return 0
        newest = access.remote.chain(chain[0].commit.log, LSN(lsn), chain)[0]
        if not any(newest is index for index in chain):
            keep_inline(access, [newest])
        return _rekeyed(access, mine, _map_before(access, mine, my_lsn, newest), newest)
    return 0


def _map_before(access: PageAccess, mine: PageMap, my_lsn: int, compaction: CommitIndex) -> PageMap:
    lsn = LSN(compaction.commit.lsn - 1)
    if lsn == my_lsn:
        return mine
    return compose(access.table, access.remote.chain(compaction.commit.log, lsn), access.load_chunks, mine)


def _rekeyed(access: PageAccess, mine: PageMap, before: PageMap, compaction: CommitIndex) -> int:
    access.load_chunks((compaction, entry.number) for entry in compaction.commit.directory)
    made = 0
    batch: list[tuple[FrameKey, DecodedFrame]] = []
    for key, pages in _new_frames(compaction).items():
        body = _body(access, [_same(mine, before, page) for page in pages])
        if body is not None:
            batch.append((key, DecodedFrame(np.array(pages, np.uint32), body)))
            made += 1
        if len(batch) == _BATCH_FRAMES:
            access.bodies.put(batch)
            batch = []
    if batch:
        access.bodies.put(batch)
    return made


def _new_frames(compaction: CommitIndex) -> dict[FrameKey, list[int]]:
    """Return the frames that the compaction wrote, each with its pages, ascending."""
    written = compaction.commit.attributes.get(COMPACTED_INTO, b"").decode(errors="replace")
    found: dict[FrameKey, list[int]] = defaultdict(list)
    for entry in compaction.commit.directory:
        placement = compaction.placement(entry.number)
        keys = [
            FrameKey(compaction.commit.segments[ordinal], offset, length)
            for ordinal, offset, length in zip(
                placement.frame_segment.tolist(),
                placement.frame_offset.tolist(),
                placement.frame_length.tolist(),
                strict=True,
            )
        ]
        for low, row in zip(placement.page_low.tolist(), placement.page_frame.tolist(), strict=True):
            if str(keys[row].ref.segment) == written:
                found[keys[row]].append(entry.number * CHUNK_PAGES + low + 1)
    return found


def _same(mine: PageMap, before: PageMap, page: int) -> int:
    """Return the place of a page if both maps agree on it, else 0."""
    location = mine.location(page)
    return location if location == before.location(page) else 0


def _body(access: PageAccess, locations: Sequence[int]) -> bytes | None:
    """Return the pages at these places, joined; None unless all are here."""
    if not all(locations) or not is_in_frame(np.array(locations, np.uint64)).all():
        return None
    frames = {frame_of(location) for location in locations}
    access.bodies.recheck(frames)
    absent = {access.table.key(frame) for frame in frames if access.table.bodies[frame] is None}
    if absent and access.cache.has(absent) != absent:
        return None
    access.bodies.attach(frames)
    size, parts = access.page_size, []
    for location in locations:
        body = access.table.bodies[frame_of(location)]
        slot = location & SLOT_MASK
        if body is None or body.lacks(slot):
            return None
        parts.append(body.data[slot * size : (slot + 1) * size])
    return b"".join(parts)
