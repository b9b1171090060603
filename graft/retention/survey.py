"""A survey: what a remote holds, who owns it, and which versions stay; reads, and decides nothing else."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from graft.errors import NoSuchVolume
from graft.remote.landmarks import PARENT
from graft.remote.remote import Remote
from graft.retention.listing import LogListing, list_logs
from graft.retention.policy import Retention
from graft.retention.versions import RetainedVersions, retained_versions
from metastore.collected import Remaining
from metastore.commit import CommitKind
from metastore.errors import MetaStoreError
from metastore.ids import LogId
from metastore.index import read_index
from metastore.lsn import LSN
from metastore.pins import FoundPin, all_pins
from metastore.tags import all_tags, delete_tag, list_tags
from metastore.volumes import VolumeRecord, all_volumes, delete_volume
from pagestore.objectstore import ObjectStore


@dataclass(frozen=True, slots=True)
class Survey:
    """One look at a remote."""

    volumes: Mapping[str, VolumeRecord]
    logs: Mapping[LogId, LogListing]
    pins: tuple[FoundPin, ...]
    retained: Mapping[LogId, RetainedVersions]
    abandoned: frozenset[LogId]
    unread: frozenset[LogId]

    @property
    def names(self) -> dict[LogId, str]:
        """The volume that each log belongs to."""
        return {record.log: name for name, record in self.volumes.items()}

    @property
    def first_lsns(self) -> dict[LogId, LSN]:
        """The first LSN of each volume's log."""
        return {record.log: LSN(record.lineage.start + 1) for record in self.volumes.values()}

    @property
    def half_removed(self) -> dict[str, VolumeRecord]:
        """The volumes whose log was closed, and whose name is still there."""
        return {
            name: record
            for name, record in self.volumes.items()
            if record.log in self.logs and self.logs[record.log].is_closed
        }

    def left(self) -> dict[LogId, Remaining]:
        """Return which versions of each log remain."""
        return {log: versions.remaining for log, versions in self.retained.items()}


def survey(
    remote: Remote,
    policy: Retention,
    now_s: float,
    *,
    only: frozenset[str] | None = None,
    earlier: Survey | None = None,
) -> Survey:
    """Look at all volumes, tags, pins and logs, in this order; ``policy`` is for the volumes ``only``, or for all.

    With an ``earlier`` survey, which was announced since, nothing more is given up than it gave up, and what became a
    root before the announcement stays too.
    """
    store, parallel = remote.store, remote.parallel
    volumes = all_volumes(store, parallel)
    if missing := (only or frozenset()) - volumes.keys():
        raise NoSuchVolume(f"no volume named {min(missing)} in {store.url}")
    roots = _roots(remote, volumes)
    pins = tuple(all_pins(store))
    for pin in pins:
        if pin.expires_s > now_s:
            roots[pin.pin.log].setdefault(pin.pin.lsn, f"pinned until {_moment(pin.expires_s)}")
    logs = list_logs(store, parallel)
    names = {record.log: name for name, record in volumes.items()}
    retained: dict[LogId, RetainedVersions] = {}
    for log, found in logs.items():
        name = names.get(log)
        applies = policy if name is not None and (only is None or name in only) and earlier is None else None
        before = earlier.logs.get(log) if earlier else None
        versions = retained_versions(
            found, applies, roots.get(log, {}), now_s, name or f"log {log}", (before or found).remaining
        )
        if versions is not None:
            retained[log] = _with_reasons(versions, earlier.retained.get(log) if earlier else None)
    unnamed = {log for log, found in logs.items() if log not in names and not found.is_closed}
    abandoned = frozenset(
        log for log in unnamed if logs[log].youngest_s <= now_s - policy.grace_s and _is_fork(remote, logs[log])
    )
    retained = {log: versions for log, versions in retained.items() if log not in abandoned}
    return Survey(volumes, logs, pins, retained, abandoned, frozenset(unnamed - abandoned))


def _roots(remote: Remote, volumes: Mapping[str, VolumeRecord]) -> defaultdict[LogId, dict[LSN, str]]:
    """Return the versions that tags and branches need, with the reason."""
    roots: defaultdict[LogId, dict[LSN, str]] = defaultdict(dict)
    by_id = {record.volume: name for name, record in volumes.items()}
    for (volume, tag), record in all_tags(remote.store, remote.parallel).items():
        owner = by_id.get(volume)
        if owner is not None:
            roots[record.log][record.lsn] = f"tag {tag} of {owner}"
    for name, volume_record in volumes.items():
        for parent in volume_record.earlier[:1]:
            roots[parent.log].setdefault(parent.lsn, f"branch {name} begins there")
    return roots


def forget(store: ObjectStore, name: str, record: VolumeRecord) -> None:
    """Delete the name of a volume that was removed, and its tags."""
    delete_volume(store, name)
    for tag in list_tags(store, record.volume):
        delete_tag(store, record.volume, tag)


def _with_reasons(versions: RetainedVersions, earlier: RetainedVersions | None) -> RetainedVersions:
    if earlier is None:
        return versions
    reasons = {lsn: earlier.reasons.get(lsn, why) for lsn, why in versions.reasons.items()}
    return RetainedVersions(versions.floor, versions.head, reasons)


def _is_fork(remote: Remote, found: LogListing) -> bool:
    """Whether a log without a name is one that a fork began."""
    first = min(found.commits, default=None)
    if first is None:
        return False
    try:
        commit = read_index(remote.commits, found.log, first).commit
    except MetaStoreError:
        return False
    return commit.kind is CommitKind.FORK or PARENT in commit.attributes


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
