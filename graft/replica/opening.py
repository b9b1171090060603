"""Which replicas this process has open: one object for each directory, shared by all who open it.

A fork's child disowns what its parent has open.
"""

import atexit
import os
import threading
import weakref
from pathlib import Path

from graft.errors import LocalStorageError, local_errors
from graft.finalizers import do_waiting
from graft.remote.remote import Remote
from graft.replica.directory import is_replica, replica_path
from graft.replica.replica import Replica
from graft.settings import Settings
from pagestore.objectstore import ObjectStore
from pagestore.runtime import SYSTEM, Runtime

_open: dict[Path, tuple[Replica, int]] = {}
_open_lock = threading.RLock()  # guards _open; what closes may let go of what has another replica open
_all: "weakref.WeakSet[Replica]" = weakref.WeakSet()


def _after_fork() -> None:
    global _open_lock  # noqa: PLW0603 - another thread may have held it
    _open_lock = threading.RLock()
    _open.clear()
    for replica in list(_all):
        replica.disown()


def _before_exit() -> None:
    """What functions of `atexit` that run later still do with a replica is done in their thread."""
    for replica in list(_all):
        replica.before_exit()


atexit.register(_before_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def open_replica(
    path: Path | str,
    *,
    settings: Settings | None = None,
    store: ObjectStore | None = None,
    runtime: Runtime = SYSTEM,
    remote: Remote | None = None,
) -> Replica:
    """Open a replica, or return the one that this process has open already.

    A ``remote`` that is open already (`remote_for`) becomes the replica's, who closes it, whatever happens. Each call
    needs one `Replica.close`. Raises `NotAReplica`, and `GraftError` for a directory that cannot be used.
    """
    do_waiting()
    is_replica(path)  # refuses what no replica can be at
    try:
        with local_errors(f"opening {path}"):
            real = replica_path(path).resolve()
    except RuntimeError as error:  # what `pathlib` makes of a loop of links
        raise LocalStorageError(f"opening {path}: {error}") from error
    with _open_lock:
        replica, uses = _open.get(real, (None, 0))
        if replica is None:
            with local_errors(f"opening {real}"):
                replica = Replica(
                    real, settings=settings, store=store, runtime=runtime, remote=remote, on_release=_give_back
                )
            _all.add(replica)
        elif remote is not None:
            remote.close()
        _open[real] = replica, uses + 1
        return replica


def _give_back(replica: Replica) -> None:
    with _open_lock:
        found, uses = _open.get(replica.path, (None, 0))
        if found is not replica:
            return
        if uses > 1:
            _open[replica.path] = replica, uses - 1
            return
        del _open[replica.path]
        _all.discard(replica)
        replica.close_now()
