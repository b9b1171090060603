"""Compaction: the same content in new places, laid out for cold reads, as a commit that may lose like any other.

fragmented frames → pages → new segments → read back and compared → commit of kind ``compact`` → as a push goes on

Nothing changes for readers: earlier versions stay where they are, and so does the space that they take. Local commits
made meanwhile follow the compaction.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xxhash

from graft.building.commit_builder import Draft, Onto, committed
from graft.building.fragmentation import Fragmentation, fragmentation, live_pages, scattered_pages
from graft.building.segment_builder import Layout, Pages, write_segments
from graft.errors import BadRequest, Corrupt, Diverged, remote_errors
from graft.failpoints import failpoint
from graft.operations.hydrate import Progress
from graft.pagemap.frame_table import FrameKey
from graft.pagemap.locations import FRAME_TAG, frame_of
from graft.reading.snapshot import Snapshot
from graft.remote.landmarks import COMPACTED_INTO
from graft.replica.replica import Replica
from graft.replica.view import View
from graft.sync.history import require_parent
from graft.sync.push import MESSAGE, land, recover
from metastore.build import Origin
from metastore.commit import CommitKind
from metastore.rollup import NewSegment
from pagestore.ids import SegmentId
from pagestore.segments.fetch import RecentDictionaries
from pagestore.segments.format import DecodedFrame
from pagestore.segments.reader import read_segment

_BATCH_FRAMES = 64


@dataclass(frozen=True, slots=True)
class CompactResult:
    """What a compaction did."""

    before: int
    """The LSN that was compacted."""
    after: int
    """The LSN of the compaction; equal to ``before`` if there was nothing to gain."""
    pages: int
    """Pages that were written again."""
    bytes: int
    """Size of the segments that were written."""
    frames_before: int
    frames_after: int
    segments_before: int
    segments_after: int


def compact(
    replica: Replica,
    *,
    layout: Layout | None = None,
    scattered_only: bool = False,
    message: str | None = None,
    progress: Progress | None = None,
) -> CompactResult:
    """Write the newest version again, laid out by ``layout``, and append it as a commit that changes no content.

    ``scattered_only`` writes only pages whose frames have little else that is live: the cost follows the gain. Progress
    counts pages, once when they are written and once when they are read back.

    Raises `BadRequest` if the replica has local commits or is behind the remote: push or pull first. Raises `Diverged`
    if another replica pushed meanwhile: only the work is lost. Raises the remote's errors, and `Corrupt` if the pages
    read back differ. After `RemoteUnavailable` the outcome is unknown; the next push or compaction settles it.
    """
    with replica.sync_lock.held(replica.settings.lock_timeout_s, replica.runtime):
        recover(replica)
        view = replica.view()
        _check(replica, view)
        snapshot = _remote_snapshot(replica, view)
        before = fragmentation(snapshot, replica.settings.frame_bytes)
        pages = scattered_pages(snapshot, replica.settings.frame_bytes) if scattered_only else live_pages(snapshot)
        if not len(pages) or before.frames <= 1 or (not scattered_only and _is_compact(view)):
            return _unchanged(view, before)
        kept = snapshot if len(pages) * replica.page_size <= replica.settings.cache_bytes_max // 2 else None
        if kept is not None:
            snapshot.prefetch(pages.tolist())  # in the order of their places, which takes the fewest requests
        watched = _Watched(replica, snapshot, pages, progress)
        order = layout(snapshot) if layout and not scattered_only else None
        begun_s = replica.runtime.monotonic_s()
        written = write_segments(replica.remote, replica.settings, snapshot, pages, order, watcher=watched)
        failpoint("compact: after segment")
        watched.check(written)
        failpoint("compact: after check")
        draft = Draft(written, snapshot, snapshot.page_count, len(pages))
        attributes = {COMPACTED_INTO: str(written[-1].segment).encode()}
        if message:
            attributes[MESSAGE] = message.encode()
        outgoing = committed(
            replica,
            Onto(view.state.identity.log, view.state.chain, view.remote_map),
            draft,
            Origin(CommitKind.COMPACT, attributes),
        )
        if outgoing.remote_map.live_pages != view.remote_map.live_pages:
            raise Corrupt(f"{snapshot.describe()}: a compaction would change which pages there are; it was given up")
        try:
            land(replica, outgoing, kept, view.state.local_lsn, begun_s)
        except Diverged:
            raise Diverged(
                f"volume {replica.name}: somebody else pushed LSN {outgoing.commit.lsn} during the compaction, which "
                "is given up; pull, and compact again"
            ) from None
        after = fragmentation(_remote_snapshot(replica, replica.view()), replica.settings.frame_bytes)
        return CompactResult(
            view.state.lsn, outgoing.commit.lsn, len(pages), outgoing.segment_bytes,
            before.frames, after.frames, before.segments, after.segments,
        )  # fmt: skip


def _check(replica: Replica, view: View) -> None:
    if view.pending:
        raise BadRequest(
            f"volume {replica.name}: there are local commits ({len(view.pending)}) that the remote lacks, and a "
            "compaction would not take them in: push them first"
        )
    require_parent(replica, view.state)
    head = replica.remote.head(replica.lineage)
    replica.state.saw_head(max(head, view.state.head))
    if head != view.state.lsn:
        raise BadRequest(
            f"volume {replica.name}: the remote is at LSN {head}, this replica at {view.state.lsn}: pull first"
        )


def _is_compact(view: View) -> bool:
    """Return whether the newest commit is a compaction of all pages."""
    newest = view.state.chain[0].commit
    return newest.kind is CommitKind.COMPACT and newest.changed_pages == newest.live_pages


def _unchanged(view: View, found: Fragmentation) -> CompactResult:
    lsn = view.state.lsn
    return CompactResult(lsn, lsn, 0, 0, found.frames, found.frames, found.segments, found.segments)


def _remote_snapshot(replica: Replica, view: View) -> Snapshot:
    byte_size = view.state.chain[0].commit.byte_size if view.state.chain else 0
    return replica.snapshot_of(view.remote_map, byte_size=byte_size, lsn=view.state.lsn)


class _Watched:
    """Fetches pages before they are written, records their digests, and compares them with what is read back.

    Takes eight bytes of memory for each page.
    """

    def __init__(self, replica: Replica, snapshot: Snapshot, pages: Pages, progress: Progress | None) -> None:
        self._replica = replica
        self._snapshot = snapshot
        self._pages = pages
        self._digests: npt.NDArray[np.uint64] = np.zeros(len(pages), np.uint64)
        self._progress = progress
        self._done = 0
        self._lock = threading.Lock()  # guards _done and its reports

    def prefetch(self, pages: Sequence[int]) -> None:
        page_map = self._snapshot.page_map
        locations = [page_map.location(page) for page in pages]
        self._replica.bodies.recheck({frame_of(location) for location in locations if location & FRAME_TAG})
        self._snapshot.prefetch(pages)

    def wrote(self, pages: Sequence[int], bodies: Sequence[bytes | memoryview]) -> None:
        places = np.searchsorted(self._pages, np.asarray(pages, np.int64))
        self._digests[places] = [xxhash.xxh3_64_intdigest(body) for body in bodies]
        self._report(len(pages))

    def check(self, written: Sequence[NewSegment]) -> None:
        """Read the written segments back and compare them page by page; an inline one is still in memory."""
        for new in written:
            found = sum(self._compared(frame, new.segment) for frame in self._read_back(new))
            if found != new.pages:
                raise Corrupt(f"segment {new.segment} holds {found} pages where {new.pages} were written")

    def _read_back(self, new: NewSegment) -> Iterator[DecodedFrame]:
        if new.inline:
            with remote_errors("reading what is to go inline"):
                yield from (frame for _, frame in read_segment(new.inline, new.segment))
            return
        for keys in _batches([FrameKey(new.provisional, frame.offset, frame.length) for frame in new.frames]):
            for _, frame in self._replica.remote.frames(keys, self._replica.page_size, RecentDictionaries()):
                yield frame

    def _compared(self, frame: DecodedFrame, segment: SegmentId) -> int:
        """Compare a frame's pages with their digests; return how many pages it has."""
        size, pages, body = self._replica.page_size, frame.pages.tolist(), frame.body
        places = np.searchsorted(self._pages, np.asarray(pages, np.int64)).tolist()
        for slot, (page, place) in enumerate(zip(pages, places, strict=True)):
            if int(self._digests[place]) != xxhash.xxh3_64_intdigest(body[slot * size : (slot + 1) * size]):
                raise Corrupt(f"page {page} came back from segment {segment} as something else")
        self._report(len(pages))
        return len(pages)

    def _report(self, pages: int) -> None:
        with self._lock:
            self._done = min(self._done + pages, 2 * len(self._pages))
            if self._progress:
                self._progress(self._done, 2 * len(self._pages))


def _batches(keys: Sequence[FrameKey]) -> Iterator[Sequence[FrameKey]]:
    for start in range(0, len(keys), _BATCH_FRAMES):
        yield keys[start : start + _BATCH_FRAMES]
