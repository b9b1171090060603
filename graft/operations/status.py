"""The status of a replica, and where its pages are; no requests."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from graft.building.fragmentation import fragmentation
from graft.operations.hydrate import frames_by_chunk
from graft.pagemap.locations import JOURNAL_TAG, frames_of, is_in_frame
from graft.reading.snapshot import Snapshot
from graft.replica.freshness import freshness
from graft.replica.replica import Replica
from metastore.ids import LogId, VolumeId
from metastore.placement import U64
from pagestore.distinct import distinct

Standing = Literal["up to date", "ahead", "behind", "diverged"]


@dataclass(frozen=True, slots=True)
class Status:
    """A replica compared with its remote, as the remote was last seen."""

    name: str
    remote: str
    volume: VolumeId
    log: LogId
    page_size: int
    page_count: int
    byte_size: int
    lsn: int
    """The remote commit that the replica builds on."""
    segments: int
    """Segments that the indexes of its chain name: 1 after a compaction."""
    local_commits: int
    """Commits that the remote lacks."""
    local_pages: int
    """Pages that the local commits changed."""
    remote_head: int
    lsns_behind: int
    """Remote commits that are known and not here."""
    staleness_s: float | None
    """Seconds since the replica was last known to have all that the remote had; None if it never was."""
    state: Standing
    cache_bytes: int
    journal_bytes: int
    push_open: bool
    """Whether the outcome of a push is unknown."""
    fetched_bytes: int
    """Stored bytes of frames that this process fetched from the remote."""
    wasted_bytes: int
    """Bytes that this process fetched and did not use so far: frames fetched ahead, and gaps between frames."""


@dataclass(frozen=True, slots=True)
class Audit:
    """Where the pages of the newest snapshot are."""

    page_count: int
    live_pages: int
    """Pages with a body; the others are zeros."""
    local_pages: int
    """Pages in the journal only."""
    cached_pages: int
    """Pages in the cache."""
    missing_pages: int
    """Pages in the remote only."""
    frames: int
    """Frames of the remote with pages of this version."""
    frames_needed: int
    """About how many frames there would be after a compaction."""


def status(replica: Replica) -> Status:
    """Describe a replica; no request."""
    fresh, counts = freshness(replica), replica.counts.snapshot()
    view = replica.view()
    state, snapshot = replica.state.read(), view.snapshot
    ahead, behind = bool(view.pending), state.head > view.state.lsn
    standing: Standing = "diverged" if ahead and behind else "ahead" if ahead else "behind" if behind else "up to date"
    pages = distinct(np.concatenate([commit.pages for commit in view.pending])) if ahead else ()
    return Status(
        name=replica.name,
        remote=replica.remote_address,
        volume=replica.volume,
        log=replica.log,
        page_size=replica.page_size,
        page_count=snapshot.page_count,
        byte_size=snapshot.byte_size,
        lsn=view.state.lsn,
        segments=len({ref.segment for index in view.state.chain for ref in index.commit.segments}),
        local_commits=len(view.pending),
        local_pages=len(pages),
        remote_head=state.head,
        lsns_behind=max(state.head - view.state.lsn, 0),
        staleness_s=fresh.staleness_s,
        state=standing,
        cache_bytes=replica.cache.use().bytes,
        journal_bytes=replica.journal.disk_bytes(),
        push_open=state.intent is not None,
        fetched_bytes=counts.fetched_bytes,
        wasted_bytes=counts.wasted_bytes,
    )


def audit(replica: Replica, snapshot: Snapshot | None = None) -> Audit:
    """Count where the pages of a snapshot (by default the newest) are; missing index chunks are fetched."""
    snapshot = snapshot or replica.snapshot()
    page_map = snapshot.page_map
    numbers = [number for chunk in frames_by_chunk(page_map) for number in chunk]
    cached = _cached(replica, numbers)
    live = local = held = 0
    for chunk in page_map.chunks:
        locations = chunk.locations()
        live += int(np.count_nonzero(locations))
        local += _tagged(locations, JOURNAL_TAG)
        in_frames = locations[is_in_frame(locations)]
        held += int(np.count_nonzero(np.isin(frames_of(in_frames), cached)))
    scattered = fragmentation(snapshot, replica.settings.frame_bytes)
    return Audit(
        snapshot.page_count, live, local, held, live - local - held, scattered.frames, scattered.frames_needed
    )  # fmt: skip


def _cached(replica: Replica, numbers: Iterable[int]) -> U64:
    keys = {replica.table.key(number): number for number in numbers}
    return np.array(sorted(keys[key] for key in replica.bodies.cached(keys)), np.uint64)


def _tagged(locations: U64, tag: int) -> int:
    return int(np.count_nonzero(locations & np.uint64(tag)))
