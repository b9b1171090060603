"""Merges of other branches: what a commit says of them, and where two branches parted."""

import json
from collections.abc import Mapping

from graft.errors import BadRequest
from graft.remote.landmarks import MERGED, MERGED_UP_TO, merged_up_to
from graft.replica.replica import Replica
from graft.replica.state import Merge
from graft.replica.view import View
from graft.sync.versions import Version
from metastore.lineage import Lineage
from metastore.lsn import BEFORE_FIRST, LSN


def merge_attributes(view: View) -> dict[str, bytes]:
    """Return what the next commit says of the merges among the local commits."""
    merges = view.state.merges
    if not merges:
        return {}
    joined = ",".join(merge.parents for merge in merges)
    found = {MERGED: f"[{joined}]".encode()}
    if known := merged_here(view):
        found[MERGED_UP_TO] = json.dumps(known).encode()
    return found


def merged_here(view: View) -> dict[str, int]:
    """Return up to which LSN of which other logs the replica has the changes, local commits included."""
    known = dict(merged_up_to(view.state.chain[0].commit)) if view.state.chain else {}
    for merge in view.state.merges:
        parents = json.loads(merge.parents)
        if "log" in parents:
            known[parents["log"]] = max(parents["lsn"], known.get(parents["log"], 0))
    return known


def merge_base(replica: Replica, other: Version) -> Version:
    """Return the newest version whose changes both the replica and another version have.

    The version at which their branches parted, or the one up to which the other was merged here. Raises `BadRequest`
    for a version of a volume that has no version in common with the replica's.
    """
    view = replica.view()
    lsn = _parted(view.state.identity.lineage, view.state.lsn, other.lineage, other.lsn)
    lsn = max(lsn, min(merged_here(view).get(str(other.log), 0), other.lsn))
    if lsn == BEFORE_FIRST:
        raise BadRequest(
            f"volume {replica.name} has no version in common with log {other.log}: only branches of one volume can be "
            "merged"
        )
    return Version(other.lineage, LSN(lsn))


def _parted(mine: Lineage, my_lsn: int, theirs: Lineage, their_lsn: int) -> int:
    """Return the newest LSN up to which two histories are the same one, 0 if there is none."""
    newest = min(my_lsn, their_lsn)
    ends = {newest, *(parent.lsn for parent in (*mine.earlier, *theirs.earlier) if parent.lsn < newest)}
    return max((lsn for lsn in ends if lsn and mine.log_of(lsn) == theirs.log_of(lsn)), default=BEFORE_FIRST)


def note_merge(replica: Replica, local_lsn: int, parents: Mapping[str, object]) -> None:
    """Store which version a local commit merged, for the push of it; without this, later merges find more conflicts."""
    with replica.sync_lock.held(replica.settings.lock_timeout_s, replica.runtime):
        replica.shared.begin_state()
        replica.state.note_merge(Merge(local_lsn, json.dumps(dict(parents))))
        replica.state_changed()
