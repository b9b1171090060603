"""Finds the commit with the entry frame inline: the pages that every cold reader needs, after a bulk load (ADR 19).

Consolidation does not move this inline segment, and a warm start begins with it. All later commits of the log repeat
the attribute, until another bulk load replaces it. Readers that do not know the attribute work without it.
"""

from collections.abc import Sequence

from graft.pagemap.frame_table import FrameKey
from metastore.commit import Commit
from metastore.index import CommitIndex
from metastore.lsn import LSN
from metastore.placement import InCommit, SegmentRef

LAID_OUT_AT = "laid-out-at"
"""The attribute with the LSN of the newest commit whose inline segment is the entry frame of a bulk load."""
_DIGITS_MAX = 19


def laid_out_at(commit: Commit) -> LSN | None:
    """Return the LSN in a commit's attribute, None if it is absent or impossible."""
    value = commit.attributes.get(LAID_OUT_AT, b"")
    lsn = int(value) if value.isdigit() and len(value) <= _DIGITS_MAX else 0
    return LSN(lsn) if 0 < lsn <= commit.lsn else None


def entry_frame(chain: Sequence[CommitIndex]) -> FrameKey | None:
    """Return the entry frame of the version that ``chain`` leads to, as far as its indexes were read.

    None if the newest commit names none, or if none of its pages is among the first 4,096 any more.
    """
    lsn = laid_out_at(chain[0].commit) if chain else None
    for source in chain if lsn is not None else ():
        if source.lacks(0):
            return None
        placement = source.placement(0)
        for row, ordinal in enumerate(placement.frame_segment.tolist()):
            ref = source.commit.segments[ordinal]
            if is_inline_in(ref, source.commit, lsn):
                return FrameKey(ref, int(placement.frame_offset[row]), int(placement.frame_length[row]))
    return None


def stored_inline(chain: Sequence[CommitIndex], key: FrameKey) -> memoryview | None:
    """Return the stored bytes of a frame if they were read with the commits of a chain."""
    for index in chain:
        if is_inline_in(key.ref, index.commit, index.commit.lsn):
            data = memoryview(index.inline_start if index.inline is None else index.inline)
            stored = data[key.offset : key.offset + key.length]
            return stored if len(stored) == key.length else None
    return None


def is_inline_in(ref: SegmentRef, commit: Commit, lsn: LSN | None) -> bool:
    """Return whether a segment is inline in the commit ``lsn`` of a commit's log."""
    return isinstance(ref.home, InCommit) and ref.home.log == commit.log and ref.home.lsn == lsn
