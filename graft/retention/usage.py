"""What the volumes of a remote are, and what takes the space in it."""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from graft.errors import BadRequest, remote_errors
from graft.remote.address import RemoteAddress, parse_remote
from graft.remote.remote import Remote, opened_remote
from graft.retention.collect import retention
from graft.retention.listing import list_segments
from graft.retention.marking import Marks
from graft.retention.reach import mark
from graft.retention.survey import Survey, survey
from graft.retention.versions import RetainedVersions
from graft.settings import Settings
from metastore.commit import Commit
from metastore.errors import MetaStoreError
from metastore.index import read_index
from metastore.placement import commit_key
from metastore.volumes import VolumeRecord
from pagestore.objectstore import ObjectStore
from pagestore.runtime import SYSTEM, Runtime


@dataclass(frozen=True, slots=True)
class VolumeInfo:
    """One volume of a remote."""

    name: str
    state: str
    """``ok``, or what is wrong with it."""
    head: int
    """The newest LSN."""
    byte_size: int
    """Of the newest version."""
    page_size: int
    created_us: int
    """Microseconds since the Unix epoch, by the clock of the replica that made it."""
    changed_us: int | None
    """The time of the newest commit; None if there is none."""
    versions: int
    """How many can be read."""
    parent: str | None
    """The volume and LSN that it was forked from."""
    forks: tuple[str, ...]
    """Volumes that were forked from it."""


@dataclass(frozen=True, slots=True)
class VolumeUsage:
    """The bytes that one volume takes in a remote."""

    name: str
    bytes: int
    """Of all objects that its versions need."""
    exclusive_bytes: int
    """Of those that no other volume needs: what removing it would free."""
    newest_bytes: int
    """Of the objects that its newest version needs."""
    history_bytes: int
    """Of those that only older versions need."""
    objects: int
    versions: int


@dataclass(frozen=True, slots=True)
class Usage:
    """The bytes that a remote takes."""

    volumes: tuple[VolumeUsage, ...]
    bytes: int
    """Of all objects of the remote's logs, segments, names, tags and pins."""
    unneeded_bytes: int
    """Of segments and commits that no version needs: what graft gc would look at."""
    dead_bytes: int
    """Of frames in needed segments that no version reads: what a compaction and then a collection would free."""


def volume_details(
    remote: str | os.PathLike[str] | RemoteAddress,
    *,
    store: ObjectStore | None = None,
    settings: Settings | None = None,
    runtime: Runtime = SYSTEM,
) -> list[VolumeInfo]:
    """Return what each volume of a remote is, by name: two requests a volume, and the listings of their logs."""
    address = parse_remote(remote)
    with (
        opened_remote(address.store_url, store=store, settings=settings, runtime=runtime) as opened,
        remote_errors(f"looking at the volumes of {address.store_url}"),
    ):
        found = _look(opened)
        names = [name for name in sorted(found.volumes) if address.volume in {None, name}]
        heads = opened.parallel.map(lambda name: _head(opened, found, found.volumes[name]), names)
        return [_info(found, name, head) for name, head in zip(names, heads, strict=True)]


def storage_use(
    remote: str | os.PathLike[str] | RemoteAddress,
    *,
    store: ObjectStore | None = None,
    settings: Settings | None = None,
    runtime: Runtime = SYSTEM,
) -> Usage:
    """Return how many bytes each volume takes, and what nobody needs; reads the index of every version.

    With the address of one volume, only that one is told. Raises `BadRequest` for a volume that is not there.
    """
    address = parse_remote(remote)
    with (
        opened_remote(address.store_url, store=store, settings=settings, runtime=runtime) as opened,
        remote_errors(f"measuring {address.store_url}"),
    ):
        return _usage(opened, address.volume)


def _look(remote: Remote) -> Survey:
    return survey(remote, retention(remote.settings, None, None, None), remote.runtime.now_s(), only=frozenset())


def _head(remote: Remote, found: Survey, record: VolumeRecord) -> Commit | str | None:
    """Return the newest commit; what is wrong where it cannot be read; None if there is none."""
    listing = found.logs.get(record.log)
    if listing is not None and listing.is_closed:
        return "half removed: graft rm or graft gc goes on"
    head = listing.head if listing else None
    try:
        if head is not None:
            return read_index(remote.commits, record.log, head).commit
        if record.earlier:
            return read_index(remote.commits, record.earlier[0].log, record.earlier[0].lsn).commit
    except MetaStoreError as error:
        return f"damaged: {error}"
    return None


