"""An immutable run of local commits that can be extended by one in constant time.

Invariant: runs that share a list agree with it up to their own length. Only a run as long as the list may extend it;
every other run makes a copy.
"""

import threading
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import overload

from graft.journal.local_commit import LocalCommit


class CommitRun(Sequence[LocalCommit]):
    """Local commits, oldest first; safe for threads."""

    __slots__ = ("_commits", "_length", "_lock")

    def __init__(self, commits: list[LocalCommit], lock: threading.Lock) -> None:
        """Hold all of ``commits``; ``lock`` guards the list's growth. Callers use `empty` and `followed_by`."""
        self._commits = commits
        self._length = len(commits)
        self._lock = lock

    @classmethod
    def empty(cls) -> "CommitRun":
        """Return a run without commits."""
        return cls([], threading.Lock())

    def followed_by(self, commits: Sequence[LocalCommit]) -> "CommitRun":
        """Return this run followed by more commits."""
        with self._lock:
            if len(self._commits) == self._length:
                self._commits.extend(commits)
                return CommitRun(self._commits, self._lock)
        return CommitRun([*self, *commits], threading.Lock())

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[LocalCommit]:
        return islice(self._commits, self._length)

    @overload
    def __getitem__(self, index: int) -> LocalCommit: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[LocalCommit]: ...

    def __getitem__(self, index: int | slice) -> LocalCommit | Sequence[LocalCommit]:
        if isinstance(index, slice):
            return self._commits[: self._length][index]
        return self._commits[range(self._length)[index]]
