"""Checks that the remote is the one that this replica knows, and still holds what the replica builds on.

A drive that is not mounted, an empty bucket, another bucket of the same name, a log that was deleted and created again,
a bucket that was restored from a backup: each of them accepts a conditional write. So the replica's own commit is
compared, by hash, with the one at its LSN:

    a head is read        `checked_head`     no request if the listing shows the commit that was compared before
    a replica moves       `way_to`           no request if the next commit is read, which names its parent's hash
    something is written  `require_parent`   no request if this process saw the parent within `PROOF_S_MAX`
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import xxhash

from graft.errors import Corrupt, GraftError, HistoryLost, NoSuchVolume, VersionCollected, remote_errors
from graft.remote.remote import Proof, require_safe
from graft.replica.replica import Replica
from graft.replica.state import SyncState
from graft.sync.collected import base_collected
from metastore.commit import Commit
from metastore.errors import CommitCollected, CommitMissing
from metastore.ids import LogId
from metastore.index import CommitIndex, read_index
from metastore.lsn import BEFORE_FIRST, LSN
from metastore.lsn import chain as chain_of
from metastore.volumes import VolumeRecord, read_volume

PROOF_S_MAX = 60.0
"""A push does not ask for its parent if this process saw it in the remote within this time."""

WAY_FORWARD = (
    "Nothing was changed. If this is the wrong place, mount the drive or name the right one; if the remote really lost"
    " commits, `graft pull --policy fork --fork-name NAME` saves what is here as a new volume and goes on from there"
)


@dataclass(frozen=True, slots=True)
class Head:
    """The newest known commit of a remote."""

    lsn: LSN
    requests: int
    """Requests that were made to learn it."""
    sure: bool = True
    """Whether there is no newer commit; if false, the caller must ask for the next commit by name."""
    own: bool = True
    """Whether the remote was seen to hold the commit that the replica builds on."""
    known: tuple[CommitIndex, ...] = field(default=())
    """Commits that were read in the process."""


def checked_head(replica: Replica, state: SyncState, *, by_name: bool = True) -> Head:
    """Ask for the remote's head; raises `HistoryLost` if the remote is seen to lack what the replica builds on.

    One request if the listing shows that commit as it was when it was compared. If listings may be old and ``by_name``
    is set, the next commit is asked for at the same time. A listing that ends before a commit that was seen is old,
    unless the remote has lost that commit.
    """
    remote, log, seen = replica.remote, state.identity.log, max(state.lsn, state.head)
    begun_s, requests = replica.runtime.monotonic_s(), 1
    by_name = by_name and not remote.lists_exactly
    following = remote.parallel.begin(lambda: _following(replica, log, LSN(seen + 1))) if by_name else None
    newest = remote.newest(state.identity.lineage)
    own = _is_as_compared(replica, state, newest.etag(state.lsn))
    if own and state.lsn > state.identity.lineage.start:
        _saw(replica, state.chain[0].commit, begun_s)
    elif newest.lsn <= state.lsn or state.lsn in newest.etags:
        requests += require_own(replica, state)
        if remote.proof is not None:  # else it was collected, and what the listing shows is its tombstone
            _witness(replica, state.chain, newest.etag(state.lsn))
        own = True
    if newest.lsn < seen:
        return _above_an_old_answer(replica, state, newest.lsn, requests)
    if following is None:
        return Head(newest.lsn, requests, sure=remote.lists_exactly, own=own)
    index = following()
    if index is None:
        return Head(newest.lsn, requests + 1, sure=newest.lsn == seen, own=own)
    return Head(max(newest.lsn, index.commit.lsn), requests + 1, sure=False, own=own, known=(index,))


def _above_an_old_answer(replica: Replica, state: SyncState, listed: LSN, requests: int) -> Head:
    remote, log, seen = replica.remote, state.identity.log, max(state.lsn, state.head)
    if state.head > state.lsn:
        requests += 1
        if not remote.has_commit(log, state.head):
            raise HistoryLost(
                f"volume {replica.name}: commit {state.head} was seen in {remote.store.url}, and is gone; "
                f"the log ends at LSN {listed}; the replica is left as it is. {WAY_FORWARD}"
            )
    head, asked = remote.above(log, LSN(seen))
    return Head(head, requests + asked)


def way_to(replica: Replica, state: SyncState, head: Head) -> list[CommitIndex]:
    """Return the chain of a head, or of a newer commit if the head is not sure, in one round trip.

    Raises `HistoryLost` unless the chain continues what the replica builds on.
    """
    remote, log, lsn, known = replica.remote, state.identity.log, head.lsn, [*head.known, *state.chain]
    is_above = None if head.sure else remote.parallel.begin(lambda: remote.has_commit(log, LSN(lsn + 1)))
    own = None
    if asks_for_own(state, head):
        own = remote.parallel.begin(lambda: require_own(replica, state))
    try:
        chain = remote.chain(state.identity.lineage.log_of(lsn), lsn, known)
        if is_above is not None and is_above():
            lsn, _ = remote.above(log, LSN(lsn + 1))
            chain = remote.chain(log, lsn, [*known, *chain])
    except Corrupt:
        require_own(replica, state)  # raises if the remote has another history
        raise
    if own is not None:
        own()
    after = next((index.commit for index in [*head.known, *chain] if index.commit.lsn == state.lsn + 1), None)
    if after is not None:
        check_winner(replica, state, after)
    return chain


def asks_for_own(state: SyncState, head: Head) -> bool:
    """Return whether `way_to` must ask for the replica's own commit: no other commit that it reads names its hash."""
    if head.own or not BEFORE_FIRST < state.lsn < head.lsn:
        return False
    after = state.lsn + 1
    return after not in chain_of(head.lsn) and all(index.commit.lsn != after for index in head.known)


