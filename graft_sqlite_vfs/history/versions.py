"""The versions of a volume in the order of their commits, opened when they are needed."""

from dataclasses import dataclass

from graft.reading.snapshot import Snapshot
from graft.remote.landmarks import restored_at
from graft.replica.replica import Replica
from graft.sync.time_travel import version_at
from graft.sync.versions import Version, remaining_versions
from metastore.commit import CommitKind
from metastore.lsn import BEFORE_FIRST, LSN


@dataclass(frozen=True, slots=True)
class Moment:
    """One version, opened."""

    lsn: int | None
    """None for what the replica has not pushed."""
    time_us: int | None
    """Microseconds since the Unix epoch; None if there is no commit."""
    author: str | None
    snapshot: Snapshot
    moves_pages_only: bool = False
    """Whether its commit changed no content."""
    restored_at: int = 0
    """The newest commit up to it that went back to an older version."""


class Versions:
    """The versions of a replica's branch that were not collected, oldest first; not safe for threads."""

    def __init__(self, replica: Replica, *, local: bool = False) -> None:
        """List them, up to the remote's head; with ``local`` also what the replica has not pushed, as the newest."""
        self._replica = replica
        head = replica.remote.head(replica.lineage)
        self.lsns: list[int] = [int(lsn) for lsn in reversed(remaining_versions(replica.remote, replica.lineage, head))]
        self._opened: dict[int, Moment] = {}
        self.has_local = local and bool(replica.view().pending)

    def __len__(self) -> int:
        """Return how many there are, without the empty version before the first commit."""
        return len(self.lsns) + self.has_local

    def at(self, place: int) -> Moment:
        """Return the version at a place; -1 is the empty one before the first commit."""
        if place not in self._opened:
            self._opened[place] = self._open(place)
        return self._opened[place]

    def _open(self, place: int) -> Moment:
        if place == len(self.lsns):
            return Moment(None, None, None, self._replica.snapshot())
        lsn = LSN(self.lsns[place]) if place >= 0 else BEFORE_FIRST
        snapshot, commit = version_at(self._replica, Version(self._replica.lineage, lsn))
        if commit is None:
            return Moment(0, None, None, snapshot)
        author = commit.attributes.get("author")
        return Moment(
            int(commit.lsn), commit.timestamp_us, None if author is None else author.decode(errors="replace"), snapshot,
            commit.kind is CommitKind.COMPACT, restored_at(commit),
        )  # fmt: skip
