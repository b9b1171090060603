"""Commit at any durability; with `Durability.REMOTE` it returns only when the commit is in the remote's log.

journal → push → sync point → visible. A commit that certainly did not reach the remote is removed from the journal
again.
"""

from functools import partial

from graft.errors import GraftError
from graft.failpoints import failpoint
from graft.journal.local_commit import LocalCommit
from graft.reading.snapshot import Snapshot
from graft.replica.replica import Replica
from graft.replica.transaction import WriteTransaction
from graft.settings import Durability
from graft.sync.push import push_unpublished


def commit(replica: Replica, transaction: WriteTransaction, durability: Durability = Durability.LOCAL) -> Snapshot:
    """Commit a transaction of ``replica``; return the snapshot with its changes, from which the transaction goes on.

    With `Durability.REMOTE`, an error means that nothing was committed, unless a `RemoteUnavailable` says that the
    outcome of the push is open: then the commit stays in the replica, and the next push settles it. Raises `DiskFull`,
    `LocalStorageError`, `Diverged`, `RemoteUnavailable`, `RemoteRefused`.
    """
    if durability is not Durability.REMOTE:
        return transaction.commit(durability)
    return transaction.commit_through(partial(_pushed, replica, transaction), sync=True)


def _pushed(replica: Replica, transaction: WriteTransaction, commit: LocalCommit) -> Snapshot:
    try:
        failpoint("commit: after journal")
        push_unpublished(replica, commit)
    except BaseException as error:
        state = replica.state.read()
        if state.local_lsn >= commit.local_lsn:  # it landed; a later step failed
            transaction.keep()
            raise
        if state.intent is None:
            replica.state.retract_journal_end(commit.local_lsn - 1)  # the push had noted that the commit is there
            transaction.take_back(commit)
            raise
        replica.publish(commit)
        transaction.keep()
        if isinstance(error, GraftError):
            raise type(error)(
                f"{error}; whether the push landed is open: the commit is kept in {replica.path} and the next "
                "push settles it"
            ) from error
        raise
    replica.shared.announce_commit(commit.local_lsn)
    return replica.snapshot()