def require_parent(replica: Replica, state: SyncState) -> None:
    """Raise `HistoryLost` unless the remote holds what the next commit builds on; the caller holds the sync lock.

    Raises `BaseCollected` if garbage collection removed it.

    No request where that was seen lately. What this process has not written to yet is looked at more closely: whether
    the name stands for this volume, whether the log has a hole, and, once for each replica, whether the endpoint
    honours conditional writes.
    """
    remote, proof, begun_s = replica.remote, replica.remote.proof, replica.runtime.monotonic_s()
    if _is_fresh(proof, state, begun_s):
        require_safe_endpoint(replica)
        return
    tasks: list[Callable[[], object]] = [lambda: require_own(replica, state, to_write=True)]
    if proof is None:
        tasks.append(lambda: require_name(replica, state))
        tasks.append(lambda: _require_no_hole(replica, state))
    for _ in remote.parallel.map(lambda task: task(), tasks):
        pass
    require_safe_endpoint(replica)


def was_seen_lately(replica: Replica, state: SyncState) -> bool:
    """Whether this process saw the remote hold what the replica builds on within `PROOF_S_MAX`."""
    return _is_fresh(replica.remote.proof, state, replica.runtime.monotonic_s())


def require_safe_endpoint(replica: Replica) -> None:
    """Refuse an endpoint that ignores conditional writes; no request where that was looked at once."""
    if not _is_safe(replica):
        _require_safe(replica)


def require_own(replica: Replica, state: SyncState, *, to_write: bool = False) -> int:
    """Compare the commit that the replica builds on with the remote's; return how many requests that took.

    One that was collected is no loss, and the replica can move on from it; ``to_write`` to it raises `BaseCollected`.
    """
    begun_s, requests = replica.runtime.monotonic_s(), 1
    if state.lsn == state.identity.lineage.start:  # nothing in its own log tells whether the volume is there
        require_name(replica, state)
        requests += 1
    if state.lsn == BEFORE_FIRST:
        replica.remote.proof = Proof(state.identity.log, BEFORE_FIRST, b"", begun_s)
        return requests - 1
    mine = state.chain[0].commit
    index, found = None, b""
    with remote_errors(f"looking for commit {mine.lsn} of volume {replica.name}"):
        try:
            index = read_index(replica.remote.commits, mine.log, mine.lsn)
            found = index.commit.hash
        except CommitCollected as collected:
            found = collected.hash
        except CommitMissing:
            pass
    if index is not None and found == mine.hash:
        _saw(replica, mine, begun_s)
        return requests
    in_doubt(replica)
    if any(found) and found != mine.hash:
        raise _not_ours(replica, mine, found)
    if not any(found) and mine.lsn in replica.remote.remaining(mine.log):
        raise _gone(replica, state, f"commit {mine.lsn} of its log, which this replica builds on")
    if to_write:
        raise base_collected(replica.remote, mine.log, mine.lsn, replica.name)
    return requests + 1


def require_name(replica: Replica, state: SyncState) -> None:
    """Raise `HistoryLost` unless the volume's name stands for it in the remote."""
    url, identity = replica.remote.store.url, state.identity
    try:
        record = named(replica)
    except NoSuchVolume:
        in_doubt(replica)
        raise HistoryLost(
            f"volume {replica.name}: no name object volumes/{replica.name} is in {url}: this is another place than the "
            f"one that the replica knows, or the object was deleted. `graft remote set` with the address of the volume "
            f"writes it again if its log is there. {WAY_FORWARD}"
        ) from None
    if (record.volume, record.log) != (identity.volume, identity.log):
        in_doubt(replica)
        raise HistoryLost(
            f"volume {replica.name}: in {url} this name stands for another volume, {record.volume} with log "
            f"{record.log}; this replica is of {identity.volume} with log {identity.log}. {WAY_FORWARD}"
        )


def named(replica: Replica) -> VolumeRecord:
    """Return what the volume's name stands for in the remote; raises `NoSuchVolume`."""
    with remote_errors(f"looking up {replica.name}"):
        return read_volume(replica.remote.store, replica.name)


def holds(replica: Replica, commit: Commit) -> bool:
    """Return whether the remote has this very commit."""
    try:
        index = _read(replica, commit.log, commit.lsn)
    except VersionCollected:
        return False
    return index is not None and index.commit.hash == commit.hash


