"""The history of a log: its newest commits, and the commit at a given time."""

from collections.abc import Iterator

from metastore.commit import Commit
from metastore.commitlog import CommitLog
from metastore.ids import LogId
from metastore.index import read_index
from metastore.lsn import BEFORE_FIRST, LSN
from pagestore.parallel import Parallel

_BATCH = 64


def newest_first(
    commits: CommitLog, parallel: Parallel, log: LogId, head: LSN, limit: int | None = None
) -> Iterator[Commit]:
    """Yield at most ``limit`` commits from ``head`` down, read in parallel batches; raises `CommitMissing`."""
    lsn, last = int(head), BEFORE_FIRST if limit is None else max(head - limit, BEFORE_FIRST)
    while lsn > last:
        batch = [LSN(each) for each in range(lsn, max(lsn - _BATCH, last), -1)]
        yield from parallel.map(lambda each: read_index(commits, log, each).commit, batch)
        lsn -= len(batch)


def lsn_at(commits: CommitLog, log: LogId, head: LSN, timestamp_us: int) -> LSN:
    """Return the newest LSN at or before a time, by bisection in log2(head) requests; 0 if all commits are later.

    Timestamps increase along a log whatever its writers' clocks say (`metastore.build`).
    """
    low, high = 0, int(head)
    while low < high:
        middle = (low + high + 1) // 2
        if read_index(commits, log, LSN(middle)).commit.timestamp_us <= timestamp_us:
            low = middle
        else:
            high = middle - 1
    return LSN(low)
