"""What merges the rows of two versions, for pulls; most processes never merge, so the first merge imports it."""

from graft.reading.snapshot import Snapshot
from graft.replica.replica import Replica
from graft.replica.transaction import WriteTransaction


def merge_rows(replica: Replica, base: Snapshot, ours: Snapshot, onto: WriteTransaction, conflicts: object) -> object:
    """See `graft_sqlite_vfs.merge.merge`."""
    from graft_sqlite_vfs.merge.merge import merge  # noqa: PLC0415 - most processes never merge

    return merge(replica, base, ours, onto, conflicts)
