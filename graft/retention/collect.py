"""Garbage collection: what no retained version needs leaves the remote (docs/adr/0027-retention-and-collection.md).

survey → announce → survey again → mark → plan → delete segments → bury commits → delete old tombstones

A collection that dies at any point left the retained versions as they were; the next one goes on. Two at once are
safe: what each announces is respected by the other, and what both delete is deleted once.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from graft.errors import remote_errors
from graft.failpoints import failpoint
from graft.remote.address import RemoteAddress, parse_remote
from graft.remote.remote import Remote, opened_remote
from graft.retention.listing import list_segments
from graft.retention.marking import Marks
from graft.retention.plan import (
    Item,
    Plan,
    Surroundings,
    plan_commits,
    plan_others,
    plan_segments,
    young_unmarked,
)
from graft.retention.policy import Retention
from graft.retention.reach import mark
from graft.retention.store_clock import store_now_s
from graft.retention.survey import Survey, forget, survey
from graft.retention.throttle import Throttle
from graft.settings import Settings
from metastore.collected import Remaining, write_record
from metastore.errors import CommitMissing, CorruptCommit, UnsupportedCommit
from metastore.ids import LogId
from metastore.index import read_index
from metastore.lsn import LSN
from metastore.placement import OwnObject, commit_key
from metastore.tombstone import encode_tombstone, of_damaged, tombstone_of
from metastore.volumes import VolumeRecord
from pagestore.ids import SegmentId
from pagestore.keys import LIST_PAGE_KEYS
from pagestore.objectstore import ObjectStore
from pagestore.runtime import SYSTEM, Runtime

Progress = Callable[[int, int], None]
Each = TypeVar("Each")
_BURIED_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class KeptFor:
    """Objects that stay for one reason."""

    why: str
    objects: int
    bytes: int


@dataclass(frozen=True, slots=True)
class VolumeVersions:
    """What a collection leaves of one volume."""

    name: str
    head: int
    floor: int
    """The oldest version of the window; all newer ones are there too."""
    older: tuple[int, ...]
    """Versions below the window that something needs."""
    collected_commits: int
    """Commits that this collection removed."""


@dataclass(frozen=True, slots=True)
class CollectResult:
    """What a collection did, or would do."""

    dry_run: bool
    volumes: tuple[VolumeVersions, ...]
    segments: int
    """Segment objects that were deleted."""
    commits: int
    """Commits that were replaced by tombstones of a few bytes."""
    tombstones: int
    """Old tombstones, and objects of unfinished forks, that were deleted."""
    uploads: int
    """Unfinished uploads that were aborted."""
    freed_bytes: int
    kept_objects: int
    kept_bytes: int
    live_bytes: int
    """Of the segments that stay, the bytes of frames that a retained version reads."""
    going: tuple[Item, ...]
    """Each object that goes, with the reason."""
    kept: tuple[Item, ...]
    """Each object that stays, with the reason."""

    @property
    def dead_bytes(self) -> int:
        """Of the segments that stay, the bytes of frames that no retained version reads."""
        return max(0, sum(item.bytes for item in self.kept if item.key.startswith("segments/")) - self.live_bytes)

    @property
    def kept_for(self) -> tuple[KeptFor, ...]:
        """What stays by reason, the most bytes first."""
        objects: Counter[str] = Counter()
        sizes: Counter[str] = Counter()
        for item in self.kept:
            objects[item.why] += 1
            sizes[item.why] += item.bytes
        return tuple(KeptFor(why, objects[why], count) for why, count in sizes.most_common())


def collect(
    remote: str | os.PathLike[str] | RemoteAddress,
    *,
    keep_last: int | None = None,
    keep_for_s: float | None = None,
    grace_s: float | None = None,
    dry_run: bool = False,
    store: ObjectStore | None = None,
    settings: Settings | None = None,
    runtime: Runtime = SYSTEM,
    progress: Progress | None = None,
) -> CollectResult:
    """Remove from a remote what no retained version of any of its volumes needs.

    An address with a volume's name applies the rules to this volume alone; all others keep what they have. A version
    stays if it is among the newest ``keep_last``, if it was the newest at some time in the last ``keep_for_s`` seconds,
    or if a tag, a branch or a pin needs it; without either rule, the settings' rules apply. The newest version
    always stays. ``dry_run`` changes nothing. Progress counts objects.

    Raises `BadRequest`, `NoSuchVolume`, `RemoteRefused` where the credentials may not delete (the next collection goes
    on), and `HistoryLost` or `Corrupt` before anything is deleted where a retained version cannot be read.
    """
    settings = settings or Settings()
    policy = retention(settings, keep_last, keep_for_s, grace_s)
    address = parse_remote(remote)
    with opened_remote(address.store_url, store=store, settings=settings, runtime=runtime) as opened:
        return collect_in(
            opened,
            policy,
            only=frozenset((address.volume,)) if address.volume else None,
            dry_run=dry_run,
            progress=progress,
        )


def retention(settings: Settings, keep_last: int | None, keep_for_s: float | None, grace_s: float | None) -> Retention:
    """Return the policy that was asked for, or that of the settings."""
    if keep_last is None and keep_for_s is None:
        keep_last, keep_for_s = settings.keep_last, settings.keep_for_s
    return Retention(keep_last, keep_for_s, settings.gc_grace_s if grace_s is None else grace_s)


def collect_in(
    remote: Remote,
    policy: Retention,
    *,
    only: frozenset[str] | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> CollectResult:
    """See `collect`; the policy is for the volumes ``only``, or for all."""
    store = remote.store
    with remote_errors(f"collecting in {store.url}"):
        now_s = store_now_s(store, remote.runtime, may_guess=dry_run)
        segments = list_segments(
            store, remote.parallel, now_s
        )  # before the logs: a commit is younger than its segments
        uploads = list(store.unfinished_uploads("segments/"))
        found = survey(remote, policy, now_s, only=only)
        if not dry_run:
            _announce(store, found)
            failpoint("gc: after announcement")
            found = survey(remote, policy, now_s, only=only, earlier=found)
            _announce(store, found)  # what became a root before the announcement
        found, marks = _marked(remote, found, lambda: survey(remote, policy, now_s, only=only, earlier=found))
        around = Surroundings(now_s, segments, uploads, found.pins, found.first_lsns, found.abandoned, found.unread)
        plan = Plan()
        plan_commits(plan, found.logs, found.left(), marks, around)
        named = _named_by_going(remote, plan, found, young_unmarked(marks, policy, around))
        plan_segments(plan, marks, named, policy, around)
        plan_others(plan, policy, around)
        if not dry_run:
            _execute(remote, plan, found.half_removed, progress)
        return _result(plan, found, marks, dry_run=dry_run)


def _marked(remote: Remote, found: Survey, look_again: Callable[[], Survey]) -> tuple[Survey, Marks]:
    """Mark what the retained versions need, less what another collector has given up since the survey."""
    while True:
        try:
            return found, mark(remote.commits, remote.parallel, found.retained, found.names)
        except CorruptCommit:
            now = look_again()
            if now.left() == found.left():
                raise
            found = now


def _announce(store: ObjectStore, found: Survey) -> None:
    """Say which versions remain of each log that is about to lose some, or whose record said too little."""
    for log, versions in found.retained.items():
        listing, remaining = found.logs[log], versions.remaining
        if remaining == listing.remaining or (listing.remaining.is_whole and _is_all(remaining, listing.commits)):
            continue
        own = write_record(store, log, remaining)
        superseded = [key for key in listing.records if key != own]
        if superseded:
            store.delete_many(superseded)


def _is_all(remaining: Remaining, commits: Iterable[LSN]) -> bool:
    return remaining.floor <= min(commits, default=LSN(1))


def _named_by_going(remote: Remote, plan: Plan, found: Survey, since_s: float | None) -> dict[SegmentId, str]:
    """Return the segments that commits name that go, as far as those are young enough to matter."""
    if since_s is None:
        return {}
    going = [(log, lsn) for log, lsn, _ in plan.commits if found.logs[log].commits[lsn].modified_s >= since_s]
    named: dict[SegmentId, str] = {}

    def segments(each: tuple[LogId, LSN]) -> list[SegmentId]:
        try:
            table = read_index(remote.commits, *each).commit.segments
        except (CommitMissing, CorruptCommit, UnsupportedCommit):
            return []
        return [ref.segment for ref in table if isinstance(ref.home, OwnObject)]

    for (_, lsn), ids in zip(going, remote.parallel.map(segments, going), strict=True):
        for segment in ids:
            named.setdefault(segment, f"only collected versions need it, the first is LSN {lsn}")
    return named


def _execute(remote: Remote, plan: Plan, half_removed: Mapping[str, VolumeRecord], progress: Progress | None) -> None:
    """Carry a plan out, in an order in which each step may be the last one."""
    store, total = remote.store, len(plan.going)
    throttle = Throttle(remote.settings.gc_objects_per_s, remote.runtime)
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress:
            progress(done, total)

    for keys in _batches([item.key for item in plan.segments], LIST_PAGE_KEYS):
        throttle.take(len(keys))
        store.delete_many(keys)
        failpoint("gc: between segments")
        advance(len(keys))
    failpoint("gc: after segments")
    for batch in _batches([(log, lsn) for log, lsn, _ in plan.commits], _BURIED_AT_ONCE):
        throttle.take(len(batch))
        for _ in remote.parallel.map(lambda each: _bury(remote, *each), batch):
            advance(1)
        failpoint("gc: between tombstones")
    failpoint("gc: after tombstones")
    for keys in _batches([item.key for item in (*plan.tombstones, *plan.pins)], LIST_PAGE_KEYS):
        throttle.take(len(keys))
        store.delete_many(keys)
        advance(len(keys))
    for name, record in half_removed.items():
        forget(store, name, record)
    for upload, _ in plan.uploads:
        throttle.take(1)
        store.abort_upload(upload)
        advance(1)
    failpoint("gc: after deletion")


def _bury(remote: Remote, log: LogId, lsn: LSN) -> None:
    """Replace a commit by its tombstone; another collector may have done it."""
    try:
        tombstone = tombstone_of(read_index(remote.commits, log, lsn).commit)
    except CommitMissing:
        return
    except (CorruptCommit, UnsupportedCommit):
        tombstone = of_damaged(log, lsn)
    remote.store.put(commit_key(log, lsn), encode_tombstone(tombstone))


def _batches(items: Sequence[Each], size: int) -> Iterator[Sequence[Each]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _result(plan: Plan, found: Survey, marks: Marks, *, dry_run: bool) -> CollectResult:
    gone = Counter(log for log, _, _ in plan.commits)
    names = found.names
    volumes = tuple(
        VolumeVersions(names[log], versions.head, versions.floor, tuple(versions.older), gone[log])
        for log, versions in sorted(found.retained.items())
        if log in names
    )
    return CollectResult(
        dry_run=dry_run,
        volumes=volumes,
        segments=len(plan.segments),
        commits=len(plan.commits),
        tombstones=len(plan.tombstones),
        uploads=len(plan.uploads),
        freed_bytes=plan.freed_bytes,
        kept_objects=len(plan.kept),
        kept_bytes=sum(item.bytes for item in plan.kept),
        live_bytes=sum(marks.live_bytes.values()),
        going=tuple(plan.going),
        kept=tuple(plan.kept),
    )
