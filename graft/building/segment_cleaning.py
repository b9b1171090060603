"""Leftovers: what old frames hold that is still the newest, once they are mostly dead.

Consolidation (`graft.building.consolidation`) keeps young pages together. It leaves older frames behind, of which
ever fewer pages are live:
a cold scan then fetches sixteen pages for the sake of two, object by object. So a push that carries a long span takes
along what such frames have left. Like a log-structured store's cleaner it takes a segment's sparse frames all at once,
as soon as they are three quarters dead: each page that is moved has outlived three, and a segment that was taken in
part would cost as many requests as before.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from graft.building.consolidation import spans
from graft.pagemap.chunks import CHUNK_MASK, CHUNK_SHIFT
from graft.pagemap.locations import frames_of, is_in_frame
from graft.pagemap.page_map import PageMap
from graft.remote.carried import NOTHING, Carried
from metastore.index import CommitIndex
from metastore.placement import CHUNK_PAGES, U64
from pagestore.distinct import distinct

_SPARSE_PART = 2
"""Of a sparse frame less than this part of the pages are live …"""
_LIVE_PART = 4
"""… and of all sparse frames of a segment that is cleaned less than this part."""
_SPANS_MIN = 2
"""Of an LSN at which it is done, as `graft.building.consolidation.spans` has them: 256 divides it."""

PagesIn = Callable[[int], int]
"""Returns how many pages a frame was written with; 0 if its body is not here."""


def leftovers(
    lsn: int,
    chain: Sequence[CommitIndex],
    remote_map: PageMap,
    carried: Carried,
    kept: int,
    pages_max: int,
    frame_pages: int,
    pages_in: PagesIn,
) -> Carried:
    """Return what the push of ``lsn`` should take along besides what it carries: nothing, mostly.

    Only the map's chunks in which ``carried`` has pages are looked at, as they have been read; and only frames of which
    fewer than half of ``frame_pages`` are live. At most ``pages_max`` pages, up to page ``kept``.
    """
    if len(list(spans(lsn))) < _SPANS_MIN or not len(carried.pages) or pages_max <= 0:
        return NOTHING
    pages, frames = _older(remote_map, carried)
    names, which, live = np.unique(frames, return_inverse=True, return_counts=True)
    chosen = _mostly_dead(names.tolist(), live.tolist(), remote_map, frame_pages, pages_in)
    found = pages[np.isin(names, np.array(chosen, np.uint64))[which] & (pages <= kept)][:pages_max]
    return Carried(found.astype(np.uint32), _unchanged_since(found, chain))


def _older(remote_map: PageMap, carried: Carried) -> tuple[npt.NDArray[np.int64], U64]:
    """Return the pages that are not carried, ascending, and the frame of each."""
    pages, frames = [], []
    for number in distinct((carried.pages - 1) >> CHUNK_SHIFT).tolist():
        locations = remote_map.chunks[number].locations()
        live = is_in_frame(locations)
        mine = carried.pages[(carried.pages - 1) >> CHUNK_SHIFT == number]
        live[(mine - 1) & CHUNK_MASK] = False
        low = np.flatnonzero(live)
        pages.append(low.astype(np.int64) + (number * CHUNK_PAGES + 1))
        frames.append(frames_of(locations[low]))
    return np.concatenate(pages), np.concatenate(frames)


def _mostly_dead(
    frames: Sequence[int], live: Sequence[int], remote_map: PageMap, frame_pages: int, pages_in: PagesIn
) -> list[int]:
    """Return the sparse frames of the segments that are to be cleaned."""
    by_segment: dict[bytes, list[tuple[int, int, int]]] = {}
    for frame, count in zip(frames, live, strict=True):
        if _SPARSE_PART * count < frame_pages and _SPARSE_PART * count < (whole := pages_in(frame)):
            segment = remote_map.table.key(frame).ref.segment.raw
            by_segment.setdefault(segment, []).append((frame, count, whole))
    return [
        frame
        for sparse in by_segment.values()
        if _LIVE_PART * sum(count for _, count, _ in sparse) < sum(whole for _, _, whole in sparse)
        for frame, _, _ in sparse
    ]


def _unchanged_since(pages: npt.NDArray[np.int64], chain: Sequence[CommitIndex]) -> U64:
    """Return for each page an LSN since which it has not changed: of the newest commit whose index may list it."""
    since = np.zeros(len(pages), np.uint64)
    numbers = (pages - 1) >> CHUNK_SHIFT
    for number in distinct(numbers).tolist():
        unsettled = numbers == number
        for index in chain:
            listed = unsettled if index.lacks(number) else unsettled & np.isin(pages, _listed(index, number))
            since[listed] = index.commit.lsn
            unsettled &= ~listed
    return since


def _listed(index: CommitIndex, number: int) -> npt.NDArray[np.int64]:
    return index.placement(number).page_low.astype(np.int64) + (number * CHUNK_PAGES + 1)
