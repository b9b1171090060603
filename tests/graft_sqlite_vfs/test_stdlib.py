"""Volumes in the standard library's `sqlite3`: in this Python if it can load extensions, and in Debian's."""

import os
import sqlite3
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from graft.errors import Unsupported
from graft_sqlite_vfs import stdlib
from graft_sqlite_vfs.readpath import Pure
from graft_sqlite_vfs.registration import READ_PATH

DEBIAN = Path("/usr/bin/python3")
PROJECT = Path(__file__).parents[2]

PROGRAM = r"""
import gc, os, sqlite3, sys
from graft.errors import NotAReplica, RemoteUnavailable
from graft_sqlite_vfs import connect, stdlib
from graft.sync.push import push
from graft.replica.opening import open_replica

os.chdir(sys.argv[1])
ours = connect("app", remote="bucket")
ours.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
stdlib.enable()
stdlib.enable()

def opened(uri):
    return sqlite3.connect(uri, uri=True, timeout=0)

def fails(statement, *, code, message, connection=None):
    try:
        (connection or theirs).execute(statement)
    except sqlite3.Error as error:
        assert message in str(error), error
        assert getattr(error, "sqlite_errorcode", code) == code, error.sqlite_errorcode
    else:
        raise AssertionError(f"{statement} went well")

theirs = opened("file:app?vfs=graft")
theirs.execute("PRAGMA cache_size=1")
theirs.executemany("INSERT INTO t(v) VALUES (?)", [(str(n) * 100,) for n in range(2000)])
theirs.commit()
assert ours.execute("SELECT count(*) FROM t").get == 2000
assert theirs.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
ours.execute("DELETE FROM t WHERE id > 1000")
assert theirs.execute("SELECT count(*) FROM t").fetchall() == [(1000,)]
theirs.execute("DELETE FROM t")
theirs.rollback()
assert theirs.execute("SELECT count(*), max(id) FROM t").fetchall() == [(1000, 1000)]
assert "accelerated" in theirs.execute("PRAGMA graft_info").fetchone()[0]
assert "pushed LSN 1" in theirs.execute("PRAGMA graft_push").fetchone()[0]
past = opened("file:app?vfs=graft&at=1")
theirs.execute("DELETE FROM t")
theirs.commit()
assert past.execute("SELECT count(*) FROM t").fetchall() == [(1000,)]
fails("DELETE FROM t", connection=past, code=sqlite3.SQLITE_READONLY if hasattr(sqlite3, "SQLITE_READONLY") else 8,
      message="readonly")
assert "an old version cannot be written" in str(stdlib.last_error()), stdlib.last_error()

fails("PRAGMA graft_nothing", code=1, message="unknown pragma graft_nothing")
fails("PRAGMA journal_mode=wal", code=1, message="journal_mode=wal cannot be used with volume app")
ours.execute("BEGIN IMMEDIATE")
fails("INSERT INTO t(v) VALUES (1)", code=5, message="database is locked")
theirs.rollback()
ours.execute("ROLLBACK")
try:
    opened("file:nowhere?vfs=graft").execute("SELECT 1")
except sqlite3.OperationalError as error:
    assert "unable to open" in str(error)
assert isinstance(stdlib.last_error(), NotAReplica)

import signal
from graft_sqlite_vfs.accelerator import AcceleratedFile

def interrupt(method, statement):
    original = getattr(AcceleratedFile, method)
    def interrupted(self, *args):
        setattr(AcceleratedFile, method, original)
        signal.raise_signal(signal.SIGINT)
        return original(self, *args)
    setattr(AcceleratedFile, method, interrupted)
    told = None
    try:
        try:
            theirs.execute(statement)
        except sqlite3.Error as error:
            told = error
        for _ in range(1000):
            pass
    except KeyboardInterrupt:
        pass
    else:
        raise AssertionError(f"Ctrl-C in {statement} was dropped")
    assert getattr(told, "sqlite_errorcode", 9) == 9 and "disk" not in str(told), told
    theirs.rollback()

before = ours.execute("SELECT count(*) FROM t").get
interrupt("pragma", "PRAGMA graft_pull")
ours.execute("INSERT INTO t(v) VALUES ('newer')")
interrupt("xLock", "SELECT count(*) FROM t")
theirs.isolation_level = None
interrupt("synced", f"INSERT INTO t(v) VALUES ('{'x' * 500_000}')")
assert theirs.execute("SELECT count(*) FROM t").fetchall() == [(before + 1,)]
theirs.execute("INSERT INTO t(v) VALUES ('next')")
assert ours.execute("SELECT count(*) FROM t").get == before + 2
for connection in (theirs, past, ours):
    connection.close()
print("done", sqlite3.sqlite_version)
"""


def run(python: Path, directory: Path, extra_path: str = "") -> subprocess.CompletedProcess:
    # What is logged of errors goes to standard error; -W error would show a warning there too, as a traceback.
    environment = {**os.environ, "PYTHONPATH": extra_path}
    environment.pop("GRAFT_PURE", None)
    return subprocess.run(
        [python, "-W", "error", "-c", PROGRAM, directory], env=environment, capture_output=True, text=True, check=False
    )


def test_where_it_cannot_be():
    loads = hasattr(sqlite3.Connection, "enable_load_extension")
    if loads and not isinstance(READ_PATH, Pure):
        pytest.skip("this Python's sqlite3 can load extensions")
    with pytest.raises(Unsupported, match="needs the accelerator" if isinstance(READ_PATH, Pure) else "use apsw"):
        stdlib.enable()


@pytest.mark.skipif(isinstance(READ_PATH, Pure), reason="the accelerator was not built")
def test_in_this_python(tmp_path):
    if not hasattr(sqlite3.Connection, "enable_load_extension"):
        pytest.skip("this Python's sqlite3 was built without loading of extensions")
    done = run(Path(sys.executable), tmp_path)
    assert done.stdout.startswith("done"), done.stderr


@pytest.mark.skipif(isinstance(READ_PATH, Pure), reason="the accelerator was not built")
def test_in_debians_python(tmp_path):
    if not DEBIAN.exists() or not Path("/etc/debian_version").exists():
        pytest.skip("no Debian Python here")
    asked = "import sysconfig; print(sysconfig.get_config_var('SOABI'))"
    found = subprocess.run([DEBIAN, "-c", asked], capture_output=True, text=True, check=True).stdout.strip()
    if found != sysconfig.get_config_var("SOABI"):
        pytest.skip(f"Debian's Python is {found}, and what is installed here is for another")
    done = run(DEBIAN, tmp_path, f"{PROJECT}:{sysconfig.get_paths()['platlib']}")
    assert done.stdout.startswith("done"), done.stderr
    assert "Traceback" not in done.stderr
