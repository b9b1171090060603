"""Reading what marking needs: the indexes of retained versions, and the commits that hold deltas."""

from collections.abc import Iterator, Mapping

from graft.retention.marking import Marks
from graft.retention.versions import RetainedVersions
from metastore.commitlog import CommitLog
from metastore.errors import CommitMissing, CorruptCommit
from metastore.ids import LogId
from metastore.index import CommitIndex, load_chunks, read_chain, read_index
from metastore.lsn import LSN
from pagestore.parallel import Parallel

_HERE = Parallel(1)
"""A read that runs in a pool's thread reads its parts in that thread."""


def mark(
    commits: CommitLog,
    parallel: Parallel,
    retained: Mapping[LogId, RetainedVersions],
    names: Mapping[LogId, str],
) -> Marks:
    """Return what all of these versions need, one request for each commit at least.

    Raises `CorruptCommit`, which names the volume, where a log lacks what a retained version needs: nobody knows then
    which segments it needs besides.
    """
    marks = Marks()
    for log, versions in retained.items():
        try:
            _mark_log(marks, commits, parallel, log, versions)
        except (CommitMissing, CorruptCommit) as error:
            raise CorruptCommit(
                f"volume {names.get(log, f'of log {log}')} lacks what its versions need, so that nobody knows which "
                f"segments must stay: {error}. No object was deleted. Repair the volume, or remove it with graft rm"
            ) from error
    _resolve(marks, commits, parallel)
    return marks


def _mark_log(marks: Marks, commits: CommitLog, parallel: Parallel, log: LogId, versions: RetainedVersions) -> None:
    window = [LSN(lsn) for lsn in range(versions.head, versions.floor, -1)]
    for index in parallel.map(lambda lsn: read_whole(commits, log, lsn), window):
        marks.need_own(index, versions.reasons[index.commit.lsn])
    for lsn in (versions.floor, *versions.older):
        chain = read_chain(commits, parallel, log, lsn)
        load_chunks(commits, parallel, _chunks(*chain))
        marks.need_version(chain, versions.reasons[lsn])
    # What the chains of newer versions have at or below the floor is part of the floor's own chain: both LSNs have the
    # same leading bits there (`metastore.lsn.chain`).


def read_whole(commits: CommitLog, log: LogId, lsn: LSN) -> CommitIndex:
    """Read a commit with all chunks of its index."""
    index = read_index(commits, log, lsn)
    load_chunks(commits, _HERE, _chunks(index))
    return index


def _chunks(*indexes: CommitIndex) -> Iterator[tuple[CommitIndex, int]]:
    return ((index, entry.number) for index in indexes for entry in index.commit.directory)


def _resolve(marks: Marks, commits: CommitLog, parallel: Parallel) -> None:
    def read(each: tuple[LogId, LSN]) -> bytes:
        try:
            return commits.read(*each)
        except CommitMissing:
            return b""  # of a fork that saved what was lost: nothing reads it any more

    wanted = list(marks.unresolved)
    for (log, lsn), data in zip(wanted, parallel.map(read, wanted), strict=True):
        marks.resolve(log, lsn, data, 0)
