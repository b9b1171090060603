"""A process in which Python's collector lets go of connections while locks are held: ``MODE DIRECTORY``.

It says "done" if it comes through. What hangs is ended with a traceback of all threads.
"""

import _thread
import faulthandler
import fcntl
import gc
import sys
import threading
from pathlib import Path

from testbed.patience import PATIENCE_S

_HANGS_S = PATIENCE_S - 20  # before the test ends it, so that it tells where


class Box:
    """A reference cycle: only the collector frees what it holds."""

    def __init__(self, *held):
        self.myself, self.held = self, held


pile = []
"""What is garbage as soon as it is taken from here."""
_is_armed, collected = False, 0


def collect_one():
    """Let the collector free a connection that is in the midst of a statement, here and now."""
    global _is_armed, collected  # noqa: PLW0603
    if pile and _is_armed:
        _is_armed = False
        pile.pop()
        gc.collect()
        collected += 1
        _is_armed = True


class _Lock:
    def __init__(self):
        self._inner = _thread.allocate_lock()
        self.release, self.locked, self._at_fork_reinit = (
            self._inner.release, self._inner.locked, self._inner._at_fork_reinit
        )  # fmt: skip

    def acquire(self, blocking=True, timeout=-1):
        taken = self._inner.acquire(blocking, timeout)
        if taken:
            collect_one()
        return taken

    def __enter__(self):
        return self.acquire()

    def __exit__(self, *_):
        self.release()


class _RLock(_thread.RLock):
    def acquire(self, blocking=True, timeout=-1):
        taken = super().acquire(blocking, timeout)
        if taken:
            collect_one()
        return taken

    def __enter__(self):
        return self.acquire()


def in_every_lock(directory):
    """Free a connection at each taking of each lock, through all that a replica does."""
    global _is_armed  # noqa: PLW0603
    threading.Lock, threading.RLock = _Lock, _RLock
    from graft_sqlite_vfs import connect

    remote = f"{directory}/remote#v"
    with_rows = connect(directory / "a", remote=remote)
    with_rows.execute("CREATE TABLE t(x)")
    with_rows.executemany("INSERT INTO t VALUES (?)", [(bytes(900),)] * 500)
    with_rows.pragma("graft_push")
    connect(directory / "b", remote=remote).close()
    gc.collect()
    gc.freeze()
    gc.disable()
    for _ in range(20):
        _is_armed = False
        for name in "abab" * 4:
            connection = connect(directory / name)
            cursor = connection.execute("SELECT rowid FROM t")
            next(cursor)
            pile.append(Box(connection, cursor))
        del connection, cursor
        _is_armed = True
        connection = connect(directory / "b")
        connection.execute("SELECT sum(length(x)) FROM t").fetchall()
        connection.pragma("graft_pull")
        connection.execute("SELECT sum(length(x)) FROM t").fetchall()
        with_rows.execute("UPDATE t SET x = randomblob(900) WHERE rowid = abs(random()) % 500")
        with_rows.pragma("graft_push")
        connection.close()
    assert collected > 100, collected
    with_rows.close()
    pile.clear()


def in_threads(directory):
    """Make connections in cycles as fast as can be, in three threads, on three replicas."""
    from graft_sqlite_vfs import connect

    for number in range(3):
        connect(directory / str(number), remote=f"{directory}/remote#v").close()
    gc.collect()
    gc.freeze()
    gc.set_threshold(1, 2, 2)

    def work(number):
        for _ in range(60):
            connection = connect(directory / str(number))
            cursor = connection.execute("SELECT 1 FROM sqlite_schema UNION ALL SELECT 2")
            next(cursor)
            Box(connection, cursor)
            del connection, cursor

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def nobody_is_left(directory):
    """Wait until all replicas are closed: then nobody shares their locks any more."""
    gc.collect()
    for path in directory.glob("*/open.lock"):
        with path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)


if __name__ == "__main__":
    faulthandler.dump_traceback_later(_HANGS_S, exit=True)
    {"locks": in_every_lock, "threads": in_threads}[sys.argv[1]](Path(sys.argv[2]))
    nobody_is_left(Path(sys.argv[2]))
    sys.stdout.write("done\n")
