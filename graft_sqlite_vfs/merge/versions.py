"""Changes of other versions, made to what a replica has: merging a branch, picking a commit, undoing one.

Each becomes one local commit. To whoever settles conflicts, "ours" is what the replica has.
"""

from dataclasses import dataclass
from typing import Any

from graft.errors import BadRequest
from graft.replica.replica import Replica
from graft.sync.merges import merge_base, note_merge
from graft.sync.time_travel import snapshot_at
from graft.sync.versions import AnyVersion, Version, resolve
from graft_sqlite_vfs.merge.merge import merge
from graft_sqlite_vfs.merge.result import MergeResult
from metastore.lsn import BEFORE_FIRST, LSN


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of the changes of another version."""

    base: int
    """The LSN from which on the changes were taken."""
    lsn: int
    """The LSN up to which they were taken."""
    merged: MergeResult
    committed: bool
    """Whether there is a local commit of them; not where the replica had all of them."""


def merge_version(replica: Replica, version: AnyVersion, *, conflicts: Any = "fail") -> Applied:
    """Merge a version of another branch of the volume, as one local commit.

    The changes are those since the branches parted, or since the branch was merged last. ``conflicts`` as in
    `graft.pull`. Raises `MergeConflict`, in which case nothing has changed, `BadRequest` for a version that has nothing
    in common with the replica's volume, `NoSuchVersion`, `WriterBusy`, and the remote's errors.
    """
    other = resolve(replica, version)
    base = merge_base(replica, other)
    done = _apply(replica, base, other, conflicts)
    if done.committed:
        local_lsn = replica.view().pending[-1].local_lsn
        note_merge(replica, local_lsn, {"log": str(other.log), "lsn": int(other.lsn), "base": int(base.lsn)})
    return done


def cherry_pick(replica: Replica, version: AnyVersion, *, conflicts: Any = "fail") -> Applied:
    """Make the changes of one commit, of this branch or another, as one local commit; raises as `merge_version`."""
    picked = resolve(replica, version)
    return _apply(replica, _before(replica, picked), picked, conflicts)


def revert(replica: Replica, version: AnyVersion, *, conflicts: Any = "fail") -> Applied:
    """Undo the changes of one commit, as one local commit; raises as `merge_version`.

    Rows that were changed again since are conflicts.
    """
    undone = resolve(replica, version)
    return _apply(replica, undone, _before(replica, undone), conflicts)


def _before(replica: Replica, version: Version) -> Version:
    if version.lsn == BEFORE_FIRST:
        raise BadRequest(f"volume {replica.name}: LSN 0 is the empty version, not a commit")
    return Version(version.lineage, LSN(version.lsn - 1))


def _apply(replica: Replica, base: Version, changed: Version, conflicts: Any) -> Applied:
    older, newer = snapshot_at(replica, base), snapshot_at(replica, changed)
    with replica.begin(replica.snapshot()) as transaction:
        merged = merge(replica, older, newer, transaction, conflicts, changes_are_theirs=True)
        committed = transaction.dirty
        if committed:
            transaction.commit()
    return Applied(base.lsn, changed.lsn, merged, committed)
