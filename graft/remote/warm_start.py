"""Warm start: the frame that a new replica's first reader needs is fetched while the replica is being made.

If the frame came inline with the commits, it is decoded meanwhile.
"""

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from graft.errors import GraftError
from graft.pagemap.frame_table import FrameKey
from graft.remote.entry_frame import entry_frame, stored_inline
from metastore.index import CommitIndex
from metastore.placement import OwnObject
from pagestore.segments.fetch_plan import RangeRead
from pagestore.segments.format import DecodedFrame


@dataclass(frozen=True, slots=True)
class FirstFrame:
    """The frame that every reader of a version needs first."""

    key: FrameKey
    stored: memoryview | None
    """Its stored bytes, if they came inline with the commits."""


class WarmStart:
    """A frame that is being fetched, for the first reader that asks for it; safe for threads."""

    def __init__(self, key: FrameKey, fetched: Callable[[], tuple[DecodedFrame, Sequence[RangeRead]]]) -> None:
        """Hand out ``key``; ``fetched`` waits for it, and for the reads that brought it."""
        self._key = key
        self._lock = threading.Lock()  # guards _fetched
        self._fetched: Callable[[], tuple[DecodedFrame, Sequence[RangeRead]]] | None = fetched

    def take(
        self, keys: Collection[FrameKey], on_read: Callable[[RangeRead], None] | None
    ) -> list[tuple[FrameKey, DecodedFrame]]:
        """Wait for the frame if it is among ``keys``, and call ``on_read`` with the reads that fetched it.

        Returns nothing if the fetch failed: the caller fetches the frame itself and learns why.
        """
        if self._key not in keys:
            return []
        with self._lock:
            fetched = self._fetched
            self._fetched = None  # frees the frame
        if fetched is None:
            return []
        try:
            frame, reads = fetched()
        except GraftError:
            return []
        if on_read is not None:
            for read in reads:
                on_read(read)
        return [(self._key, frame)]


def first_frame(chain: Sequence[CommitIndex]) -> FirstFrame | None:
    """Return the frame that every reader of a version begins with, if it is known.

    That is the entry frame, if a commit has it. Otherwise it is the frame of page 1, if that is in a segment object: in
    a volume that was laid out for cold readers, that frame has all interior pages of the B-trees.
    """
    key = entry_frame(chain) or _frame_of_page_1(chain)
    return None if key is None else FirstFrame(key, stored_inline(chain, key))


def _frame_of_page_1(chain: Sequence[CommitIndex]) -> FrameKey | None:
    """Return the frame of page 1 if it is in a segment object; an inline page 1 was read with its commit."""
    for source in chain:
        if source.lacks(0):
            return None
        placement = source.placement(0)
        if placement.page_low.size and not placement.page_low[0]:
            frame = int(placement.page_frame[0])
            ref = source.commit.segments[int(placement.frame_segment[frame])]
            if isinstance(ref.home, OwnObject):
                return FrameKey(ref, int(placement.frame_offset[frame]), int(placement.frame_length[frame]))
        if not source.commit.min_page_count:
            return None
    return None
