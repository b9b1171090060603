"""A head start: what whoever opens a new replica reads first is fetched while the replica is still being made.

Where it came along with the commits, it is decoded meanwhile.
"""

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from graft.errors import GraftError
from graft.pagemap.frame_table import FrameKey
from graft.remote.entry_frame import came_along, way_down_frame
from metastore.index import CommitIndex
from metastore.placement import OwnObject
from pagestore.segments.fetch_plan import RangeRead
from pagestore.segments.format import DecodedFrame


@dataclass(frozen=True, slots=True)
class FirstFrame:
    """The frame that every reader of a version begins with."""

    key: FrameKey
    stored: memoryview | None
    """Its stored bytes, if they came along with the commits."""


class HeadStart:
    """A frame whose fetch was begun, for the first who asks for it; safe for threads."""

    def __init__(self, key: FrameKey, fetched: Callable[[], tuple[DecodedFrame, Sequence[RangeRead]]]) -> None:
        """Hand out ``key``; ``fetched`` waits for it, and for the reads that brought it."""
        self._key = key
        self._lock = threading.Lock()  # guards _fetched
        self._fetched: Callable[[], tuple[DecodedFrame, Sequence[RangeRead]]] | None = fetched

    def take(
        self, keys: Collection[FrameKey], told: Callable[[RangeRead], None] | None
    ) -> list[tuple[FrameKey, DecodedFrame]]:
        """Wait for the frame if it is among ``keys``, and call ``told`` with the reads that brought it.

        Nothing is returned where it could not be had: who fetches it then finds out why.
        """
        if self._key not in keys:
            return []
        with self._lock:
            fetched = self._fetched
            self._fetched = None  # what it holds is not kept alive
        if fetched is None:
            return []
        try:
            frame, reads = fetched()
        except GraftError:
            return []
        if told is not None:
            for read in reads:
                told(read)
        return [(self._key, frame)]


def first_frame(chain: Sequence[CommitIndex]) -> FirstFrame | None:
    """Return the frame that every reader of a version begins with, if it is known.

    That is the way down, where a commit holds it. Else it is the frame of page 1, if that is in a segment object: in
    a volume that was laid out for cold readers it has all that leads down to the leaves.
    """
    key = way_down_frame(chain) or _frame_of_page_1(chain)
    return None if key is None else FirstFrame(key, came_along(chain, key))


def _frame_of_page_1(chain: Sequence[CommitIndex]) -> FrameKey | None:
    """Return it as of the newest commit that has it in a segment object: a page 1 inside a commit came with that."""
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
