"""A replica directory or lock file that is not the one that was opened: nothing is written, no other one is harmed."""

import shutil

import apsw
import pytest

from graft.errors import GraftError, OtherVolume, ReplicaMoved
from graft.replica.opening import open_replica
from graft.replica.replica import Replica
from graft.sync.clone import clone
from graft.sync.pull import pull
from graft.sync.push import push
from graft_sqlite_vfs import connect
from tests.graft_sqlite_vfs.conftest import rows

INSERT = "INSERT INTO t(v) VALUES (?)"
LAST = "SELECT v FROM t ORDER BY id DESC LIMIT 1"


@pytest.fixture(params=["remote", "local", "relaxed"])
def service(volumes, request):
    """A connection that has made small commits already, which C appends where it can."""
    connection = volumes.connect(durability=request.param)
    connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    for value in ("first", "second"):
        connection.execute(INSERT, (value,))
    return connection


def refused(do):
    with pytest.raises(apsw.ReadOnlyError, match=r"since the replica was opened|while it was in use") as caught:
        do()
    assert caught.value.extendedresult == apsw.SQLITE_READONLY_DBMOVED
    assert isinstance(caught.value.__cause__, ReplicaMoved)
    assert "open it again" in str(caught.value)


def refuses_everything(connection, replica):
    for size in (10, 100_000):
        refused(lambda size=size: connection.execute(INSERT, ("x" * size,)))
    refused(lambda: connection.execute("BEGIN IMMEDIATE"))
    refuses_to_sync(replica)
    assert rows(connection, LAST) == [("second",)], "what was read stays readable"


def refuses_to_sync(replica):
    for flow in (push, pull, lambda replica: pull(replica, policy="discard")):
        with pytest.raises(ReplicaMoved):
            flow(replica)


LOCKS = ("writer.lock", "sync.lock", "open.lock", "shared")


@pytest.mark.parametrize("names", [*[(name,) for name in LOCKS], LOCKS], ids="+".join)
@pytest.mark.parametrize("instead", ["nothing", "another file"])
def test_lock_files_that_a_cleaner_removed(service, volumes, names, instead):
    with open_replica(volumes.path()) as replica:
        for name in names:
            (volumes.path() / name).unlink()
            if instead != "nothing":
                (volumes.path() / name).touch()
        if {"writer.lock", "shared"} & set(names):
            refuses_everything(service, replica)
        else:  # small commits that C appends need neither
            refuses_to_sync(replica)
            refused(lambda: service.execute(INSERT, ("x" * 500_000,)))
    service.close()
    again = volumes.connect()
    again.execute(INSERT, ("third",))
    assert rows(again, "SELECT v FROM t ORDER BY id") == [("first",), ("second",), ("third",)]


@pytest.mark.parametrize("size", [10, 100_000], ids=["small", "large"])
def test_a_lock_file_removed_in_a_transaction(service, volumes, size):
    """Two processes write at once, and the one whose lock is gone must not commit."""
    service.execute("BEGIN IMMEDIATE")
    service.execute(INSERT, ("lost" * size,))
    for name in LOCKS:
        (volumes.path() / name).unlink()
    other = Replica(volumes.path().resolve())
    try:
        with other.begin(other.snapshot()) as transaction:
            transaction.write(1, transaction.read(1))
            refused(lambda: service.execute("COMMIT"))
            transaction.commit()
    finally:
        other.close_now()
    if service.in_transaction:
        service.execute("ROLLBACK")
    service.close()
    again = volumes.connect()
    assert rows(again, LAST) == [("second",)]
    assert again.pragma("integrity_check") == "ok"


@pytest.mark.parametrize("how", ["deleted", "moved"])
def test_another_replica_at_the_path_is_left_alone(service, volumes, how):
    """Another process made it: what it has not pushed yet survives whatever the first one tries."""
    path = volumes.path()
    pushed = rows(service, "PRAGMA graft_push")
    assert pushed
    replica = open_replica(path)
    if how == "deleted":
        shutil.rmtree(path)
    else:
        path.rename(path.with_name("elsewhere"))
    new = Replica(clone(path, f"{volumes.remote}#db").path)
    try:
        connection = connect(path)
        connection.execute(INSERT, ("unpushed",))
        refuses_everything(service, replica)
        replica.keep_house()
        replica.close()
        service.close()
        assert rows(connection, LAST) == [("unpushed",)]
        assert connection.pragma("graft_push").startswith("pushed LSN")
        connection.close()
    finally:
        new.close_now()
        open_replica(path).close()
    assert rows(volumes.connect("check", remote="#db"), LAST) == [("unpushed",)]


def test_a_path_that_another_volume_has_now(service, volumes):
    """A row meant for one volume must not reach another one, which the path stood for before."""
    path = volumes.path()
    service.execute("PRAGMA graft_push").fetchall()
    shutil.rmtree(path)
    other = connect(path, remote=f"{volumes.remote}#other")
    volumes.connections.append(other)
    other.execute("CREATE TABLE o(v); INSERT INTO o VALUES ('for other')")
    other.execute("PRAGMA graft_push").fetchall()
    refused(lambda: service.execute(INSERT, ("late",)))
    with pytest.raises(OtherVolume):
        connect(path, remote=f"{volumes.remote}#db")
    there = volumes.connect("there", remote="#db")
    assert rows(there, LAST) == [("second",)]
    assert rows(volumes.connect("that", remote="#other"), "SELECT v FROM o") == [("for other",)]


def test_a_directory_that_is_gone_cannot_be_opened(service, volumes):
    shutil.rmtree(volumes.path())
    with pytest.raises(GraftError):
        connect(volumes.path())
    refused(lambda: service.execute(INSERT, ("late",)))


def test_a_directory_that_was_moved_and_is_opened_there(service, volumes):
    """The same files by another name: who opens them there can write, and the one at the old path cannot."""
    path = volumes.path()
    path.rename(path.with_name("there"))
    there = volumes.connect("there", remote=None)
    there.execute(INSERT, ("third",))
    refused(lambda: service.execute(INSERT, ("late",)))
    assert rows(there, LAST) == [("third",)]
    there.close()
    path.with_name("there").rename(path)
    service.execute(INSERT, ("fourth",))
    assert rows(service, LAST) == [("fourth",)]


@pytest.mark.parametrize("name", ["journal", "state.db"])
def test_a_part_that_was_replaced(service, volumes, name):
    part = volumes.path() / name
    aside = part.with_name("aside")
    replica = open_replica(volumes.path())
    part.rename(aside)
    shutil.copytree(aside, part) if name == "journal" else shutil.copy(aside, part)
    refuses_to_sync(replica)
    refused(lambda: service.execute(INSERT, ("small",)))
    refused(lambda: service.execute(INSERT, ("x" * 500_000,)))
    replica.close()
    if name == "journal":
        shutil.rmtree(part)
    aside.rename(part)
    service.execute(INSERT, ("third",))
    assert rows(service, LAST) == [("third",)]


def test_one_who_joins_where_the_counters_were_removed(service, volumes):
    """It would begin with counters of its own, and write over what the others announced in theirs."""
    (volumes.path() / "shared").unlink()
    with pytest.raises(ReplicaMoved, match="other processes have the replica open"):
        Replica(volumes.path().resolve())
