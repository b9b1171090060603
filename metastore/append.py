"""Append, and the settling of an append whose reply was lost.

The one rule: a refused append is a question. Whoever finds its own nonce at the LSN has won.
"""

from dataclasses import dataclass

from metastore.commit import Commit
from metastore.commitlog import CommitLog
from metastore.errors import CommitMissing, LogUnavailable
from metastore.ids import LogId
from metastore.index import read_index
from metastore.lsn import LSN


@dataclass(frozen=True, slots=True)
class Landed:
    """The commit is in the log, and it is ours."""


@dataclass(frozen=True, slots=True)
class Lost:
    """Another writer's commit has the LSN; ours never will."""

    winner: Commit


@dataclass(frozen=True, slots=True)
class Absent:
    """No commit has the LSN (a request still on its way might yet land)."""


def settle(commits: CommitLog, log: LogId, lsn: LSN, nonce: bytes) -> Landed | Lost | Absent:
    """Ask the log who has ``lsn``; one request, as `metastore.index.read_index`."""
    try:
        found = read_index(commits, log, lsn).commit
    except CommitMissing:
        return Absent()
    return Landed() if found.nonce == nonce else Lost(found)


def append(commits: CommitLog, log: LogId, lsn: LSN, data: bytes, nonce: bytes) -> Landed | Lost:
    """Append and settle; one request when nothing goes wrong.

    Raises `LogUnavailable` when the outcome could not be learnt: the caller keeps its intent and settles it
    later.
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
