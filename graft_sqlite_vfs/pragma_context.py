"""What a pragma knows of the connection that it runs on."""

from dataclasses import dataclass
from typing import Protocol

from graft.reading.snapshot import Snapshot
from graft.replica.replica import Replica
from graft.settings import Durability
from graft.sync.versions import AnyVersion, Version


class StalenessBound(Protocol):
    """The mutable read bound of a connection."""

    max_staleness_s: float | None


@dataclass(frozen=True, slots=True)
class PragmaContext:
    """The open file that a pragma runs on."""

    replica: Replica
    snapshot: Snapshot
    """The version that the connection reads, or would read now."""
    durability: Durability
    fixed: bool
    """Whether the file is an old version, opened with `at`."""
    reading: bool
    """Whether a transaction is open on it."""
    writing: bool
    """Whether a write transaction is open on it."""
    read_path: str
    """The name of its read path."""
    version: Version | None
    """Which version that is, where ``at`` said it."""
    bounds: StalenessBound
    """Where ``PRAGMA graft_max_staleness_s`` is read and set."""

    @property
    def fixed_version(self) -> AnyVersion | None:
        """The old version that the connection reads, None if it reads the newest."""
        return (self.version or self.snapshot.lsn) if self.fixed else None
