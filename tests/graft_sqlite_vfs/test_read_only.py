"""A replica that its process cannot write is opened for reading, as it is, with and without the remote.

Root may write everywhere, so that the tests give up being root in a child.
"""

import os
import pickle
import shutil
import tempfile
from pathlib import Path

import apsw
import pytest

from graft.errors import GraftError, ReadOnly
from graft.operations.hydrate import hydrate
from graft.operations.status import status
from graft.replica.opening import open_replica
from graft.sync.pull import pull
from graft.sync.push import push
from graft_sqlite_vfs import connect
from tests.graft_sqlite_vfs.conftest import rows

COUNT = "SELECT count(*) FROM t"
NOBODY = 65534


@pytest.fixture
def place():
    path = Path(tempfile.mkdtemp(prefix="graft-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


def as_nobody(function):
    """Run a function in a child that is not root; return what it returned, or raise what it raised."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            if not os.getuid():
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            answer = function()
        except BaseException as error:  # noqa: BLE001 - the parent is told
            answer = error
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump(answer if not isinstance(answer, BaseException) else RuntimeError(repr(answer)), pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pickle.load(pipe)
    os.waitpid(child, 0)
    if isinstance(answer, BaseException):
        raise answer
    return answer


def freeze(path):
    """Take away what lets others than root write; nobody may read."""
    for directory, _, files in os.walk(path):
        Path(directory).chmod(0o555)
        for file in files:
            Path(directory, file).chmod(0o444)


@pytest.fixture
def replica(place, read_path):
    """Two pushed rows and a local one, hydrated, in a directory that can be read only."""
    db = connect(place / "v", remote=f"{place}/remote#v")
    db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    db.execute("INSERT INTO t(v) VALUES ('one'), (hex(zeroblob(20000)))")
    with open_replica(place / "v") as opened:
        push(opened)
        hydrate(opened)
    db.execute("INSERT INTO t(v) VALUES ('local')")
    db.close()
    freeze(place / "v")
    return place / "v"


def listing(path):
    return sorted((str(name), name.lstat().st_mtime_ns, name.lstat().st_size) for name in path.rglob("*"))


def test_it_reads_what_is_here_without_the_remote(replica, place):
    shutil.rmtree(place / "remote")
    before = listing(replica)

    def read():
        db = connect(replica)
        found = rows(db, COUNT), db.pragma("integrity_check"), db.pragma("graft_status") is not None
        db.close()
        return found

    assert as_nobody(read) == ([(3,)], "ok", True)
    assert listing(replica) == before
    assert not list(Path(tempfile.gettempdir()).glob("graft-read-only-*"))


def test_nothing_can_be_written_and_it_says_why(replica):
    before = listing(replica)

    def write():
        said = []
        db = connect(replica)
        for sql in ("INSERT INTO t(v) VALUES ('no')", "BEGIN IMMEDIATE", "PRAGMA graft_push", "PRAGMA graft_pull"):
            try:
                db.execute(sql)
            except apsw.Error as error:
                said.append("open for reading only" in str(error))
        found = rows(db, COUNT)
        db.close()
        with open_replica(replica) as opened:
            for use in (push, pull, lambda it: it.begin(it.snapshot())):
                try:
                    use(opened)
                except ReadOnly as error:
                    said.append(str(replica) in str(error))
            said.append(status(opened).local_commits == 1)
        return said, found

    assert as_nobody(write) == ([True] * 8, [(3,)])
    assert listing(replica) == before


def test_the_owner_goes_on_meanwhile(replica):
    for name in [replica, *replica.rglob("*")]:
        name.chmod(0o755 if name.is_dir() else 0o644)
    db = connect(replica)
    db.execute("INSERT INTO t(v) VALUES ('more')")

    def read():
        reader = connect(replica)
        found = rows(reader, COUNT)
        reader.close()
        return found

    if os.getuid():
        pytest.skip("needs another user than the owner")
    assert as_nobody(read) == [(4,)]
    db.execute("INSERT INTO t(v) VALUES ('and more')")
    assert as_nobody(read) == [(5,)]
    db.close()


def test_what_cannot_even_be_read_is_an_error_with_the_path(replica):
    (replica / "state.db").chmod(0)

    def read():
        try:
            connect(replica)
        except GraftError as error:
            return str(replica) in str(error)
        return False

    if os.getuid():
        pytest.skip("the owner may read what others may not")
    assert as_nobody(read)
