"""Tags and branches under SQL: connections that are open while the replica moves, and versions by name."""

import apsw
import pytest

from graft.errors import BadRequest, NoSuchVersion, TagExists, VolumeExists, WriterBusy
from graft.sync.switch import switch
from graft.sync.tags import tag
from tests.graft_sqlite_vfs.conftest import rows

ALL = "SELECT v FROM t ORDER BY id"


def ask(connection: apsw.Connection, sql: str) -> str:
    ((text,),) = rows(connection, f"PRAGMA {sql}")
    return text


@pytest.fixture
def db(db):
    """LSN 1 has three rows, LSN 2 one row and another table."""
    db.pragma("graft_push")
    db.execute("DELETE FROM t WHERE id > 1")
    db.execute("CREATE TABLE other(x)")
    db.pragma("graft_push")
    return db


def test_tags(db, volumes):
    assert ask(db, "graft_tag") == "no tags"
    assert ask(db, "graft_tag='v1 1'") == "tagged LSN 1 as v1"
    assert ask(db, "graft_tag=v2") == "tagged LSN 2 as v2"
    table = ask(db, "graft_tag").splitlines()
    assert [line.split()[:2] for line in table] == [["tag", "LSN"], ["v1", "1"], ["v2", "2"]]
    assert rows(volumes.connect(at="v1"), ALL) == [("one",), ("two",), ("three",)]
    with apsw_cause(TagExists):
        db.pragma("graft_tag", "v1 2")
    assert ask(db, "graft_tag='-d v1'") == "deleted the tag v1 of LSN 1"
    with pytest.raises(NoSuchVersion, match="there are v2, db"):
        volumes.connect(at="v1")


def test_an_old_version_is_tagged_and_branched_as_it_is(db, volumes):
    tag(volumes.replica(), "first", 1)
    old = volumes.connect(at="first")
    assert ask(old, "graft_tag=same") == "tagged LSN 1 as same"
    assert ask(old, "graft_branch='from-old'") == "made the branch from-old, at its LSN 1"
    assert rows(volumes.connect("from-old"), ALL) == [("one",), ("two",), ("three",)]
    ask(db, "graft_branch='b 1'")
    branch = volumes.connect("b")
    branch.execute("INSERT INTO t VALUES (9, 'nine')")
    branch.pragma("graft_push")
    elsewhere = volumes.connect(at="b@2")
    assert rows(elsewhere, ALL) == [("one",), ("two",), ("three",), ("nine",)]
    assert ask(elsewhere, "graft_fork=c") == "forked to volume c, at its LSN 2"
    assert rows(volumes.connect("c"), ALL) == [("one",), ("two",), ("three",), ("nine",)]


def test_branches(db):
    assert ask(db, "graft_branch=b") == "made the branch b, at its LSN 2"
    assert ask(db, "graft_branch='c 1'") == "made the branch c, at its LSN 1"
    listed = [line.split() for line in ask(db, "graft_branch").splitlines()]
    assert listed[1:] == [
        ["b", "2", "db", "at", "LSN", "2"], ["c", "1", "db", "at", "LSN", "1"], ["*", "db", "2"],
    ]  # fmt: skip
    with apsw_cause(VolumeExists):
        db.pragma("graft_branch", "b")
    assert ask(db, "graft_branch='-d c'") == "deleted the branch c, at its LSN 1"


def test_open_connections_see_the_branch(db, volumes):
    """Its schema too, though the schema cookie of the branch may be one that was seen with other tables."""
    reader, statement = volumes.connect(), "SELECT count(*) FROM other"
    assert rows(reader, statement) == [(0,)]
    ask(db, "graft_branch='b 1'")
    assert ask(db, "graft_switch") == "db"
    assert ask(db, "graft_switch=b") == "switched from db to b, at LSN 1"
    for connection in (db, reader):
        assert rows(connection, ALL) == [("one",), ("two",), ("three",)]
        with pytest.raises(apsw.SQLError, match="no such table"):
            connection.execute(statement)
    db.execute("CREATE TABLE mine(y); INSERT INTO mine VALUES (7)")
    assert rows(reader, "SELECT y FROM mine") == [(7,)]
    assert ask(db, "graft_push").startswith("pushed LSN 2")
    assert ask(reader, "graft_switch=db") == "switched from b to db, at LSN 2"
    for connection in (reader, db):
        assert rows(connection, statement) == [(0,)]
        assert rows(connection, ALL) == [("one",)]