def reached(replica: Replica, index: CommitIndex, begun_s: float) -> None:
    """Record that the commit that the replica builds on now was just read from the remote, or written there."""
    _saw(replica, index.commit, begun_s)
    _witness(replica, [index], index.etag)


def in_doubt(replica: Replica) -> None:
    """Drop the proof, so that the remote is checked before anything is written to it."""
    replica.remote.proof = None


def made_safe(replica: Replica) -> None:
    """Record that the endpoint honours conditional writes."""
    replica.shared.endpoint = _endpoint(replica)


def check_winner(replica: Replica, state: SyncState, winner: Commit | None) -> None:
    """Raise `HistoryLost` if the commit after the replica's, unless it was collected, was built on another parent."""
    if winner is not None and state.chain and winner.parent_hash != state.chain[0].commit.hash:
        in_doubt(replica)
        raise _not_ours(replica, state.chain[0].commit, winner.parent_hash)


def _is_fresh(proof: Proof | None, state: SyncState, now_s: float) -> bool:
    known = state.chain[0].commit.hash if state.chain else b""
    return (
        proof is not None
        and (proof.log, proof.lsn, proof.hash) == (state.identity.lineage.log_of(state.lsn), state.lsn, known)
        and 0 <= now_s - proof.at_s < PROOF_S_MAX
    )


def _saw(replica: Replica, commit: Commit, at_s: float) -> None:
    replica.remote.proof = Proof(commit.log, commit.lsn, commit.hash, at_s)


def _read(replica: Replica, log: LogId, lsn: LSN) -> CommitIndex | None:
    with remote_errors(f"looking for commit {lsn} of volume {replica.name}"):
        try:
            return read_index(replica.remote.commits, log, lsn)
        except CommitMissing:
            return None


def _following(replica: Replica, log: LogId, lsn: LSN) -> CommitIndex | None:
    """Return the commit after the newest one that was seen; None if it is not there or was collected already."""
    try:
        return _read(replica, log, lsn)
    except VersionCollected:
        return None


def _require_no_hole(replica: Replica, state: SyncState) -> None:
    remote, log = replica.remote, state.identity.log
    newest, following = remote.newest(state.identity.lineage).lsn, LSN(state.lsn + 1)
    if newest > following and not remote.has_commit(log, following):
        in_doubt(replica)
        if following not in remote.remaining(log):
            raise base_collected(remote, log, state.lsn, replica.name)
        raise HistoryLost(
            f"volume {replica.name}: commit {following} is missing from {remote.store.url}, where the log ends at LSN "
            f"{newest}: a push would fill the hole with another history. {WAY_FORWARD}"
        )


def _gone(replica: Replica, state: SyncState, what: str) -> HistoryLost:
    """Return an error that something is gone, with the reason as far as the name object shows it."""
    url, why = replica.remote.store.url, "commits were deleted, or the remote was restored from an older state"
    try:
        record = named(replica)
        if (record.volume, record.log) != (state.identity.volume, state.identity.log):
            why = f"the name stands for another volume there, {record.volume}"
    except NoSuchVolume:
        why = "nor is the volume's name: an empty or another bucket, or a drive that is not mounted"
    except GraftError:
        pass
    return HistoryLost(
        f"volume {replica.name}: {what}, is not in {url} ({why}); the replica is left as it is. {WAY_FORWARD}"
    )


def _not_ours(replica: Replica, mine: Commit, found: bytes) -> HistoryLost:
    return HistoryLost(
        f"volume {replica.name}: LSN {mine.lsn} in {replica.remote.store.url} is another commit, {found.hex()}, than "
        f"the one that this replica builds on, {mine.hash.hex()}: the remote lost commits, others took their place; "
        f"the replica is left as it is. {WAY_FORWARD}"
    )


def _witness(replica: Replica, chain: Sequence[CommitIndex], etag: str) -> None:
    if chain and etag:
        replica.shared.witness = _digest(chain[0].commit, etag)


def _is_as_compared(replica: Replica, state: SyncState, etag: str) -> bool:
    """Return whether a listing shows the commit that the replica builds on unchanged since it was compared."""
    if state.lsn == state.identity.lineage.start:  # a listing of the log cannot show it
        proof = replica.remote.proof
        return proof is not None and (proof.log, proof.lsn) == (state.identity.lineage.log_of(state.lsn), state.lsn)
    return bool(etag) and replica.shared.witness == _digest(state.chain[0].commit, etag)


def _digest(commit: Commit, etag: str) -> int:
    return xxhash.xxh3_64_intdigest(f"{commit.log} {commit.lsn} {commit.hash.hex()} {etag}".encode())


def _is_safe(replica: Replica) -> bool:
    return replica.shared.endpoint == _endpoint(replica)


def _require_safe(replica: Replica) -> None:
    require_safe(replica.remote)
    made_safe(replica)


def _endpoint(replica: Replica) -> int:
    return xxhash.xxh3_64_intdigest(replica.remote.store.url.encode())
