"""Consolidation: some pushes also carry the pages of small pushes before them, so that readers need few objects.

A small push leaves its pages inline in its commit. After a thousand small pushes, a scan would have to read a thousand
commits. So a push whose LSN is a multiple of 16 carries what the 15 pushes before it hold inline, a multiple of 256
what 255 hold, and so on: the same bodies in a new place, inside the one object that is put anyway. Each page is written
at most once more per level, and the inline pages of *n* pushes lie in about 15 × log₁₆ *n* objects.

A reader that has a page's body from its old place need not fetch it from the new one: the commit says since which LSN
each carried page is unchanged (docs/formats/commit.md, attribute ``carried``).
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from graft.pagemap.locations import FRAME_TAG, frame_of
from graft.pagemap.page_map import PageMap
from graft.remote.carried import NOTHING, Carried
from graft.remote.entry_frame import laid_out_at
from graft.remote.landmarks import restored_at
from metastore.ids import LogId
from metastore.index import CommitIndex
from metastore.lsn import LSN
from metastore.placement import CHUNK_PAGES, InCommit, SegmentRef
from pagestore.distinct import distinct

RADIX = 16


def joined(parts: Sequence[Carried]) -> Carried:
    """Return the union of parts that have no page in common."""
    pages = np.concatenate([NOTHING.pages, *(part.pages for part in parts)])
    since = np.concatenate([NOTHING.since, *(part.since for part in parts)])
    order = np.argsort(pages)
    return Carried(pages[order], since[order])


def spans(lsn: int) -> Iterator[int]:
    """Yield the numbers of LSNs, including its own, that the push of ``lsn`` may consolidate, longest first.

    >>> list(spans(512)), list(spans(7))
    ([256, 16], [])
    """
    span = RADIX
    while lsn % (span * RADIX) == 0:
        span *= RADIX
    while span >= RADIX and lsn % span == 0:
        yield span
        span //= RADIX


def pages_to_consolidate(
    log: LogId, lsn: int, chain: Sequence[CommitIndex], remote_map: PageMap, min_page_count: int, pages_max: int
) -> Carried:
    """Return the pages that the push of ``lsn``, after the commits of ``chain``, should carry; usually none.

    These are the inline pages of the longest span of commits that holds at most ``pages_max`` of them, none above page
    ``min_page_count``. The index chunks that `chunks_to_read` names must have been read.
    """
    laid_out = laid_out_at(chain[0].commit) if chain else None
    restored = restored_at(chain[0].commit) if chain else 0
    for span in spans(lsn):
        after = lsn - span
        pages = distinct(np.concatenate([_EMPTY, *_inline_pages(log, after, laid_out, chain)]))
        found = _as_placed(log, after, laid_out, pages[pages <= min_page_count], remote_map)
        # What a restore placed again has been something else since the LSN of its place.
        found = Carried(found.pages, np.maximum(found.since, np.uint64(restored)))
        if 0 < len(found.pages) <= pages_max:
            return found
    return NOTHING


def chunks_to_read(lsn: int, chain: Sequence[CommitIndex]) -> list[tuple[CommitIndex, int]]:
    """Return the index chunks that `pages_to_consolidate` reads."""
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
    """Return whether a commit after an LSN holds a segment inline; an entry frame stays where it is."""
    return isinstance(ref.home, InCommit) and ref.home.log == log and after < ref.home.lsn != laid_out


def _as_placed(
    log: LogId, after: int, laid_out: LSN | None, pages: npt.NDArray[np.uint32], remote_map: PageMap
) -> Carried:
    """Return the pages whose newest body is in a young commit, with that commit's LSN."""
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
