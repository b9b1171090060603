"""Builds a remote commit and its segments from local commits; memory is bounded by a few frames."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from graft.author import author_of
from graft.building.consolidation import chunks_to_read, joined, pages_to_consolidate, spans
from graft.building.progress import Progress, WrittenBytes
from graft.building.segment_builder import Layout, write_segments
from graft.building.segment_cleaning import pages_to_clean
from graft.errors import remote_errors
from graft.failpoints import failpoint
from graft.journal.local_commit import LocalCommit
from graft.pagemap.frame_table import FrameKey
from graft.pagemap.locations import JOURNAL_TAG, frame_of
from graft.pagemap.page_map import PageMap
from graft.reading.page_access import PageAccess
from graft.reading.snapshot import Snapshot
from graft.remote.carried import CARRIED, Carried, encode_carried
from graft.remote.entry_frame import LAID_OUT_AT
from graft.remote.landmarks import AUTHOR, COMPACTED_AT, MERGED_UP_TO, PARENT, RESTORED_AT, SEGMENT_BYTES
from graft.settings import Settings
from metastore.build import NewCommit, Origin, build_commit
from metastore.commit import CommitKind
from metastore.ids import LogId
from metastore.index import CommitIndex
from metastore.rollup import Changes, NewSegment
from pagestore.distinct import distinct
from pagestore.segments.format import DecodedFrame, FrameExtent

_LAYOUT_PAGES_MIN = 256
_CONSOLIDATE_INLINES_MAX = 4
"""A push of more uncompressed bytes than this many inline limits cannot go inline, and consolidates nothing."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A commit that is ready to be appended."""

    commit: NewCommit
    index: CommitIndex
    remote_map: PageMap
    """The remote map after the commit has landed."""
    written: Sequence[NewSegment]
    pages: int

    @property
    def segment_bytes(self) -> int:
        """Size of all segments."""
        return sum(segment.size for segment in self.written)

    @property
    def inline(self) -> bool:
        """Whether all pages are inside the commit."""
        return bool(self.written) and all(segment.inline for segment in self.written)


@dataclass(frozen=True, slots=True)
class Onto:
    """The remote version that a commit follows."""

    log: LogId
    chain: Sequence[CommitIndex]
    """Its indexes, from the newest commit down to the base."""
    remote_map: PageMap

    @property
    def begins_branch(self) -> bool:
        """Whether the version is of another log, from which this one goes on."""
        return bool(self.chain) and self.chain[0].commit.log != self.log


@dataclass(frozen=True, slots=True)
class Draft:
    """The content of a commit whose segments are written."""

    written: Sequence[NewSegment]
    snapshot: Snapshot
    """The volume after the commit."""
    min_page_count: int
    """Smallest page count of the volume since the commit before."""
    pages: int
    carried_pages: int = 0
    """Pages in the segments that only move to a new place."""


