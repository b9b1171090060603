"""The history of a log: its newest commits, and the commit at a given time."""

from collections.abc import Iterator, Sequence

from metastore.commit import Commit
from metastore.commitlog import CommitLog
from metastore.ids import LogId
from metastore.index import read_index
from metastore.lineage import Lineage
from metastore.lsn import BEFORE_FIRST, LSN
from pagestore.parallel import Parallel

_BATCH = 64


def newest_first(
    commits: CommitLog, parallel: Parallel, log: LogId | Lineage, head: LSN, limit: int | None = None
) -> Iterator[Commit]:
    """Yield at most ``limit`` commits from ``head`` down, read in parallel batches; raises `CommitMissing`.

    With a lineage, the commits of the ancestors come after those of the own log.
    """
    last = BEFORE_FIRST if limit is None else max(head - limit, BEFORE_FIRST)
    yield from read_each(commits, parallel, log, [LSN(lsn) for lsn in range(head, last, -1)])


def read_each(commits: CommitLog, parallel: Parallel, log: LogId | Lineage, lsns: Sequence[LSN]) -> Iterator[Commit]:
    """Yield these commits, read in parallel batches as far as they are asked for; raises `CommitMissing`."""
    for start in range(0, len(lsns), _BATCH):
        batch = lsns[start : start + _BATCH]
        yield from parallel.map(lambda lsn: read_index(commits, _log_of(log, lsn), lsn).commit, batch)


def lsn_at(commits: CommitLog, log: LogId | Lineage, head: LSN, timestamp_us: int, after: LSN = BEFORE_FIRST) -> LSN:
    """Return the newest LSN at or before a time, by bisection in log2(head) requests; ``after`` if all
    commits are later.

    No commit up to ``after`` is read. With a lineage, versions of the ancestors count too. Timestamps increase along a
    log whatever its writers' clocks say (`metastore.build`).
    """
    low, high = int(after), int(head)
    while low < high:
        middle = (low + high + 1) // 2
        if read_index(commits, _log_of(log, middle), LSN(middle)).commit.timestamp_us <= timestamp_us:
            low = middle
        else:
            high = middle - 1
    return LSN(low)


def _log_of(log: LogId | Lineage, lsn: int) -> LogId:
    return log.log_of(lsn) if isinstance(log, Lineage) else log
