"""The history of a volume, read from its remote."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from graft.errors import remote_errors
from graft.remote.landmarks import AUTHOR, SEGMENT_BYTES
from graft.replica.replica import Replica
from graft.sync.push import MESSAGE
from graft.sync.versions import remaining_versions
from metastore.commit import Commit
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
    log: str
    """The log that holds it: an ancestor's, where it is older than the branch."""
    author: str | None
    """Who made it; None where a release made it that did not say."""
    bytes: int | None
    """What it added to the remote: itself, and segments of its own; None where that is not known."""


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
            yield entry_of(commit)


def entry_of(commit: Commit) -> LogEntry:
    """Return what the log says of a commit."""
    return LogEntry(
        commit.lsn,
        commit.hash.hex(),
        commit.timestamp_us,
        commit.kind.name.lower(),
        commit.changed_pages,
        commit.page_count,
        commit.byte_size,
        _text(commit, MESSAGE),
        commit.is_base,
        str(commit.log),
        _text(commit, AUTHOR),
        _bytes(commit),
    )


def _text(commit: Commit, attribute: str) -> str | None:
    value = commit.attributes.get(attribute)
    return None if value is None else value.decode(errors="replace")


def _bytes(commit: Commit) -> int | None:
    if AUTHOR not in commit.attributes:  # of a release that did not note the size of segments
        return None
    segments = commit.attributes.get(SEGMENT_BYTES, b"0")
    return commit.total_length + int(segments) if segments.isdigit() else None
