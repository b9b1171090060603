"""Time travel: a volume as it was at an LSN or a moment."""

import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypeAlias

from graft.errors import GraftError, HistoryLost, NoSuchVersion, VersionCollected, remote_errors
from graft.pagemap.page_map import PageMap, compose
from graft.reading.snapshot import Snapshot
from graft.remote.entry_frame import entry_frame
from graft.replica.replica import Replica
from graft.sync.collected import version_collected
from graft.sync.inline_bodies import keep_inline
from metastore.history import lsn_at
from metastore.index import CommitIndex
from metastore.lsn import BEFORE_FIRST, LSN
from metastore.lsn import chain as chain_of
from metastore.placement import InCommit

At: TypeAlias = int | str | datetime
"""An LSN, or a moment as ISO 8601 text (UTC unless it names an offset) or as `datetime`."""


def snapshot_at(replica: Replica, at: At) -> Snapshot:
    """Return the volume as it was; the same few requests as opening the newest version. Raises `NoSuchVersion`."""
    lsn = resolve(replica, at)
    view = replica.view()
    known = view.state.chain
    remote = replica.remote
    _begin_way_down(replica, known, lsn)
    remaining = remote.parallel.begin(lambda: remote.remaining(replica.log)) if lsn != view.state.lsn else None
    try:
        chain = remote.chain(replica.log, lsn, known)
    except (VersionCollected, HistoryLost):
        if remaining is not None and lsn not in (left := remaining()):
            raise version_collected(replica.name, lsn, left) from None
        raise
    if remaining is not None and lsn not in (left := remaining()):
        raise version_collected(replica.name, lsn, left)
    if not chain:
        return replica.snapshot_of(PageMap.empty(replica.table), byte_size=0, lsn=0)
    keep_inline(replica, (index for index in chain if not any(index is mine for mine in known)))
    page_map = compose(replica.table, chain, replica.load_chunks, view.remote_map)
    return replica.snapshot_of(page_map, byte_size=chain[0].commit.byte_size, lsn=lsn)


def _begin_way_down(replica: Replica, known: Sequence[CommitIndex], lsn: LSN) -> None:
    """Begin to fetch what every reader of an older version passes, while the indexes that lead there are read."""
    key = entry_frame(known)
    if key is None or not isinstance(key.ref.home, InCommit):
        return
    laid_out = key.ref.home.lsn
    if laid_out > lsn or laid_out in chain_of(lsn):
        return
    with contextlib.suppress(GraftError):
        if not replica.bodies.cached([key]):
            replica.remote.begin(key, replica.page_size)


def resolve(replica: Replica, at: At) -> LSN:
    """Return the LSN that ``at`` means: for a moment, the newest commit at or before it."""
    if isinstance(at, str) and at.isdecimal():
        at = int(at)
    if isinstance(at, int):
        known = replica.view().state.lsn
        if BEFORE_FIRST <= at <= known:
            return LSN(at)
        head = replica.remote.head(replica.log)
        if not BEFORE_FIRST <= at <= head:
            raise NoSuchVersion(f"volume {replica.name} has LSN 0 to {head}, not {at}")
        return LSN(at)
    moment = _moment(at)
    with remote_errors(f"looking for the commit at {moment.isoformat()}"):
        head, left = replica.remote.head(replica.log), replica.remote.remaining(replica.log)
        after = LSN(left.floor - 1)
        lsn = lsn_at(replica.remote.commits, replica.log, head, int(moment.timestamp() * 1_000_000), after)
    if lsn == after and not left.is_whole:
        raise VersionCollected(
            f"volume {replica.name}: the version at {moment.isoformat()} was collected; what remains is "
            f"{left.describe()}"
        )
    if lsn == BEFORE_FIRST:
        raise NoSuchVersion(f"volume {replica.name} has no commit at or before {moment.isoformat()}")
    return lsn


def _moment(at: str | datetime) -> datetime:
    if isinstance(at, str):
        try:
            at = datetime.fromisoformat(at)
        except ValueError:
            raise NoSuchVersion(f"neither an LSN nor an ISO 8601 time: {at!r}") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
