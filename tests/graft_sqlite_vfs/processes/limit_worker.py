"""A process with too little of something, named by its first argument; the second one is a directory.

``descriptors``, ``memory``, ``maps`` (really exhausted), ``threads`` (none can be started), and ``replicas``, of which
it opens more than it has descriptors for. Whatever fails must name the limit and leave nothing behind, and all must
work again when there is plenty.
"""

import _thread
import mmap
import os
import resource
import shutil
import sys
import threading
from pathlib import Path

import apsw

from graft.errors import LimitReached
from graft_sqlite_vfs import connect

_PLENTY = 4096
_NAMES = {
    "descriptors": "RLIMIT_NOFILE is ", "replicas": "RLIMIT_NOFILE is ", "memory": "RLIMIT_AS is ",
    "maps": "vm.max_map_count", "threads": "RLIMIT_NPROC is ",
}  # fmt: skip
failed = set()


def limit(files):
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def names_the_limit(error):
    """Return whether the error is one of a limit, or was caused by one: SQLite rolls back after it."""
    while error is not None:
        if isinstance(error, LimitReached):
            return _NAMES[sys.argv[1]] in str(error)
        if isinstance(error, apsw.NoMemError):
            return sys.argv[1] == "memory"  # SQLite's own memory, for which it has a code
        error = error.__cause__ or error.__context__
    return False


def attempt(name, work, *args):
    try:
        return work(*args)
    except Exception as error:
        if not names_the_limit(error):
            raise
        failed.add(name)
        return None


def descriptors(directory):
    remote = f"{directory}/remote#v"
    db = connect(directory / "a", remote=remote)
    db.execute("CREATE TABLE t(k INTEGER PRIMARY KEY, x)")
    with db:
        db.executemany("INSERT INTO t(x) VALUES (?)", [(os.urandom(2000),)] * 500)
    db.pragma("graft_push")
    db.close()
    connect(directory / "b", remote=remote).close()
    count = 500
    fewest = len(list(Path("/dev/fd").iterdir()))
    for files in range(fewest, 65, 3):
        limit(files)
        first = attempt("connect", connect, directory / "a")
        second = attempt("connect", connect, directory / "b")
        inserted = None
        if first is not None:
            inserted = attempt("insert", first.execute, "INSERT INTO t(x) VALUES (1)")
            updated = attempt("update", first.execute, f"UPDATE t SET x = '{files}' WHERE k <= 300")
            attempt("push", first.pragma, "graft_push")
        if second is not None:
            attempt("read", second.execute, "SELECT sum(length(x)) FROM t")
            attempt("pull", second.pragma, "graft_pull")
        limit(_PLENTY)
        first, second = first or connect(directory / "a"), second or connect(directory / "b")
        count += inserted is not None
        assert first.execute("SELECT count(*) FROM t").get == count, files
        if inserted is not None and updated is not None:
            assert first.execute(f"SELECT count(*) FROM t WHERE x = '{files}'").get == 300, files
        first.execute("BEGIN; INSERT INTO t(x) VALUES (1); COMMIT")
        count += 1
        first.pragma("graft_push")
        second.pragma("graft_pull")
        for connection in (first, second):
            assert connection.execute("SELECT count(*) FROM t").get == count, files
            assert connection.pragma("integrity_check") == "ok", files
            connection.close()
    assert len(failed) > 1, failed


def replicas(directory):
    remote = f"{directory}/remote"
    names = [str(number) for number in range(90)]
    for name in names:
        connect(directory / name, remote=f"{remote}#{name}").close()
    limit(1024)
    held = {}
    for name in names:
        connection = attempt("connect", connect, directory / name)
        if connection is not None:
            held[name] = connection
            attempt("write", connection.execute, "CREATE TABLE t(x)")
    assert failed, len(held)
    for name in list(held)[:20]:
        held.pop(name).close()
    for connection in list(held.values())[:10]:
        connection.execute("CREATE TABLE u(x)")
        connection.pragma("graft_push")


def memory(directory):
    page = resource.getpagesize()

    def squeeze(step):
        used = int(Path("/proc/self/statm").read_text().split()[0]) * page
        resource.setrlimit(resource.RLIMIT_AS, (used + (step << 23), resource.RLIM_INFINITY))

    def ease():
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    squeezed(directory, squeeze, ease, 14)
    assert {"insert", "update"} <= failed, failed


def maps(directory):
    held = []

    def squeeze(step):
        try:
            while True:  # neighbours of the same protection would be one mapping
                writable = len(held) % 2 * mmap.PROT_WRITE
                held.append(mmap.mmap(-1, mmap.PAGESIZE, _PRIVATE, mmap.PROT_READ | writable))
        except (OSError, MemoryError):
            del held[: step // 2]

    squeezed(directory, squeeze, held.clear, 24)
    assert failed


def threads(directory):
    real = _thread.start_new_thread

    def none(*_, **__):
        raise RuntimeError("can't start new thread")

    def start(function):
        _thread.start_new_thread = threading._start_new_thread = function

    squeezed(directory, lambda _: start(none), lambda: start(real), 2)
    assert not failed, "the calling thread does the work"


def squeezed(directory, squeeze, ease, steps):
    """Write, push, read, pull and open with too little, then with plenty again."""
    remote = f"{directory}/remote#v"
    first = connect(directory / "a", remote=remote)
    first.execute("CREATE TABLE t(k INTEGER PRIMARY KEY, x)")
    with first:
        first.executemany("INSERT INTO t(x) VALUES (?)", [(os.urandom(2000),)] * 3000)
    first.pragma("graft_push")
    count = 3000
    for step in range(steps):
        second = connect(directory / f"b{step}", remote=remote)
        second.execute("SELECT x FROM t WHERE k = 1").fetchall()
        squeeze(step)
        inserted = attempt("insert", first.execute, "INSERT INTO t(x) VALUES (1)")
        updated = attempt("update", first.execute, f"UPDATE t SET x = zeroblob(2000 + {step}) WHERE k <= 2500")
        attempt("push", first.pragma, "graft_push")
        attempt("read", lambda: second.execute("SELECT sum(length(x)) FROM t").fetchall())  # noqa: B023
        attempt("pull", second.pragma, "graft_pull")
        attempt("open", lambda: connect(directory / "c", remote=remote).close())
        ease()
        shutil.rmtree(directory / "c", ignore_errors=True)
        count += inserted is not None
        same = first.execute(f"SELECT count(*) FROM t WHERE x = zeroblob(2000 + {step})").get
        assert same == (2500 if updated is not None else 0), step
        first.execute("BEGIN; INSERT INTO t(x) VALUES (1); COMMIT")
        count += 1
        first.pragma("graft_push")
        second.pragma("graft_pull")
        for connection in (first, second):
            assert connection.execute("SELECT count(*) FROM t").get == count, step
            assert connection.pragma("integrity_check") == "ok", step
        second.close()
    first.close()


_PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS

if __name__ == "__main__":
    modes = {"descriptors": descriptors, "replicas": replicas, "memory": memory, "maps": maps, "threads": threads}
    modes[sys.argv[1]](Path(sys.argv[2]))
    sys.stdout.write("done\n")
