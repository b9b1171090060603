"""Time travel: a volume as it was at an LSN, a moment or a tag, or another branch of it."""

import contextlib
from collections.abc import Sequence

from graft.errors import GraftError
from graft.pagemap.page_map import PageMap, compose
from graft.reading.snapshot import Snapshot
from graft.remote.entry_frame import entry_frame
from graft.replica.replica import Replica
from graft.sync.inline_bodies import keep_inline
from graft.sync.versions import AnyVersion, Version, chain_to, resolve
from metastore.commit import Commit
from metastore.index import CommitIndex
from metastore.lsn import chain as chain_of
from metastore.placement import InCommit


def snapshot_at(replica: Replica, at: AnyVersion) -> Snapshot:
    """Return the volume as it was; the same few requests as opening the newest version. Raises `NoSuchVersion`."""
    return version_at(replica, resolve(replica, at))[0]


def version_at(replica: Replica, version: Version) -> tuple[Snapshot, Commit | None]:
    """Return the volume as it was, and the commit that made it so; None for the empty version."""
    view = replica.view()
    known = view.state.chain
    _begin_way_down(replica, known, version)
    chain = chain_to(replica, version)
    if not chain:
        return replica.snapshot_of(PageMap.empty(replica.table), byte_size=0, lsn=0), None
    keep_inline(replica, (index for index in chain if not any(index is mine for mine in known)))
    page_map = compose(replica.table, chain, replica.load_chunks, view.remote_map)
    commit = chain[0].commit
    return replica.snapshot_of(page_map, byte_size=commit.byte_size, lsn=version.lsn), commit


def _begin_way_down(replica: Replica, known: Sequence[CommitIndex], version: Version) -> None:
    """Begin to fetch what every reader of an older version passes, while the indexes that lead there are read."""
    key = entry_frame(known)
    if key is None or not isinstance(key.ref.home, InCommit):
        return
    laid_out = key.ref.home.lsn
    if version.log != key.ref.home.log or laid_out > version.lsn or laid_out in chain_of(version.lsn):
        return
    with contextlib.suppress(GraftError):
        if not replica.bodies.cached([key]):
            replica.remote.begin(key, replica.page_size)
