"""Verify: read the newest remote version whole, and check every bit of it."""

from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from graft.errors import GraftError, RemoteRefused, RemoteUnavailable, remote_errors
from graft.operations.hydrate import Progress
from graft.pagemap.frame_table import FrameKey
from graft.pagemap.locations import SLOT_MASK, frames_of, is_in_frame
from graft.pagemap.page_map import compose
from graft.replica.replica import Replica
from graft.sync.history import require_own
from metastore.history import newest_first
from metastore.lineage import Lineage
from metastore.lsn import LSN
from metastore.placement import CHUNK_PAGES
from pagestore.segments.fetch import Dictionaries, RecentDictionaries

_BATCH_FRAMES = 256
_LINKED = 256
"""How many of the newest commits are compared with the parent hash in the next commit."""
_NAMED = 10
"""How many missing commits a problem names."""


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was read, and which problems were found."""

    lsn: int
    pages: int
    frames: int
    bytes: int
    """Stored bytes of the frames."""
    problems: tuple[str, ...]
    """Empty if nothing is wrong."""


def verify(replica: Replica, *, progress: Progress | None = None) -> VerifyReport:
    """Read the log's newest commits and every frame of the newest version from the remote, bypassing the cache.

    The log must have no holes and contain the commit that the replica builds on. Damage is reported, not raised;
    `RemoteUnavailable` and `RemoteRefused` are raised. Progress counts frames.
    """
    head = replica.remote.head(replica.lineage)
    problems = _problems_of_history(replica, head)
    try:
        report = _verify(replica, head, progress)
    except (RemoteUnavailable, RemoteRefused):
        raise
    except GraftError as error:
        report = VerifyReport(head, 0, 0, 0, (str(error),))
    return replace(report, problems=(*problems, *report.problems))


def _problems_of_history(replica: Replica, head: LSN) -> list[str]:
    """Return what is wrong with the log: holes, commits that do not follow each other, or a foreign history."""
    problems: list[str] = []
    state = replica.state.read()
    try:
        require_own(replica, state)
        with remote_errors(f"listing the log of volume {replica.name}"):
            there = set(replica.remote.commits.lsns(state.identity.log))
            lineage = state.identity.lineage
            left = replica.remote.remaining(lineage.log)
            first = lineage.start + 1
            holes = [lsn for lsn in range(first, head + 1) if lsn not in there and lsn in left]
            if holes:
                more = f" and {len(holes) - _NAMED} more" if len(holes) > _NAMED else ""
                problems.append(f"the log lacks commits {', '.join(map(str, holes[:_NAMED]))}{more}")
            problems.extend(_broken_links(replica, lineage, LSN(head), max([*holes, left.floor - 1, first - 1])))
    except (RemoteUnavailable, RemoteRefused):
        raise
    except GraftError as error:
        problems.append(str(error))
    return problems


def _broken_links(replica: Replica, lineage: Lineage, head: LSN, hole: int) -> list[str]:
    """Compare the newest commits, down to a hole, with the parent hash in the next one."""
    remote, count = replica.remote, min(_LINKED, head - hole)
    commits = list(newest_first(remote.commits, remote.parallel, lineage, head, count)) if count else []
    return [
        f"commit {newer.lsn} was built on another commit {older.lsn} ({newer.parent_hash.hex()}) than the one that is "
        f"there ({older.hash.hex()}): the log lost commits, and others took their place"
        for newer, older in pairwise(commits)
        if newer.parent_hash != older.hash
    ]


def _verify(replica: Replica, head: LSN, progress: Progress | None) -> VerifyReport:
    chain = replica.remote.chain(replica.lineage.log_of(head), head)
    if not chain:
        return VerifyReport(0, 0, 0, 0, ())
    page_map = compose(replica.table, chain, replica.load_chunks, None)
    places: dict[int, dict[int, int]] = defaultdict(dict)
    pages = 0
    for number, chunk in enumerate(page_map.chunks):
        locations = chunk.locations()
        live = np.flatnonzero(is_in_frame(locations))
        pages += len(live)
        found = locations[live]
        for low, frame, slot in zip(
            live.tolist(), frames_of(found).tolist(), (found & np.uint64(SLOT_MASK)).tolist(), strict=True
        ):
            places[frame][slot] = number * CHUNK_PAGES + low + 1
    problems: list[str] = []
    dictionaries = RecentDictionaries()  # read from the remote, not from the local cache
    keys = {replica.table.key(frame): slots for frame, slots in places.items()}
    ordered = list(keys)
    for start in range(0, len(ordered), _BATCH_FRAMES):
        problems.extend(_checked(replica, ordered[start : start + _BATCH_FRAMES], keys, dictionaries))
        if progress:
            progress(min(start + _BATCH_FRAMES, len(ordered)), len(ordered))
    return VerifyReport(head, pages, len(ordered), sum(key.length for key in ordered), tuple(problems))


def _checked(
    replica: Replica, batch: list[FrameKey], slots: dict[FrameKey, dict[int, int]], dictionaries: Dictionaries
) -> list[str]:
    try:
        return [
            f"the frame at {key.offset} of segment {key.ref.segment} lacks page {page}"
            for key, frame in replica.remote.frames(batch, replica.page_size, dictionaries)
            for slot, page in slots[key].items()
            if slot >= len(frame.pages) or int(frame.pages[slot]) != page
        ]
    except (RemoteUnavailable, RemoteRefused):
        raise
    except GraftError as error:
        if len(batch) == 1:
            return [str(error)]
        return [problem for key in batch for problem in _checked(replica, [key], slots, dictionaries)]
