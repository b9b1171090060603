"""A process with few descriptors: ``descriptors DIRECTORY``, or one with many replicas, ``replicas DIRECTORY``.

Whatever fails must name the limit and leave nothing behind, and all must work again when there are descriptors.
"""

import os
import resource
import sys
from pathlib import Path

from graft.errors import LimitReached
from graft_sqlite_vfs import connect

_PLENTY = 4096
failed = set()


def limit(files):
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def names_the_limit(error):
    """Return whether the error is one of a limit, or was caused by one: SQLite rolls back after it."""
    while error is not None:
        if isinstance(error, LimitReached):
            return "RLIMIT_NOFILE is " in str(error)
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


if __name__ == "__main__":
    {"descriptors": descriptors, "replicas": replicas}[sys.argv[1]](Path(sys.argv[2]))
    sys.stdout.write("done\n")
