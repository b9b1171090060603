"""The child of a fork has connections that are its parent's: whatever it tries, it writes nothing through them."""

import os

import apsw
import pytest

from tests.graft_sqlite_vfs.conftest import rows

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

INSERT = "INSERT INTO t(v) VALUES (?)"
ALL = "SELECT v FROM t ORDER BY id"


@pytest.fixture(params=["local", "relaxed", "remote"])
def writer(request, volumes):
    connection = volumes.connect(durability=request.param)
    connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    connection.execute(INSERT, ("kept",))
    return connection


def in_child(do):
    """Run something in the child of a fork; return what SQLite said there, '' if it succeeded."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            do()
            said = ""
        except apsw.Error as error:
            said = f"{type(error).__name__}: {error}"
        except BaseException as error:  # noqa: BLE001 - nothing may leave the child
            said = f"not SQLite's: {error!r}"
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    return said


def refused(do):
    said = in_child(do)
    assert said.startswith("SQLError"), said
    assert "before a fork; open it again" in said
    return said


@pytest.mark.parametrize("size", [10, 30_000], ids=["small", "large"])
def test_a_commit_of_the_parents_transaction(writer, volumes, size):
    writer.execute("BEGIN IMMEDIATE")
    writer.execute(INSERT, ("p" * size,))
    refused(lambda: writer.execute("COMMIT"))
    writer.execute("ROLLBACK")
    assert rows(writer, ALL) == rows(volumes.connect(), ALL) == [("kept",)]


def test_a_commit_after_more_was_written_in_the_child(writer, volumes):
    writer.execute("BEGIN IMMEDIATE")
    writer.execute(INSERT, ("parent",))

    def more():
        writer.execute(INSERT, ("c" * 20_000,))
        writer.execute("COMMIT")

    refused(more)
    writer.execute("COMMIT")
    writer.execute(INSERT, ("after",))
    assert rows(writer, ALL) == rows(volumes.connect(), ALL) == [("kept",), ("parent",), ("after",)]


def test_a_spilled_transaction(writer, volumes):
    """Pages that outgrew memory are in a file that both processes have open, and that the child must not remove."""
    writer.execute("PRAGMA cache_size = 5; BEGIN IMMEDIATE")
    for n in range(3000):
        writer.execute(INSERT, (f"{n}" * 2000,))

    def more():
        for n in range(3000):
            writer.execute(INSERT, (f"child {n}" * 2000,))
        writer.execute("COMMIT")

    refused(more)
    in_child(writer.close)
    writer.execute("COMMIT")
    assert rows(writer, "SELECT count(*), sum(v LIKE 'child%') FROM t") == [(3001, 0)]
    assert rows(volumes.connect(), "SELECT count(*) FROM t") == [(3001,)]


def test_a_new_transaction(writer, volumes):
    for do in (lambda: writer.execute(INSERT, ("child",)), lambda: writer.execute("BEGIN IMMEDIATE")):
        refused(do)
    writer.execute(INSERT, ("parent",))
    assert rows(writer, ALL) == rows(volumes.connect(), ALL) == [("kept",), ("parent",)]


def test_a_child_ends_its_parents_transaction_for_itself_alone(writer, volumes):
    """The lock is the parent's: neither a rollback nor closing in the child gives it away."""
    other = volumes.connect()
    writer.execute("BEGIN IMMEDIATE")
    writer.execute(INSERT, ("parent",))
    assert in_child(lambda: writer.execute("ROLLBACK")) == ""
    assert in_child(writer.close) == ""
    with pytest.raises(apsw.BusyError):
        other.execute("BEGIN IMMEDIATE")
    writer.execute("COMMIT")
    assert rows(other, ALL) == [("kept",), ("parent",)]


def test_reading_what_was_not_read_before(writer):
    refused(lambda: rows(writer, ALL))
    assert rows(writer, ALL) == [("kept",)]


def test_a_read_transaction_goes_on(writer):
    """A snapshot is the reader's for as long as it wants it, in either process."""
    writer.execute("BEGIN")
    assert rows(writer, ALL) == [("kept",)]
    assert in_child(lambda: rows(writer, ALL)) == ""


def test_the_childs_own_connection(writer, volumes):
    def own():
        connection = volumes.connect()
        connection.execute(INSERT, ("child",))
        connection.close()

    assert in_child(own) == ""
    assert rows(writer, ALL) == [("kept",), ("child",)]
