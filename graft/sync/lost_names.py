"""Finds logs that lost their name: an empty volume must not be made, or shown, in place of an existing one."""

from graft.errors import HistoryLost, remote_errors
from graft.remote.landmarks import PARENT
from graft.remote.remote import Remote
from metastore.commit import Commit, CommitKind
from metastore.errors import CommitMissing, LogClosed
from metastore.ids import LogId
from metastore.index import read_index
from metastore.lsn import BEFORE_FIRST, LSN
from metastore.volumes import logs_without_name


def require_no_lost_log(remote: Remote, name: str) -> None:
    """Raise `HistoryLost` if the remote holds a log with commits that no name stands for, as far as it is looked for.

    A fork that was given up half-way leaves such a log, and so does a branch that was deleted; they are passed over.
    """
    with remote_errors(f"looking for logs without a name in {remote.store.url}"):
        unnamed = logs_without_name(remote.store, remote.parallel)
        lost = {log: remote.commits.head(log) or BEFORE_FIRST for log in unnamed if _is_lost(remote, log)}
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
        return _is_lost_without_its_first(remote, log)
    return _is_no_fork(first)


def _is_lost_without_its_first(remote: Remote, log: LogId) -> bool:
    """Whether a log without commit 1 is lost: that of a removed volume is closed, that of a branch begins later."""
    lsns = sorted(remote.commits.lsns(log))
    if not lsns:
        return False
    try:
        read_index(remote.commits, log, lsns[-1])
        return _is_no_fork(read_index(remote.commits, log, lsns[0]).commit)
    except LogClosed:
        return False
    except CommitMissing:
        return True


def _is_no_fork(first: Commit) -> bool:
    return first.kind is not CommitKind.FORK and PARENT not in first.attributes
