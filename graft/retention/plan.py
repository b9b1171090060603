"""The plan of a collection: what goes, what stays and why (pure)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from graft.retention.listing import Listed, LogListing
from graft.retention.marking import Marks
from graft.retention.policy import FENCE_S, Retention
from metastore.collected import Remaining
from metastore.ids import LogId
from metastore.lsn import LSN
from metastore.pins import FoundPin
from metastore.placement import commit_key
from metastore.tombstone import TOMBSTONE_BYTES
from pagestore.ids import SegmentId
from pagestore.objectstore import UnfinishedUpload
from pagestore.segments.fetch_plan import segment_key


@dataclass(frozen=True, slots=True)
class Item:
    """An object that goes or stays."""

    key: str
    bytes: int
    why: str


@dataclass(slots=True)
class Plan:
    """What a collection does."""

    segments: list[Item] = field(default_factory=list)
    """Segment objects to delete."""
    commits: list[tuple[LogId, LSN, Item]] = field(default_factory=list)
    """Commits to replace by tombstones."""
    tombstones: list[Item] = field(default_factory=list)
    """Tombstones, and objects of logs that nobody finished making, to delete."""
    uploads: list[tuple[UnfinishedUpload, Item]] = field(default_factory=list)
    """Uploads to abort."""
    pins: list[Item] = field(default_factory=list)
    """Pins that have expired."""
    kept: list[Item] = field(default_factory=list)

    @property
    def going(self) -> list[Item]:
        """All that goes."""
        return [
            *self.segments,
            *(item for _, _, item in self.commits),
            *self.tombstones,
            *(item for _, item in self.uploads),
            *self.pins,
        ]

    @property
    def freed_bytes(self) -> int:
        """How many bytes the store has less afterwards."""
        return sum(item.bytes for item in self.going) - TOMBSTONE_BYTES * len(self.commits)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is known of the store besides its logs."""

    now_s: float
    """Seconds since the Unix epoch, by the store's own clock."""
    segments: Mapping[SegmentId, Listed]
    uploads: Iterable[UnfinishedUpload]
    pins: Iterable[FoundPin]
    first_lsns: Mapping[LogId, LSN]
    """The first LSN of each log that a volume owns."""
    abandoned: frozenset[LogId]
    """Logs of forks that were given up before they had a name."""
    unread: frozenset[LogId]
    """Logs of which everything stays, for nobody knows what they are."""


def plan_commits(
    plan: Plan, logs: Mapping[LogId, LogListing], left: Mapping[LogId, Remaining], marks: Marks, around: Surroundings
) -> None:
    """Decide about the objects of all logs; ``left`` says which versions remain of each."""
    for log, found in logs.items():
        if log in around.abandoned:
            _abandon(plan, found)
            continue
        remaining = left.get(log)
        for lsn, listed in sorted(found.commits.items()):
            key = commit_key(log, lsn)
            why = marks.objects.get((log, lsn))
            if why is None and log in around.unread:
                why = "no volume's name stands for its log"
            if why is None and not found.is_closed and (remaining is None or lsn >= remaining.floor):
                why = "newer than what was listed"
            if why is None:
                plan.commits.append((log, lsn, Item(key, listed.size, _why_collected(found))))
            else:
                plan.kept.append(Item(key, listed.size, why))
        _plan_tombstones(plan, found, around)


def _why_collected(found: LogListing) -> str:
    return "its volume was removed" if found.is_closed else "no retained version needs it"


def _abandon(plan: Plan, found: LogListing) -> None:
    for lsn, listed in {**found.commits, **found.tombstones}.items():
        plan.tombstones.append(Item(commit_key(found.log, lsn), listed.size, "of a fork that never got its name"))
    for key, listed in found.records.items():
        plan.tombstones.append(Item(key, listed.size, "of a fork that never got its name"))


def _plan_tombstones(plan: Plan, found: LogListing, around: Surroundings) -> None:
    """Delete tombstones on which no append can land any more.

    A writer appends at an LSN only within minutes of seeing the commit before it. So a tombstone may go once the place
    before it has held no commit for `FENCE_S`. The first of a log follows no commit, and stays.
    """
    if _is_gone(found, around):
        plan.tombstones.extend(
            Item(commit_key(found.log, lsn), listed.size, "of a removed volume")
            for lsn, listed in found.tombstones.items()
        )
        plan.tombstones.extend(Item(key, listed.size, "of a removed volume") for key, listed in found.records.items())
        return
    first = around.first_lsns.get(found.log, LSN(1))
    before_s = around.now_s - FENCE_S

    def is_old(lsn: int) -> bool:
        listed = found.tombstones.get(LSN(lsn))
        return listed is None or listed.modified_s < before_s

    for lsn, listed in sorted(found.tombstones.items()):
        parent = LSN(lsn - 1)
        key = commit_key(found.log, lsn)
        if lsn == first:
            plan.kept.append(Item(key, listed.size, "tombstone of a log's first commit"))
        elif parent in found.commits:
            plan.kept.append(Item(key, listed.size, f"tombstone beside commit {parent}, which stays"))
        elif is_old(lsn) and is_old(parent):
            plan.tombstones.append(Item(key, listed.size, "tombstone that no append can reach any more"))
        else:
            plan.kept.append(Item(key, listed.size, f"tombstone, until it is {FENCE_S / 3600:g} hours old"))


def _is_gone(found: LogListing, around: Surroundings) -> bool:
    """Whether nobody can append to a removed volume's log any more, nor needs anything of it."""
    named = found.log in around.first_lsns
    return found.is_closed and not found.commits and not named and found.youngest_s < around.now_s - FENCE_S


def plan_segments(
    plan: Plan, marks: Marks, named: Mapping[SegmentId, str], policy: Retention, around: Surroundings
) -> None:
    """Decide about segments: ``named`` are those that only commits name that go, with the reason."""
    for segment, listed in sorted(around.segments.items()):
        item = Item(segment_key(segment), listed.size, "")
        if segment in marks.segments:
            plan.kept.append(Item(item.key, item.bytes, marks.segments[segment]))
        elif segment in named:
            plan.segments.append(Item(item.key, item.bytes, named[segment]))
        elif listed.modified_s <= around.now_s - policy.grace_s:
            plan.segments.append(Item(item.key, item.bytes, "no commit names it"))
        else:
            plan.kept.append(Item(item.key, item.bytes, "no commit names it yet; a push may be under way"))


def plan_others(plan: Plan, policy: Retention, around: Surroundings) -> None:
    """Decide about unfinished uploads and pins."""
    for upload in around.uploads:
        if upload.begun_s <= around.now_s - policy.grace_s:
            plan.uploads.append((upload, Item(upload.key, 0, "an upload that nobody finished")))
        else:
            plan.kept.append(Item(upload.key, 0, "an upload that may be under way"))
    for found in around.pins:
        if found.expires_s <= around.now_s:
            plan.pins.append(Item(found.pin.key, 0, "a pin that has expired"))
        else:
            plan.kept.append(Item(found.pin.key, 0, f"pins LSN {found.pin.lsn}"))


def young_unmarked(marks: Marks, policy: Retention, around: Surroundings) -> float | None:
    """Return when the oldest segment was written that nothing retained names and that is too young to go as an orphan.

    None if there is none. Only commits that are no older can be the ones that name it.
    """
    times = [
        listed.modified_s
        for segment, listed in around.segments.items()
        if segment not in marks.segments and listed.modified_s > around.now_s - policy.grace_s
    ]
    return min(times, default=None)
