"""Isolation: finding the one mutation that keeps a batch from being applied, so that all others go on (pure).

    a batch fails for no reason of the environment --> one mutation at a time --> the one that fails alone, TRIES times,
    is rejected without being run again

What is of the environment (the disk, the network, another writer, a reducer that is too old) blames no mutation:
everything waits until that is over.
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
    """What is known of a coordinator's failures; one thread at a time."""

    def __init__(self) -> None:
        """Begin without any."""
        self._failures: Counter[tuple[TimelineId, int]] = Counter()
        self._suspects = 0
        self._refused: dict[tuple[TimelineId, int], Rejected] = {}

    def limit(self, batch_max: int) -> int:
        """Return how many mutations to apply at once."""
        return 1 if self._suspects else batch_max

    def refused(self, batch: Sequence[Mutation]) -> dict[int, Rejected]:
        """Return the places in a batch of the mutations that are not to be run any more, and why."""
        if not self._refused:
            return {}
        found = {place: self._refused.get((mutation.timeline, mutation.lsn)) for place, mutation in enumerate(batch)}
        return {place: outcome for place, outcome in found.items() if outcome is not None}

    def failed(self, batch: Sequence[Mutation], error: BaseException) -> bool:
        """Take note of an error; tell whether to try again at once, in smaller steps."""
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
        """Take note of a batch that is in the volume; return those of it that were rejected here."""
        self._suspects = max(0, self._suspects - len(batch))
        found = []
        for mutation in batch:
            key = (mutation.timeline, mutation.lsn)
            self._failures.pop(key, None)
            if (outcome := self._refused.pop(key, None)) is not None:
                found.append((mutation, outcome))
        return found


def blames_a_mutation(error: BaseException) -> bool:
    """Tell whether an error that ended a batch may be the doing of one mutation in it."""
    if isinstance(error, GraftError | SqlSyncError | KeyboardInterrupt) or isinstance(error.__cause__, GraftError):
        return False
    return isinstance(error, apsw.NoMemError) or not isinstance(error, apsw.Error)
