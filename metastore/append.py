"""Appending a commit, and settling an append: finding out whether it landed.

The rule: a refused append does not mean that the writer lost, since an earlier try may have landed without its reply
arriving. The writer reads the commit at the LSN back; if it finds its own nonce, it has won. The nonce in a tombstone
counts too: such a commit landed, and was collected later.
"""

from dataclasses import dataclass

from metastore.commit import Commit
from metastore.commitlog import CommitLog
from metastore.errors import CommitCollected, CommitMissing, LogUnavailable
from metastore.ids import LogId
from metastore.index import read_index
from metastore.lsn import LSN


@dataclass(frozen=True, slots=True)
class Landed:
    """Our commit is in the log."""


@dataclass(frozen=True, slots=True)
class Lost:
    """Another writer's commit has the LSN; ours can never land there."""

    winner: Commit | None
    """None if it was collected since."""


@dataclass(frozen=True, slots=True)
class Absent:
    """No commit has the LSN yet; a request that is still in transit may land later."""


def settle(commits: CommitLog, log: LogId, lsn: LSN, nonce: bytes) -> Landed | Lost | Absent:
    """Find out whose commit has ``lsn``; requests as in `metastore.index.read_index`, usually one."""
    try:
        found = read_index(commits, log, lsn).commit
    except CommitCollected as collected:
        return Landed() if collected.nonce == nonce else Lost(None)
    except CommitMissing:
        return Absent()
    return Landed() if found.nonce == nonce else Lost(found)


def append(commits: CommitLog, log: LogId, lsn: LSN, data: bytes, nonce: bytes) -> Landed | Lost:
    """Append a commit and settle the outcome; one request if nothing goes wrong.

    Raises `LogUnavailable` if the outcome is unknown: the caller must retain its intent and settle later.
    """
    refusal: LogUnavailable | None = None
    try:
        if commits.append(log, lsn, data):
            return Landed()
    except LogUnavailable as error:
        refusal = error
    outcome = settle(commits, log, lsn, nonce)
    if isinstance(outcome, Absent):
        raise refusal or LogUnavailable(
            f"append of commit {lsn} to log {log} was refused, yet no commit has that LSN; retry"
        )
    return outcome