def prepare(
    access: PageAccess,
    commits: Sequence[LocalCommit],
    snapshot: Snapshot,
    onto: Onto,
    *,
    attributes: Mapping[str, bytes],
    layout: Layout | None = None,
    progress: Progress | None = None,
) -> Outgoing:
    """Write the segments of these local commits, with the pages of ``snapshot``, and build the commit that follows.

    A small segment goes inline, as deltas to the remote's pages if necessary; a larger one is uploaded before this
    returns. A bulk load, which changes most of the volume, is laid out for cold reads by ``layout``, if given.
    ``progress`` counts the bytes of the changed pages. Raises `Corrupt` if the journal was damaged since the commits
    were made.
    """
    access.require_whole(commits)  # the bodies get new checksums from here on
    pages = _changed_pages(commits, snapshot)
    min_page_count = min([snapshot.page_count, *(commit.min_page_count for commit in commits)])
    carried_parts = _carried_parts(access, onto, snapshot, pages, min_page_count)
    laid_out = layout is not None and len(pages) >= max(_LAYOUT_PAGES_MIN, snapshot.page_count // 2)
    failpoint("push: before segment")
    order = layout(snapshot) if layout and laid_out else None
    written = write_segments(
        access.remote, access.settings, snapshot, pages, order,
        carried=[part.pages.astype(np.int64) for part in carried_parts], remote_map=onto.remote_map,
        watcher=WrittenBytes(progress, len(pages), access.page_size) if progress else None,
    )  # fmt: skip
    failpoint("push: after segment")
    carried = joined(carried_parts)
    if len(carried.pages):
        attributes = {**attributes, CARRIED: encode_carried(carried, _next_lsn(onto.chain))}
    draft = Draft(written, snapshot, min_page_count, len(pages), len(carried.pages))
    return committed(access, onto, draft, Origin(attributes=attributes))


def committed(access: PageAccess, onto: Onto, draft: Draft, origin: Origin) -> Outgoing:
    """Build the commit of a draft."""
    written, snapshot = draft.written, draft.snapshot
    changes = Changes(
        segments=written,
        byte_size=snapshot.byte_size,
        page_count=snapshot.page_count,
        min_page_count=draft.min_page_count,
        carried_pages=draft.carried_pages,
    )
    new_map = onto.remote_map.with_placements(
        changes.placements,
        [segment.provisional for segment in written],
        snapshot.page_count,
        changes.min_page_count,
    )
    with remote_errors("building the commit"):
        commit = build_commit(
            onto.log,
            access.page_size,
            changes,
            sources=onto.chain,
            summary=new_map,
            commits=access.remote.commits,
            parallel=access.remote.parallel,
            origin=with_landmarks(access.settings, onto, written, origin),
            runtime=access.runtime,
        )
        index = CommitIndex.decode(commit.data, onto.log, commit.lsn)
    for segment in written:
        access.table.rehome(segment.ref_in(index.commit), [frame.offset for frame in segment.frames])
    return Outgoing(commit, index, new_map, written, draft.pages)


def with_landmarks(settings: Settings, onto: Onto, written: Sequence[NewSegment], origin: Origin) -> Origin:
    """Return the origin with who made the commit, what later ones repeat, and what the first one of a branch says."""
    here = str(_next_lsn(onto.chain)).encode()
    parent = onto.chain[0].commit if onto.chain else None
    known = parent.attributes if parent and parent.log == onto.log else {}
    landmarks = {name: known[name] for name in (COMPACTED_AT, LAID_OUT_AT, RESTORED_AT) if name in known}
    if parent and MERGED_UP_TO in parent.attributes and MERGED_UP_TO not in origin.attributes:
        landmarks[MERGED_UP_TO] = parent.attributes[MERGED_UP_TO]
    landmarks[AUTHOR] = author_of(settings).encode()
    if size := sum(segment.size for segment in written if not segment.inline):
        landmarks[SEGMENT_BYTES] = str(size).encode()
    if origin.kind is CommitKind.COMPACT:
        landmarks[COMPACTED_AT] = here
    if parent and onto.begins_branch:
        landmarks[PARENT] = str(parent.log).encode()
    if len({bool(segment.inline) for segment in written}) > 1:  # its top inline, the rest as an object
        landmarks[LAID_OUT_AT] = here
    return Origin(origin.kind, {**origin.attributes, **landmarks})


def put_into_cache(access: PageAccess, outgoing: Outgoing, snapshot: Snapshot) -> None:
    """Put pushed pages into the cache, so that none is fetched again after its journal file was deleted."""
    access.bodies.put(
        (FrameKey(segment.ref_in(outgoing.index.commit), frame.offset, frame.length), _decoded(frame, snapshot))
        for segment in outgoing.written
        for frame in segment.frames
    )


def _carried_parts(
    access: PageAccess, onto: Onto, snapshot: Snapshot, changed: npt.NDArray[np.int64], min_page_count: int
) -> list[Carried]:
    """Return the pages that a small push carries, of those whose bodies are local: consolidated and cleaned ones."""
    settings, lsn, remote_map = access.settings, _next_lsn(onto.chain), onto.remote_map
    large = len(changed) * access.page_size > _CONSOLIDATE_INLINES_MAX * settings.inline_bytes_max
    if large or not any(spans(lsn)) or onto.begins_branch:
        return []
    access.load_chunks(chunks_to_read(lsn, onto.chain))
    pages_max = settings.consolidation_bytes_max // access.page_size
    frame_pages = settings.frame_bytes // access.page_size
    consolidated = pages_to_consolidate(onto.log, lsn, onto.chain, remote_map, min_page_count, pages_max)
    cleaned = pages_to_clean(
        lsn,
        onto.chain,
        remote_map,
        consolidated,
        min_page_count,
        pages_max - len(consolidated.pages),
        frame_pages,
        _pages_in(access, frame_pages),
    )
    return [_cached_part(access, remote_map, snapshot, part.without(changed)) for part in (consolidated, cleaned)]


def _cached_part(access: PageAccess, remote_map: PageMap, snapshot: Snapshot, found: Carried) -> Carried:
    frames = {frame_of(remote_map.location(page)) for page in found.pages.tolist()}
    access.bodies.recheck(frames)
    access.bodies.attach_cached(frames)
    return found.without(page for page in found.pages.tolist() if snapshot.peek(page) is None)


def _pages_in(access: PageAccess, frame_pages: int) -> Callable[[int], int]:
    def pages_in(frame: int) -> int:
        access.bodies.attach_cached([frame])
        body = access.table.bodies[frame]
        if body is None:
            return 0
        return len(body.pages) if body.whole else max(len(body.pages), frame_pages)

    return pages_in


def _next_lsn(chain: Sequence[CommitIndex]) -> int:
    return chain[0].commit.lsn + 1 if chain else 1


def _changed_pages(commits: Sequence[LocalCommit], snapshot: Snapshot) -> npt.NDArray[np.int64]:
    """Return the pages whose newest body is in the journal, ascending, without duplicates."""
    if not commits:
        return np.empty(0, np.int64)
    changed = distinct(np.concatenate([commit.pages for commit in commits]))
    return changed[np.array([_is_in_journal(snapshot, page) for page in changed.tolist()], np.bool_)]


def _is_in_journal(snapshot: Snapshot, page: int) -> bool:
    return bool(snapshot.page_map.location(page) & JOURNAL_TAG)


def _decoded(frame: FrameExtent, snapshot: Snapshot) -> DecodedFrame:
    return DecodedFrame(np.array(frame.pages, np.uint32), b"".join(snapshot.read_all(frame.pages)))