def test_a_read_transaction_keeps_its_version(db, volumes):
    reader = volumes.connect()
    ask(db, "graft_branch='b 1'")
    reader.execute("BEGIN")
    assert rows(reader, ALL) == [("one",)]
    assert "still reads" in ask(reader, "graft_switch=b")
    assert rows(reader, ALL) == [("one",)]
    reader.execute("COMMIT")
    assert len(rows(reader, ALL)) == 3


def test_an_open_write_transaction_is_in_the_way(db, volumes):
    ask(db, "graft_branch=b")
    db.execute("BEGIN IMMEDIATE; INSERT INTO t VALUES (5, 'five')")
    with apsw_cause(BadRequest):
        db.pragma("graft_switch", "b")
    volumes.replica().settings = volumes.replica().settings.model_copy(update={"lock_timeout_s": 0.0})
    with pytest.raises(WriterBusy):
        switch(volumes.replica(), "b")
    db.execute("COMMIT")
    assert rows(db, ALL) == [("one",), ("five",)]
    assert volumes.replica().name == "db"


def test_local_commits_go_along(db, volumes):
    db.execute("INSERT INTO t VALUES (2, 'local')")
    assert "went along: 1" in ask(db, "graft_switch='-c b'")
    db.execute("INSERT INTO t VALUES (3, 'more')")
    ask(db, "graft_push")
    assert rows(volumes.connect("there", remote="#b"), ALL) == [("one",), ("local",), ("more",)]
    assert rows(volumes.connect("main", remote="#db"), ALL) == [("one",)]


def test_restoring(db, volumes):
    """Open connections read the old schema again, though the schema cookie goes back to one that they have seen."""
    reader, there = volumes.connect(), volumes.connect("there", remote="#db")
    for connection in (reader, there):
        assert rows(connection, "SELECT count(*) FROM other") == [(0,)]
    assert ask(db, "graft_restore=1").startswith("restored LSN 1 as LSN 3: ")
    db.execute("CREATE TABLE another(y); INSERT INTO another VALUES (7)")  # with the cookie that `other` had
    ask(db, "graft_push")
    ask(there, "graft_pull")
    for connection in (db, reader, there):
        assert rows(connection, ALL) == [("one",), ("two",), ("three",)]
        assert rows(connection, "SELECT y FROM another") == [(7,)]
        with pytest.raises(apsw.SQLError, match="no such table"):
            connection.execute("SELECT * FROM other")
    assert ask(db, "graft_log=2").splitlines()[-1].endswith("restore LSN 1")
    db.execute("BEGIN IMMEDIATE")
    with apsw_cause(BadRequest):
        db.pragma("graft_restore", "1")
    db.execute("ROLLBACK")


@pytest.mark.parametrize("pragma", ["tag='a b c'", "tag='-d'", "branch='a b c'", "switch='a b'", "tag='\"'", "tag='9'"])
def test_wrong_values(db, pragma):
    with apsw_cause(BadRequest):
        db.execute(f"PRAGMA graft_{pragma}")
    assert ask(db, "graft_tag") == "no tags"


class apsw_cause:  # noqa: N801
    """A block that fails in SQLite because of one of our errors."""

    def __init__(self, kind):
        self.kind = kind

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        assert isinstance(error, apsw.Error), error
        assert isinstance(error.__cause__, self.kind), error.__cause__
        return True
