"""What garbage collection means for a replica: versions that are gone, and commits on top of them."""

from graft.errors import BaseCollected, VersionCollected, remote_errors
from graft.remote.remote import Remote
from metastore.collected import Remaining
from metastore.ids import LogId
from metastore.lsn import LSN
from metastore.volumes import delete_volume


def require_remaining(remote: Remote, log: LogId, lsn: LSN, name: str) -> None:
    """Raise `VersionCollected` if garbage collection gave a version up; one request where it never ran."""
    remaining = remote.remaining(log)
    if lsn not in remaining:
        raise version_collected(name, lsn, remaining)


def withdraw_if_collected(remote: Remote, name: str, log: LogId, lsn: LSN) -> None:
    """Take a new volume's name back if the version of ``log`` that it starts from was given up; one request.

    A collector announces what it gives up and then looks for names: either it sees the name, or this call sees the
    announcement (`metastore.collected`). Raises `VersionCollected`.
    """
    try:
        require_remaining(remote, log, lsn, name)
    except VersionCollected as gone:
        with remote_errors(f"taking back the name {name}"):
            delete_volume(remote.store, name)
        raise VersionCollected(f"{gone}; no volume {name} was made") from None


def version_collected(name: str, lsn: int, remaining: Remaining) -> VersionCollected:
    """Return an error that names the versions that remain."""
    return VersionCollected(f"volume {name}: LSN {lsn} was collected; what remains is {remaining.describe()}")


def base_collected(remote: Remote, log: LogId, lsn: int, name: str) -> BaseCollected:
    """Return the error for commits that build on a version that is gone."""
    remaining = remote.remaining(log)
    return BaseCollected(
        f"volume {name}: this replica builds on LSN {lsn}, which was collected; what remains in the remote is "
        f"{remaining.describe()}. Local commits are kept: pull with the policy 'discard', or with 'fork', which saves "
        "them as a new volume"
    )
