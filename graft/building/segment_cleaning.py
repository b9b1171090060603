"""Segment cleaning: a push also carries the live pages of frames that are mostly dead.

Consolidation (`graft.building.consolidation`) puts young pages together. The older frames that it leaves behind have
fewer and fewer live pages: a cold scan then fetches sixteen pages for the sake of two, object by object. So a push that
consolidates a long span also carries the live pages of such frames. Like the cleaner of a log-structured file system,
it takes all sparse frames of a segment at once, when they are three quarters dead. Each page that moves has outlived
three others, and a partly cleaned segment would still cost a request.
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
"""In a sparse frame, less than one page in this many is live."""
_LIVE_PART = 4
"""A segment is cleaned if less than one page in this many is live in all its sparse frames together."""
_SPANS_MIN = 2
"""Segments are cleaned at LSNs with at least this many `graft.building.consolidation.spans`: multiples of 256."""

PagesIn = Callable[[int], int]
"""Returns how many pages a frame was written with; 0 if its body is not local."""


def pages_to_clean(
    lsn: int,
    chain: Sequence[CommitIndex],
    remote_map: PageMap,
    carried: Carried,
    min_page_count: int,
    pages_max: int,
    frame_pages: int,
    pages_in: PagesIn,
) -> Carried:
    """Return the pages that the push of ``lsn`` should carry besides the ``carried`` ones; usually none.

    Looks only at the map's chunks in which ``carried`` has pages, since those have been read, and at frames with fewer
    live pages than half of ``frame_pages``. Returns at most ``pages_max`` pages, none above page ``min_page_count``.
    """
    if len(list(spans(lsn))) < _SPANS_MIN or not len(carried.pages) or pages_max <= 0:
        return NOTHING
    pages, frames = _older(remote_map, carried)
    names, which, live = np.unique(frames, return_inverse=True, return_counts=True)
    chosen = _mostly_dead(names.tolist(), live.tolist(), remote_map, frame_pages, pages_in)
    found = pages[np.isin(names, np.array(chosen, np.uint64))[which] & (pages <= min_page_count)][:pages_max]
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
    """Return the sparse frames of the segments to clean."""
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
    """Return, for each page, an LSN since which it is unchanged: that of the newest commit that may list it."""
    since = np.zeros(len(pages), np.uint64)
    numbers = (pages - 1) >> CHUNK_SHIFT
    for number in distinct(numbers).tolist():
        unknown = numbers == number
        for index in chain:
            listed = unknown if index.lacks(number) else unknown & np.isin(pages, _listed(index, number))
            since[listed] = index.commit.lsn
            unknown &= ~listed
    return since


def _listed(index: CommitIndex, number: int) -> npt.NDArray[np.int64]:
    return index.placement(number).page_low.astype(np.int64) + (number * CHUNK_PAGES + 1)
