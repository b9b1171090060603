"""Versions by name, those that only a replica has among them.

local      the replica's newest version, with its local commits
remote     the version in the remote that they are based on
others     an LSN, a moment, a tag or a branch (`graft.sync.versions`)
"""

from graft.reading.snapshot import Snapshot
from graft.replica.replica import Replica
from graft.sync.time_travel import snapshot_at
from graft.sync.versions import At

LOCAL = "local"
REMOTE = "remote"


def snapshot_of(replica: Replica, version: At) -> Snapshot:
    """Return the version that is named; ``local`` and ``remote`` need no request.

    Raises `NoSuchVersion`, `NoSuchVolume`, `BadRequest` and the remote's errors.
    """
    if isinstance(version, str):
        if version.lower() == LOCAL:
            return replica.snapshot()
        if version.lower() == REMOTE:
            return snapshot_at(replica, replica.view().state.lsn)
    return snapshot_at(replica, version)
