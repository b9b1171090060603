"""Isolation: finds the one mutation that makes a batch fail, so that the others can be applied (pure).

    a batch fails, and not because of the environment --> one mutation at a time --> a mutation that fails alone, TRIES
    times, is rejected without being run again

Errors of the environment (the disk, the network, another writer, an outdated reducer) blame no mutation: the batch is
tried again later.
"""

from collections import Counter
from collections.abc import Sequence

import apsw

from graft.errors import GraftError
from sqlsync.envelope import Mutation
from sqlsync.errors import SqlSyncError
from sqlsync.ids import TimelineId
from sqlsync.reducers.apply import Rejected, rejected

TRIES = 3


class Isolation:
    """The failures of a coordinator; not thread-safe."""

    def __init__(self) -> None:
        """Start without any."""
        self._failures: Counter[tuple[TimelineId, int]] = Counter()
        self._suspects = 0
        self._refused: dict[tuple[TimelineId, int], Rejected] = {}

    def limit(self, batch_max: int) -> int:
        """Return how many mutations to apply at once."""
        return 1 if self._suspects else batch_max

    def refused(self, batch: Sequence[Mutation]) -> dict[int, Rejected]:
        """Return the mutations of a batch to reject without running them, by index, with the reasons."""
        if not self._refused:
            return {}
        found = {place: self._refused.get((mutation.timeline, mutation.lsn)) for place, mutation in enumerate(batch)}
        return {place: outcome for place, outcome in found.items() if outcome is not None}

    def failed(self, batch: Sequence[Mutation], error: BaseException) -> bool:
        """Record an error; return whether to retry at once, in smaller batches."""
        if not batch or not blames_a_mutation(error):
            return False
        if len(batch) > 1:
            self._suspects = len(batch)
            return True
        key = (batch[0].timeline, batch[0].lsn)
        self._suspects = max(self._suspects, 1)
        self._failures[key] += 1
        if self._failures[key] >= TRIES:
            self._refused[key] = Rejected(f"it could not be applied: {rejected(error).reason}", failed=True)
        return self._failures[key] <= TRIES

    def passed(self, batch: Sequence[Mutation]) -> list[tuple[Mutation, Rejected]]:
        """Record that a batch is in the volume; return its mutations that were rejected by isolation."""
        self._suspects = max(0, self._suspects - len(batch))
        found = []
        for mutation in batch:
            key = (mutation.timeline, mutation.lsn)
            self._failures.pop(key, None)
            if (outcome := self._refused.pop(key, None)) is not None:
                found.append((mutation, outcome))
        return found


def blames_a_mutation(error: BaseException) -> bool:
    """Return whether one mutation of a batch may have caused the error that ended it."""
    if isinstance(error, GraftError | SqlSyncError | KeyboardInterrupt) or isinstance(error.__cause__, GraftError):
        return False
    return isinstance(error, apsw.NoMemError) or not isinstance(error, apsw.Error)
