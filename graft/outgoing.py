"""The way out: local commits become one segment and one commit, in memory bounded by a few frames."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from graft.carry import CARRIED, NOTHING, Carried, chunks_to_read, encode_carried, to_carry
from graft.errors import remote_errors
from graft.failpoints import failpoint
from graft.frametable import FrameKey
from graft.journal import LocalCommit
from graft.locations import JOURNAL_TAG, frame_of
from graft.pagemap import PageMap
from graft.replica import Replica
from graft.segment_out import Layout, write_segment
from graft.snapshot import Snapshot
from metastore.build import NewCommit, Origin, build_commit
from metastore.ids import LogId
from metastore.index import CommitIndex
from metastore.placement import OwnObject, SegmentRef
from metastore.rollup import Changes
from pagestore.segment import DecodedFrame, FrameExtent

_LAYOUT_PAGES_MIN = 256
_CARRY_WITH_INLINES = 4
"""A push of more uncompressed bytes than so many inline segments may have is none that could be inline."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A commit that is ready to be appended, with what is known of it already."""

    commit: NewCommit
    index: CommitIndex
    remote_map: PageMap
    """The remote map as it will be once the commit has landed."""
    ref: SegmentRef
    frames: Sequence[FrameExtent]
    pages: int
    segment_bytes: int
    inline: bool


def prepare(
    replica: Replica,
    commits: Sequence[LocalCommit],
    snapshot: Snapshot,
    *,
    log: LogId,
    chain: Sequence[CommitIndex],
    remote_map: PageMap,
    attributes: Mapping[str, bytes],
    layout: Layout | None = None,
) -> Outgoing:
    """Write the segment of these local commits, as ``snapshot`` sees them, and make their commit on top of ``chain``.

    A segment that is small enough goes inline; a larger one is uploaded before this returns. A bulk load, which is most
    of the volume, is laid out for cold reads if ``layout`` knows how.
    """
    pages = _changed_pages(commits, snapshot)
    kept = min([snapshot.page_count, *(commit.min_page_count for commit in commits)])
    carried = _carried(replica, log, chain, remote_map, snapshot, pages, kept)
    laid_out = layout is not None and len(pages) >= max(_LAYOUT_PAGES_MIN, snapshot.page_count // 2)
    failpoint("push: before segment")
    order = layout(snapshot) if layout and laid_out else None
    written = write_segment(
        replica.remote, replica.settings, snapshot, pages, order, carried=carried.pages.astype(np.int64)
    )
    failpoint("push: after segment")
    changes = Changes(
        segment=written.segment,
        frames=written.frames,
        inline=written.inline,
        dictionary_bytes=written.dictionary_bytes,
        byte_size=snapshot.byte_size,
        page_count=snapshot.page_count,
        min_page_count=kept,
        carried_pages=len(carried.pages),
    )
    if changes.carried_pages:
        attributes = {**attributes, CARRIED: encode_carried(carried, _next_lsn(chain))}
    provisional = SegmentRef(written.segment, OwnObject(written.dictionary_bytes))
    new_map = remote_map.with_placements(
        changes.placements(), [provisional], snapshot.page_count, changes.min_page_count
    )
    with remote_errors("building the commit"):
        commit = build_commit(
            log,
            replica.page_size,
            changes,
            sources=chain,
            summary=new_map,
            commits=replica.remote.commits,
            parallel=replica.remote.parallel,
            origin=Origin(attributes=attributes),
            runtime=replica.runtime,
        )
        index = CommitIndex.decode(commit.data, log, commit.lsn)
    ref = next((ref for ref in index.commit.segments if ref.segment == written.segment), provisional)
    replica.table.rehome(ref, [frame.offset for frame in written.frames])
    return Outgoing(commit, index, new_map, ref, written.frames, len(pages), written.size, bool(written.inline))


def keep_in_cache(replica: Replica, outgoing: Outgoing, snapshot: Snapshot) -> None:
    """Put what was pushed into the cache, so that the journal may be deleted without a page to fetch again."""
    replica.bodies.keep(
        (FrameKey(outgoing.ref, frame.offset, frame.length), _decoded(frame, snapshot)) for frame in outgoing.frames
    )


def _carried(
    replica: Replica,
    log: LogId,
    chain: Sequence[CommitIndex],
    remote_map: PageMap,
    snapshot: Snapshot,
    changed: npt.NDArray[np.int64],
    kept: int,
) -> Carried:
    """Return the pages of earlier pushes that go along: only with a small push, and if their bodies are here."""
    settings, lsn = replica.settings, _next_lsn(chain)
    if len(changed) * replica.page_size > _CARRY_WITH_INLINES * settings.inline_bytes_max:
        return NOTHING
    replica.load_chunks(chunks_to_read(lsn, chain))
    pages_max = settings.carry_bytes_max // replica.page_size
    found = to_carry(log, lsn, chain, remote_map, kept, pages_max).without(changed)
    replica.bodies.attach_cached({frame_of(remote_map.location(page)) for page in found.pages.tolist()})
    return found.without(page for page in found.pages.tolist() if snapshot.peek(page) is None)


def _next_lsn(chain: Sequence[CommitIndex]) -> int:
    return chain[0].commit.lsn + 1 if chain else 1


def _changed_pages(commits: Sequence[LocalCommit], snapshot: Snapshot) -> npt.NDArray[np.int64]:
    """Return the pages whose newest body is in the journal, ascending, each once."""
    if not commits:
        return np.empty(0, np.int64)
    changed = np.unique(np.concatenate([commit.pages for commit in commits]))
    changed = changed[changed <= snapshot.page_count]
    in_journal = [bool(snapshot.page_map.location(page) & JOURNAL_TAG) for page in changed.tolist()]
    return changed[np.array(in_journal, np.bool_)] if len(changed) else changed


def _decoded(frame: FrameExtent, snapshot: Snapshot) -> DecodedFrame:
    return DecodedFrame(np.array(frame.pages, np.uint32), b"".join(bytes(snapshot.read(page)) for page in frame.pages))
