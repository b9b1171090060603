"""Volumes: versioned arrays of pages in a bucket, with a replica in a local directory."""

from importlib import import_module
from typing import TYPE_CHECKING

from graft.errors import (
    BadRequest,
    BaseCollected,
    Corrupt,
    DiskFull,
    Diverged,
    GraftError,
    HistoryLost,
    LimitReached,
    LocalStorageError,
    MergeConflict,
    NoSuchVersion,
    NoSuchVolume,
    NotAReplica,
    OtherVolume,
    ReadOnly,
    RemoteRefused,
    RemoteUnavailable,
    ReplicaExists,
    StaleSnapshot,
    TagExists,
    TooStale,
    Unsupported,
    VersionCollected,
    VolumeExists,
    WriterBusy,
)
from graft.operations.compact import CompactResult, compact
from graft.operations.hydrate import hydrate
from graft.operations.log import log_entries
from graft.operations.metrics import Metric, metrics
from graft.operations.raw_file import open_file, open_snapshot
from graft.operations.status import audit, status
from graft.operations.transfer import export_file, import_file
from graft.operations.verify import verify
from graft.reading.snapshot import Snapshot
from graft.replica.directory import is_replica
from graft.replica.freshness import Freshness, freshness
from graft.replica.opening import open_replica
from graft.replica.replica import Replica
from graft.replica.transaction import WriteTransaction
from graft.settings import Durability, Settings
from graft.sync.branches import Branch, delete_branch, list_branches
from graft.sync.clone import clone, init
from graft.sync.commit import commit
from graft.sync.follow import Follower, poll_policy, watch
from graft.sync.fork import ForkResult, fork
from graft.sync.poll_schedule import PollPolicy
from graft.sync.pull import fetch, pull
from graft.sync.retried_push import push
from graft.sync.set_remote import RemoteSet, set_remote
from graft.sync.staleness import refresh, wait_for
from graft.sync.switch import SwitchResult, switch
from graft.sync.tags import Tag, delete_tag, list_tags, tag
from graft.sync.time_travel import snapshot_at

if TYPE_CHECKING:
    from graft.retention.collect import CollectResult, collect
    from graft.retention.copying import CopyResult, copy_volume
    from graft.retention.maintain import MaintainResult, maintain
    from graft.retention.pinning import Pin, pin
    from graft.retention.remove import remove_volume, rename_volume
    from graft.retention.restore import RestoreResult, restore
    from graft.retention.usage import storage_use, volume_details

__all__ = [
    "BadRequest",
    "BaseCollected",
    "Branch",
    "CollectResult",
    "CompactResult",
    "CopyResult",
    "Corrupt",
    "DiskFull",
    "Diverged",
    "Durability",
    "Follower",
    "ForkResult",
    "Freshness",
    "GraftError",
    "HistoryLost",
    "LimitReached",
    "LocalStorageError",
    "MaintainResult",
    "MergeConflict",
    "Metric",
    "NoSuchVersion",
    "NoSuchVolume",
    "NotAReplica",
    "OtherVolume",
    "Pin",
    "PollPolicy",
    "ReadOnly",
    "RemoteRefused",
    "RemoteSet",
    "RemoteUnavailable",
    "Replica",
    "ReplicaExists",
    "RestoreResult",
    "Settings",
    "Snapshot",
    "StaleSnapshot",
    "SwitchResult",
    "Tag",
    "TagExists",
    "TooStale",
    "Unsupported",
    "VersionCollected",
    "VolumeExists",
    "WriteTransaction",
    "WriterBusy",
    "audit",
    "clone",
    "collect",
    "commit",
    "compact",
    "copy_volume",
    "delete_branch",
    "delete_tag",
    "export_file",
    "fetch",
    "fork",
    "freshness",
    "hydrate",
    "import_file",
    "init",
    "is_replica",
    "list_branches",
    "list_tags",
    "log_entries",
    "maintain",
    "metrics",
    "open_file",
    "open_replica",
    "open_snapshot",
    "pin",
    "poll_policy",
    "pull",
    "push",
    "refresh",
    "remove_volume",
    "rename_volume",
    "restore",
    "set_remote",
    "snapshot_at",
    "status",
    "storage_use",
    "switch",
    "tag",
    "verify",
    "volume_details",
    "wait_for",
    "watch",
]

_RETENTION = {
    "CollectResult": "collect",
    "CopyResult": "copying",
    "MaintainResult": "maintain",
    "Pin": "pinning",
    "RestoreResult": "restore",
    "collect": "collect",
    "copy_volume": "copying",
    "maintain": "maintain",
    "pin": "pinning",
    "remove_volume": "remove",
    "rename_volume": "remove",
    "restore": "restore",
    "storage_use": "usage",
    "volume_details": "usage",
}
"""Names of `graft.retention` by module: imported when they are first used, since most programs never do."""


def __getattr__(name: str) -> object:
    if name not in _RETENTION:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"graft.retention.{_RETENTION[name]}"), name)
