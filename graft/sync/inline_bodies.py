"""Puts inline frames of commits that were read into the cache: those of small pushes, and entry frames."""

from collections.abc import Iterable

from graft.errors import remote_errors
from graft.pagemap.frame_table import FrameKey
from graft.reading.page_access import PageAccess
from graft.remote.carried import inline_frames
from metastore.index import CommitIndex
from metastore.placement import InCommit, SegmentRef
from pagestore.segments.reader import read_frame, read_segment


def keep_inline(access: PageAccess, indexes: Iterable[CommitIndex], *, but: SegmentRef | None = None) -> None:
    """Put the inline frames of commits into the cache, deltas too if their bases are here.

    ``but`` names a segment to skip, which the caller takes care of.
    """
    for index in indexes:
        commit = index.commit
        if index.inline is None:
            _keep_inline_start(access, index)
            continue
        home = InCommit(commit.log, commit.lsn, commit.inline_offset)
        ref = next((ref for ref in commit.segments if ref.home == home), None)
        if ref in {None, but}:
            continue  # None: all its pages were overwritten since
        with remote_errors(f"commit {commit.lsn} of log {commit.log}"):
            frames = [
                (FrameKey(ref, extent.offset, extent.length), frame)
                for extent, frame in read_segment(index.inline, ref.segment, access.remote.bases.get)
            ]
        access.bodies.put(frames)


def _keep_inline_start(access: PageAccess, index: CommitIndex) -> None:
    """Cache the frames that lie whole in the first bytes of a long inline segment: pages that the commit changed."""
    data = memoryview(index.inline_start)
    if not data:
        return
    whole = [key for key in inline_frames(index) if key.offset + key.length <= len(data)]
    with remote_errors(f"commit {index.commit.lsn} of log {index.commit.log}"):
        frames = [
            (key, read_frame(stored, key.ref.segment, access.page_size, access.remote.bases.get))
            for key in whole
            for stored in (data[key.offset : key.offset + key.length],)
        ]
    access.bodies.put((key, frame) for key, frame in frames if frame is not None)
