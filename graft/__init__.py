"""Volumes: versioned arrays of pages in a bucket, with a replica in a local directory."""

from graft.clone import clone, init
from graft.errors import GraftError
from graft.follow import Follower, poll_policy, watch
from graft.fork import fork
from graft.freshness import Freshness, freshness
from graft.hydrate import hydrate
from graft.log import log_entries
from graft.metrics import Metric, metrics
from graft.polling import PollPolicy
from graft.pull import fetch, pull
from graft.push import push
from graft.rawfile import open_file, open_snapshot
from graft.replica import Replica, is_replica, open_replica
from graft.settings import Durability, Settings
from graft.snapshot import Snapshot
from graft.status import audit, status
from graft.timetravel import snapshot_at
from graft.transaction import WriteTransaction
from graft.transfer import export_file, import_file
from graft.verify import verify
from graft.waiting import refresh, wait_for

__all__ = [
    "Durability",
    "Follower",
    "Freshness",
    "GraftError",
    "Metric",
    "PollPolicy",
    "Replica",
    "Settings",
    "Snapshot",
    "WriteTransaction",
    "audit",
    "clone",
    "export_file",
    "fetch",
    "fork",
    "freshness",
    "hydrate",
    "import_file",
    "init",
    "is_replica",
    "log_entries",
    "metrics",
    "open_file",
    "open_replica",
    "open_snapshot",
    "poll_policy",
    "pull",
    "push",
    "refresh",
    "snapshot_at",
    "status",
    "verify",
    "wait_for",
    "watch",
]
