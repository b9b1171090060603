"""No connection reads from its page cache what belongs to another content (docs/adr/0005)."""

import apsw
import pytest

from graft.sync.pull import discard, pull
from graft.sync.push import push
from tests.graft_sqlite_vfs.conftest import integrity, rows


@pytest.fixture
def two(db, volumes):
    """Two replicas of one volume, each with a warm connection."""
    push(volumes.replica())
    other = volumes.connect("clone", remote="#db")
    for connection in (db, other):
        rows(connection, "SELECT * FROM t")
    return db, other


def stored_probe(replica) -> bytes:
    return bytes(replica.snapshot().read(1)[24:40])


def schema_cookie(replica) -> int:
    return int.from_bytes(replica.snapshot().read(1)[40:44], "big")


def test_diverged_histories_whose_headers_agree(two, volumes):
    db, other = two
    mine, theirs = volumes.replica(), volumes.replica("clone")
    db.execute("UPDATE t SET v = 'mine' WHERE id = 1")
    other.execute("UPDATE t SET v = 'theirs' WHERE id = 2")
    push(mine)
    assert stored_probe(mine) == stored_probe(theirs)  # what SQLite would go by
    pull(theirs, policy="discard")
    assert rows(other, "SELECT v FROM t ORDER BY id") == [("mine",), ("two",), ("three",)]
    other.execute("INSERT INTO t VALUES (4, 'four')")
    assert rows(volumes.connect("clone", remote="#db"), "SELECT v FROM t ORDER BY id") == [
        ("mine",), ("two",), ("three",), ("four",),
    ]  # fmt: skip


def test_diverged_histories_whose_schema_cookies_agree(two, volumes):
    db, other = two
    mine, theirs = volumes.replica(), volumes.replica("clone")
    db.execute("CREATE TABLE mine(v); CREATE TABLE late_mine(v UNIQUE); INSERT INTO mine VALUES ('first')")
    other.execute("CREATE TABLE theirs(v UNIQUE); CREATE TABLE late_theirs(v); INSERT INTO theirs VALUES ('lost')")
    push(mine)
    assert schema_cookie(mine) == schema_cookie(theirs)  # what SQLite would go by
    pull(theirs, policy="discard")
    with pytest.raises(apsw.SQLError, match="no such table: theirs"):
        other.execute("INSERT INTO theirs VALUES ('not into another table')")
    other.execute("INSERT INTO mine VALUES ('second'); CREATE TABLE more(v); INSERT INTO more VALUES (1)")
    assert schema_cookie(theirs) == schema_cookie(mine) + 1
    push(theirs)
    pull(mine)
    for reader in (db, other, volumes.connect("clone", remote="#db")):
        assert rows(reader, "SELECT v FROM mine ORDER BY v") == [("first",), ("second",)]
        assert rows(reader, "SELECT v FROM more") == [(1,)]
        integrity(reader)


def test_a_volume_that_is_empty_again_and_made_anew(volumes):
    db, reader = volumes.connect("new", remote="#new"), volumes.connect("new", remote="#new")
    replica = volumes.replica("new")
    for round_ in range(3):
        for step in range(round_ + 1):
            db.execute(f"CREATE TABLE t{round_}_{step}(v); INSERT INTO t{round_}_{step} VALUES ({step})")
            if round_ != 1:
                assert rows(reader, f"SELECT v FROM t{round_}_{step}") == [(step,)]
        assert [name for (name,) in rows(reader, "SELECT name FROM sqlite_schema")] == [
            f"t{round_}_{step}" for step in range(round_ + 1)
        ]
        discard(replica)
        if round_ == 0:
            assert rows(reader, "SELECT name FROM sqlite_schema") == []


def test_pull_drops_the_cache(two, volumes):
    db, other = two
    for n in range(5):
        db.execute("UPDATE t SET v = ?", (n,))
        push(volumes.replica())
        pull(volumes.replica("clone"))
        assert rows(other, "SELECT DISTINCT v FROM t") == [(n,)]


def test_pull_while_reading_waits_for_the_end_of_the_transaction(two, volumes):
    db, other = two
    other.execute("BEGIN")
    rows(other, "SELECT * FROM t")
    db.execute("UPDATE t SET v = 'new'; CREATE TABLE x(a)")
    push(volumes.replica())
    pull(volumes.replica("clone"))
    assert rows(other, "SELECT v FROM t WHERE id = 1") == [("one",)]
    assert rows(other, "SELECT name FROM sqlite_schema") == [("t",)]
    other.execute("COMMIT")
    assert rows(other, "SELECT v FROM t WHERE id = 1") == [("new",)]
    assert rows(other, "SELECT * FROM x") == []
    integrity(other)


def test_push_changes_nothing_for_readers(two, volumes):
    db, _ = two
    db.execute("UPDATE t SET v = 'new'")
    version = db.data_version()
    rows(db, "SELECT * FROM t")
    push(volumes.replica())
    rows(db, "SELECT * FROM t")
    assert db.data_version() == version


def test_a_reader_may_go_on_to_write_after_a_push(two, volumes):
    db, _ = two
    db.execute("UPDATE t SET v = 'new'")
    db.execute("BEGIN; SELECT * FROM t")
    assert '"lsn": 1' in db.pragma("graft_snapshot", "json")
    push(volumes.replica())
    db.execute("INSERT INTO t VALUES (4, 'four')")
    assert '"lsn": 2' in db.pragma("graft_snapshot", "json")
    db.execute("COMMIT")
    assert rows(volumes.connect(), "SELECT count(*) FROM t WHERE v = 'new'") == [(3,)]


def test_pull_back_to_an_empty_volume(volumes):
    made = volumes.connect()
    made.execute("CREATE TABLE t(v); INSERT INTO t VALUES (1)")
    rows(made, "SELECT * FROM t")
    pull(volumes.replica(), policy="discard")
    assert rows(made, "SELECT * FROM sqlite_schema") == []
    made.execute("CREATE TABLE other(v); INSERT INTO other VALUES (2)")
    assert rows(volumes.connect(), "SELECT * FROM other") == [(2,)]
