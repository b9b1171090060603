"""Logs that lost their name: an empty volume must not be made, or shown, in place of one that is there."""

from graft.errors import HistoryLost, remote_errors
from graft.remote.landmarks import PARENT
from graft.remote.remote import Remote
from metastore.commit import Commit, CommitKind
from metastore.errors import CommitMissing, LogClosed
from metastore.ids import LogId
from metastore.index import read_index
from metastore.lsn import LSN
from metastore.volumes import logs_without_name


def require_no_lost_log(remote: Remote, name: str) -> None:
    """Raise `HistoryLost` if the remote holds a log with commits that no name stands for, as far as it is looked for.

    A fork that was given up half-way leaves such a log, too; it is passed over.
    """
    with remote_errors(f"looking for logs without a name in {remote.store.url}"):
        unnamed = logs_without_name(remote.store, remote.parallel)
        lost = {log: remote.head(log) for log in unnamed if _is_lost(remote, log)}
    if lost:
        logs = ", ".join(f"{log} with {head} commits" for log, head in lost.items())
        raise HistoryLost(
            f"{remote.store.url} has commits that no volume's name stands for ({logs}). The name object of a volume "
            f"was deleted or damaged, perhaps volumes/{name}: an empty volume in its place would hide them. Nothing "
            "was changed. Put the name object back from a backup, or run `graft remote set` with the volume's address "
            "in a replica of it, which writes it again. For a new volume, use another prefix or directory"
        )


def _is_lost(remote: Remote, log: LogId) -> bool:
    try:
        first: Commit = read_index(remote.commits, log, LSN(1)).commit
    except LogClosed:
        return False
    except CommitMissing:
        return _has_end(remote, log)
    return first.kind is not CommitKind.FORK and PARENT not in first.attributes


def _has_end(remote: Remote, log: LogId) -> bool:
    """Whether a log whose first commit is gone has a newest one: that of a removed volume was closed."""
    head = remote.commits.head(log)
    if head is None:
        return False
    try:
        read_index(remote.commits, log, head)
    except LogClosed:
        return False
    return True
