"""The history of a volume, read from its remote."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from graft.errors import remote_errors
from graft.replica.replica import Replica
from graft.sync.push import MESSAGE
from graft.sync.versions import remaining_versions
from metastore.history import read_each


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One remote commit."""

    lsn: int
    hash: str
    time_us: int
    """Microseconds since the Unix epoch."""
    kind: str
    changed_pages: int
    page_count: int
    byte_size: int
    message: str | None
    base: bool
    """Whether its index covers the whole page map."""


def log_entries(replica: Replica, limit: int | None = None) -> Iterator[LogEntry]:
    """Yield the volume's commits, newest first, at most ``limit``; raises the remote's errors.

    Collected commits are left out.
    """
    with remote_errors(f"reading the log of volume {replica.name}"):
        lineage = replica.view().state.identity.lineage
        head = replica.remote.head(lineage)
        left = remaining_versions(replica.remote, lineage, head, limit)
        commits = read_each(replica.remote.commits, replica.remote.parallel, lineage, left)
        for commit in islice(commits, limit):
            message = commit.attributes.get(MESSAGE)
            yield LogEntry(
                commit.lsn,
                commit.hash.hex(),
                commit.timestamp_us,
                commit.kind.name.lower(),
                commit.changed_pages,
                commit.page_count,
                commit.byte_size,
                message.decode(errors="replace") if message is not None else None,
                commit.is_base,
            )
