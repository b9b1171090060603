"""Time travel: a volume as it was at an LSN or a moment."""

from datetime import UTC, datetime
from typing import TypeAlias

from graft.errors import NoSuchVersion, remote_errors
from graft.pagemap import PageMap, compose
from graft.replica import Replica
from graft.snapshot import Snapshot
from metastore.history import lsn_at
from metastore.lsn import BEFORE_FIRST, LSN

At: TypeAlias = int | str | datetime
"""An LSN, or a moment as ISO 8601 text (UTC unless it names an offset) or as `datetime`."""


def snapshot_at(replica: Replica, at: At) -> Snapshot:
    """Return the volume as it was; the same few requests as opening the newest version. Raises `NoSuchVersion`."""
    lsn = resolve(replica, at)
    view = replica.view()
    chain = replica.remote.chain(replica.log, lsn, view.state.chain)
    if not chain:
        return replica.snapshot_of(PageMap.empty(replica.table), byte_size=0, lsn=0)
    page_map = compose(replica.table, chain, replica.load_chunks, view.remote_map)
    return replica.snapshot_of(page_map, byte_size=chain[0].commit.byte_size, lsn=lsn)


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
        head = replica.remote.head(replica.log)
        lsn = lsn_at(replica.remote.commits, replica.log, head, int(moment.timestamp() * 1_000_000))
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