def _info(found: Survey, name: str, head: Commit | str | None) -> VolumeInfo:
    record = found.volumes[name]
    by_id = {theirs.volume: other for other, theirs in found.volumes.items()}
    parent = record.parent
    commit = head if isinstance(head, Commit) else None
    retained = found.retained.get(record.log)
    return VolumeInfo(
        name=name,
        state=head if isinstance(head, str) else "ok",
        head=commit.lsn if commit else 0,
        byte_size=commit.byte_size if commit else 0,
        page_size=record.page_size,
        created_us=record.created_us,
        changed_us=commit.timestamp_us if commit else None,
        versions=len(retained.reasons) if retained else 0,
        parent=f"{by_id.get(parent.volume, str(parent.volume))}@{parent.lsn}" if parent else None,
        forks=tuple(
            sorted(
                other
                for other, theirs in found.volumes.items()
                if theirs.parent is not None and theirs.parent.volume == record.volume
            )
        ),
    )


def _usage(remote: Remote, only: str | None) -> Usage:
    store = remote.store
    segments = list_segments(store, remote.parallel, remote.runtime.now_s())
    found = _look(remote)
    if only is not None and only not in found.volumes:
        raise BadRequest(f"no volume named {only} in {store.url}")
    sizes = {f"segments/{segment}": listed.size for segment, listed in segments.items()}
    by_volume: dict[str, dict[str, int]] = {}
    newest: dict[str, int] = {}
    together = Marks()
    for name, record in found.volumes.items():
        retained = found.retained.get(record.log)
        if retained is None:
            by_volume[name], newest[name] = {}, 0
            continue
        marks = mark(remote.commits, remote.parallel, {record.log: retained}, found.names)
        by_volume[name] = _objects(found, sizes, marks)
        head_only = RetainedVersions(retained.head, retained.head, {retained.head: "newest"})
        newest[name] = sum(
            _objects(found, sizes, mark(remote.commits, remote.parallel, {record.log: head_only}, found.names)).values()
        )
        together.take_in(marks)
    owners = Counter(key for objects in by_volume.values() for key in objects)
    everything = _all_sizes(store)
    prefixes = ("segments/", "logs/")
    return Usage(
        volumes=tuple(
            _volume_usage(found, name, objects, owners, newest[name])
            for name, objects in sorted(by_volume.items())
            if only in {None, name}
        ),
        bytes=sum(everything.values()),
        unneeded_bytes=sum(size for key, size in everything.items() if key.startswith(prefixes) and key not in owners),
        dead_bytes=sum(
            max(0, segments[segment].size - live)
            for segment, live in together.live_bytes.items()
            if segment in segments
        ),
    )


def _objects(found: Survey, sizes: Mapping[str, int], marks: Marks) -> dict[str, int]:
    """Return the objects that marks name, with their sizes."""
    objects = {f"segments/{segment}": sizes.get(f"segments/{segment}", 0) for segment in marks.segments}
    for log, lsn in marks.objects:
        listed = found.logs[log].commits.get(lsn) if log in found.logs else None
        objects[commit_key(log, lsn)] = listed.size if listed else 0
    return objects


def _all_sizes(store: ObjectStore) -> dict[str, int]:
    return {
        info.key: info.size
        for prefix in ("volumes/", "tags/", "logs/", "segments/", "pins/")
        for info in store.list(prefix)
    }


def _volume_usage(
    found: Survey, name: str, objects: Mapping[str, int], owners: Counter[str], newest_bytes: int
) -> VolumeUsage:
    total = sum(objects.values())
    retained = found.retained.get(found.volumes[name].log)
    return VolumeUsage(
        name=name,
        bytes=total,
        exclusive_bytes=sum(size for key, size in objects.items() if owners[key] == 1),
        newest_bytes=newest_bytes,
        history_bytes=total - newest_bytes,
        objects=len(objects),
        versions=len(retained.reasons) if retained else 0,
    )
