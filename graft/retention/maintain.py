"""Maintenance: scattered or mostly dead volumes are compacted, and what no version needs any more is collected.

for each volume: its page lists → worth a compaction? → compact → … then one collection of the remote

Deciding looks at page lists alone. A compaction that loses to a push changes nothing; the next run tries again.
"""

import contextlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from graft.building.fragmentation import fragmentation, scattered_pages
from graft.building.segment_builder import Layout
from graft.errors import (
    BadRequest,
    Diverged,
    GraftError,
    RemoteRefused,
    RemoteUnavailable,
    remote_errors,
)
from graft.operations.compact import CompactResult, compact
from graft.remote.address import RemoteAddress, parse_remote
from graft.remote.remote import Remote, opened_remote
from graft.replica.replica import Replica
from graft.retention.collect import CollectResult, Progress, collect_in, retention
from graft.retention.listing import Listed, list_segments
from graft.retention.marking import Marks
from graft.retention.policy import Retention
from graft.retention.reach import mark
from graft.retention.survey import survey
from graft.settings import Settings
from graft.sync.clone import clone
from metastore.volumes import list_volumes
from pagestore.ids import SegmentId
from pagestore.objectstore import ObjectStore
from pagestore.runtime import SYSTEM, Runtime

FRAMES_FACTOR = 3
"""A volume over this many times the frames that its pages need is compacted."""
DEAD_PART_MAX = 0.25
"""So is one of whose segments more than this part is frames that no retained version reads."""
SEGMENTS_MAX = 64
"""Scattered pages are brought together where the newest version lies in more segments than this."""
_FRAMES_MIN = 16
_STORED_BYTES_MIN = 64 * 1024
"""Smaller volumes are read in a few requests however they lie, and take no space to speak of."""

Work = Literal["compact", "consolidate", "leave"]


@dataclass(frozen=True, slots=True)
class Condition:
    """How a volume lies in its remote."""

    frames: int
    frames_needed: int
    segments: int
    scattered: bool
    """Whether bringing scattered pages together would pay."""
    stored_bytes: int
    """Of the segment objects that retained versions read."""
    live_bytes: int
    """Of the frames in them that any of these versions reads."""

    @property
    def dead_part(self) -> float:
        """Which part of the segments no version reads."""
        return 1 - self.live_bytes / self.stored_bytes if self.stored_bytes else 0.0


@dataclass(frozen=True, slots=True)
class VolumeMaintained:
    """What maintenance did about one volume."""

    name: str
    work: Work
    done: CompactResult | None
    """None where nothing was to be done, or it was a dry run, or it failed."""
    problem: str | None
    """Why the volume was left as it was, though there was work."""


@dataclass(frozen=True, slots=True)
class MaintainResult:
    """What maintenance did, or would do."""

    dry_run: bool
    volumes: tuple[VolumeMaintained, ...]
    collected: CollectResult


def maintain(
    remote: str | os.PathLike[str] | RemoteAddress,
    *,
    keep_last: int | None = None,
    keep_for_s: float | None = None,
    grace_s: float | None = None,
    dry_run: bool = False,
    layout: Layout | None = None,
    store: ObjectStore | None = None,
    settings: Settings | None = None,
    runtime: Runtime = SYSTEM,
    progress: Progress | None = None,
) -> MaintainResult:
    """Compact the volumes of a remote that need it, and then collect as `graft.collect` does.

    An address with a volume's name is about this volume alone. What goes wrong with one volume is told, and leaves the
    others alone; `RemoteUnavailable` and `RemoteRefused` are raised, and so is what the collection raises.
    """
    settings = settings or Settings()
    policy = retention(settings, keep_last, keep_for_s, grace_s)
    address = parse_remote(remote)
    with opened_remote(address.store_url, store=store, settings=settings, runtime=runtime) as opened:
        with remote_errors(f"listing the volumes of {address.store_url}"):
            names = list_volumes(opened.store)
        if address.volume is not None:
            if address.volume not in names:
                raise BadRequest(f"no volume named {address.volume} in {address.store_url}")
            names = [address.volume]
        only = frozenset(names) if address.volume is not None else None
        surroundings = _Surroundings(opened, policy, only)
        volumes = tuple(
            _maintained(surroundings, RemoteAddress(address.store_url, name), layout, dry_run=dry_run) for name in names
        )
        return MaintainResult(
            dry_run, volumes, collect_in(opened, policy, only=only, dry_run=dry_run, progress=progress)
        )


def work_for(condition: Condition) -> Work:
    """Decide what a volume needs (pure)."""
    is_scattered = condition.frames >= _FRAMES_MIN and condition.frames > FRAMES_FACTOR * condition.frames_needed
    if is_scattered or (condition.stored_bytes >= _STORED_BYTES_MIN and condition.dead_part > DEAD_PART_MAX):
        return "compact"
    if condition.segments > SEGMENTS_MAX and condition.scattered:
        return "consolidate"
    return "leave"


class _Surroundings:
    """What deciding about each volume needs to know of the remote."""

    def __init__(self, remote: Remote, policy: Retention, only: frozenset[str] | None) -> None:
        self.remote = remote
        with remote_errors(f"looking at {remote.store.url}"):
            now_s = remote.runtime.now_s()
            self.segments = list_segments(remote.store, remote.parallel, now_s)
            self._found = survey(remote, policy, now_s, only=only)

    def marks(self, name: str) -> Marks:
        """Return what the versions of a volume need that will be retained."""
        record, found = self._found.volumes.get(name), self._found
        retained = found.retained.get(record.log) if record else None
        if record is None or retained is None:
            return Marks()
        with remote_errors(f"reading the versions of volume {name}"):
            return mark(self.remote.commits, self.remote.parallel, {record.log: retained}, found.names)


def _maintained(
    surroundings: _Surroundings, address: RemoteAddress, layout: Layout | None, *, dry_run: bool
) -> VolumeMaintained:
    name, remote = address.volume or "", surroundings.remote
    with tempfile.TemporaryDirectory(prefix="graft-maintain-") as workplace:
        try:
            replica = clone(
                Path(workplace) / "replica", address, store=remote.store, settings=remote.settings,
                runtime=remote.runtime,
            )  # fmt: skip
            with contextlib.closing(replica):
                work = work_for(condition_of(replica, surroundings.marks(name), surroundings.segments))
                if dry_run or work == "leave":
                    return VolumeMaintained(name, work, None, None)
                scattered_only = work == "consolidate"
                done = compact(replica, layout=layout, scattered_only=scattered_only, message=f"maintenance: {work}")
                return VolumeMaintained(name, work, done, None)
        except (RemoteUnavailable, RemoteRefused):
            raise
        except Diverged:
            return VolumeMaintained(name, "leave", None, "somebody pushed meanwhile; the next run tries again")
        except GraftError as error:
            return VolumeMaintained(name, "leave", None, str(error))


def condition_of(replica: Replica, marks: Marks, sizes: Mapping[SegmentId, Listed]) -> Condition:
    """Return how a volume lies in its remote: the page lists of its newest version, and what all versions read."""
    snapshot = replica.snapshot()
    found = fragmentation(snapshot, replica.settings.frame_bytes)
    stored = sum(sizes[segment].size for segment in marks.segments if segment in sizes)
    return Condition(
        frames=found.frames,
        frames_needed=found.frames_needed,
        segments=found.segments,
        scattered=bool(len(scattered_pages(snapshot, replica.settings.frame_bytes))),
        stored_bytes=stored,
        live_bytes=min(sum(marks.live_bytes.values()), stored),
    )
