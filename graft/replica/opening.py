"""The replicas that this process has open: one object for each directory, shared by all callers that open it.

The child of a fork disowns the replicas of its parent.
"""

import atexit
import os
import threading
import weakref
from pathlib import Path

from graft.disk.names import FileId
from graft.errors import LocalStorageError, local_errors
from graft.finalizers import do_waiting
from graft.remote.remote import Remote
from graft.replica.directory import is_replica, replica_path
from graft.replica.read_only import private_copy, why_read_only
from graft.replica.replica import Replica
from graft.settings import Settings
from pagestore.objectstore import ObjectStore
from pagestore.runtime import SYSTEM, Runtime

_open: dict[Replica, int] = {}
"""How many callers use each. Replicas are found by directory, not by path: a path may lead elsewhere later."""
_open_lock = threading.RLock()  # guards _open; reentrant, since closing a replica may release another one
_all: "weakref.WeakSet[Replica]" = weakref.WeakSet()


def _after_fork() -> None:
    global _open_lock  # noqa: PLW0603 - another thread may have held it
    _open_lock = threading.RLock()
    _open.clear()
    for replica in list(_all):
        replica.disown()


def _before_exit() -> None:
    """Stop background threads; later `atexit` functions use replicas in their own thread."""
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

    An open ``remote`` (`remote_for`) passes to the replica, which closes it, also if opening fails. Each call needs one
    `Replica.close`. If the directory or lock files of an open replica were replaced, the directory that is there now is
    opened as another replica. A replica that this process cannot write is opened for reading, as it is now:
    `Replica.read_only` says why, and every change raises `ReadOnly`. Raises `NotAReplica`, and `GraftError` for a
    directory that cannot be used.
    """
    do_waiting()
    is_replica(path)  # refuses unusable paths
    try:
        with local_errors(f"opening {path}"):
            real = replica_path(path).resolve()
    except RuntimeError as error:  # how `pathlib` reports a loop of links
        raise LocalStorageError(f"opening {path}: {error}") from error
    with _open_lock:
        replica = opened_at(real)
        if replica is None:
            with local_errors(f"opening {real}"):
                read_only = why_read_only(real) if is_replica(real) else None
                replica = Replica(
                    real if read_only is None else private_copy(real),
                    settings=settings, store=store, runtime=runtime, remote=remote, on_release=_release,
                    read_only=read_only,
                )  # fmt: skip
            _all.add(replica)
        elif remote is not None:
            remote.close()
        _open[replica] = _open.get(replica, 0) + 1
        return replica


def opened_at(path: Path) -> Replica | None:
    """Return the replica that this process has open in the directory at a path, if it can still be used."""
    try:
        directory = FileId.of(path.stat())
    except OSError:
        return None
    with _open_lock:
        here = [replica for replica in _open if replica.home.id == directory]
        return next((replica for replica in here if replica.home.is_unmoved()), None)


def _release(replica: Replica) -> None:
    with _open_lock:
        uses = _open.get(replica, 0)
        if uses > 1:
            _open[replica] = uses - 1
        if uses != 1:
            return
        del _open[replica]
        _all.discard(replica)
        replica.close_now()
