"""What a merge did, as data."""

from dataclasses import dataclass

from graft_sqlite_vfs.merge.conflicts import Conflict


@dataclass(frozen=True, slots=True)
class MergeResult:
    """What a merge did to the version that it was made on ("theirs")."""

    inserted: int
    updated: int
    deleted: int
    combined: int
    """Of the updated rows, those of which each side changed other columns."""
    same: int
    """Changes that both sides had made."""
    dropped: int
    """Changes of ours that theirs won over."""
    conflicts: tuple[Conflict, ...]
    """All conflicts, however they were settled."""
    tables: dict[str, int]
    """How many rows were changed in each table."""

    def summary(self) -> str:
        """Return a line about it."""
        changes = f"merged: {self.inserted} rows inserted, {self.updated} updated, {self.deleted} deleted"
        conflicts = f", {len(self.conflicts)} conflicts settled" if self.conflicts else ""
        return changes + conflicts
