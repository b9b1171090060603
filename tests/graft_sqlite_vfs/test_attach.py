"""Several volumes in one connection."""

import apsw
import pytest

from graft.errors import LocalStorageError, RemoteUnavailable
from graft.replica.transaction import WriteTransaction
from tests.graft_sqlite_vfs.conftest import committed_in_python, failing, fill, rows

BOTH = "SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM other.o)"


@pytest.fixture
def both(db, volumes) -> apsw.Connection:
    made = volumes.connect("other", remote="#other")
    made.execute("CREATE TABLE o(id INTEGER PRIMARY KEY, v)")
    made.close()
    db.execute("ATTACH ? AS other", (str(volumes.path("other")),))
    return db


def write_both(connection: apsw.Connection) -> None:
    connection.execute("INSERT INTO t(v) VALUES (1); INSERT INTO o(v) VALUES (1)")


def test_one_transaction_commits_to_each(both, volumes):
    before = volumes.commits(), volumes.commits("other")
    with both:
        write_both(both)
    assert (volumes.commits(), volumes.commits("other")) == (before[0] + 1, before[1] + 1)
    assert rows(both, BOTH) == [(4, 1)]


def test_only_what_was_written_is_committed(both, volumes):
    before = volumes.commits(), volumes.commits("other")
    with both:
        both.execute("INSERT INTO o SELECT * FROM t")
    assert (volumes.commits(), volumes.commits("other")) == (before[0], before[1] + 1)


def test_rollback(both, volumes):
    before = volumes.commits(), volumes.commits("other")
    both.execute("BEGIN")
    write_both(both)
    both.execute("ROLLBACK")
    assert (volumes.commits(), volumes.commits("other")) == before
    assert rows(both, BOTH) == [(3, 0)]


@pytest.fixture
def second_fails(monkeypatch, commits_in_python):
    """The second of two commits fails, with a given error."""

    def arm(error):
        commit, calls = WriteTransaction.commit, []

        def second(self, *args, **kwargs):
            calls.append(self)
            if len(calls) == 2:
                raise error
            return commit(self, *args, **kwargs)

        monkeypatch.setattr(WriteTransaction, "commit", second)

    return arm


def test_when_the_second_commit_fails_the_first_is_taken_back(second_fails, both, volumes):
    second_fails(LocalStorageError("the disk fails"))
    both.execute("BEGIN")
    write_both(both)
    with pytest.raises(apsw.IOError, match="the disk fails"):
        both.execute("COMMIT")
    assert not both.in_transaction
    assert rows(both, BOTH) == [(3, 0)]
    for name, sql, count in (("db", "SELECT count(*) FROM t", 3), ("other", "SELECT count(*) FROM o", 0)):
        assert rows(volumes.connect(name, remote=f"#{name}"), sql) == [(count,)]
    with both:
        write_both(both)
    assert rows(both, BOTH) == [(4, 1)]
    assert rows(volumes.connect(), "SELECT count(*) FROM t") == [(4,)]


def test_when_the_second_commit_is_busy_it_can_be_tried_again(second_fails, both, volumes):
    second_fails(RemoteUnavailable("the remote is away"))
    both.execute("BEGIN")
    write_both(both)
    with pytest.raises(apsw.BusyError, match="the remote is away"):
        both.execute("COMMIT")
    assert both.in_transaction
    both.execute("COMMIT")
    assert rows(both, BOTH) == [(4, 1)]
    assert rows(volumes.connect(), "SELECT count(*) FROM t") == [(4,)]
    assert rows(volumes.connect("other", remote="#other"), "SELECT count(*) FROM o") == [(1,)]


def test_when_the_second_commit_is_busy_and_given_up(second_fails, both, volumes):
    second_fails(RemoteUnavailable("the remote is away"))
    both.execute("BEGIN")
    write_both(both)
    with pytest.raises(apsw.BusyError):
        both.execute("COMMIT")
    both.execute("ROLLBACK")
    assert rows(both, BOTH) == [(3, 0)]
    reader = volumes.connect()
    assert rows(reader, "SELECT count(*) FROM t") == [(3,)]
    reader.execute("INSERT INTO t(v) VALUES (1)")
    assert rows(both, BOTH) == [(4, 0)]


def test_the_same_volume_twice(db, volumes):
    db.execute("ATTACH ? AS again", (str(volumes.path()),))
    assert rows(db, "SELECT count(*) FROM again.t") == [(3,)]
    db.execute("INSERT INTO again.t VALUES (4, 'four')")
    assert rows(db, "SELECT count(*) FROM main.t") == [(4,)]
    with pytest.raises(apsw.BusyError), db:
        db.execute("INSERT INTO main.t VALUES (5, 5); INSERT INTO again.t VALUES (6, 6)")
    assert rows(db, "SELECT count(*) FROM main.t") == [(4,)]


@committed_in_python
def test_durability_by_uri(db, volumes, monkeypatch):
    levels = []
    commit = WriteTransaction.commit
    monkeypatch.setattr(
        WriteTransaction, "commit", lambda self, durability: levels.append(durability) or commit(self, durability)
    )
    volumes.connect("other", remote="#other").execute("CREATE TABLE o(v)")
    db.execute(f"ATTACH 'file:{volumes.path('other')}?vfs=graft&durability=relaxed' AS other")
    db.execute("INSERT INTO o VALUES (1)")
    assert levels[-1] == "relaxed"
    db.execute("INSERT INTO t VALUES (4, 4)")
    assert levels[-1] == "local"
    with pytest.raises(apsw.CantOpenError, match="unknown durability 'always': use local, relaxed, remote"):
        db.execute(f"ATTACH 'file:{volumes.path('other')}?vfs=graft&durability=always' AS third")


@pytest.mark.parametrize("page_size", [512, 8192, 65536])
def test_an_empty_volume_of_another_page_size(db, volumes, page_size):
    volumes.connect("other", remote="#other", page_size=page_size).close()
    db.execute("ATTACH ? AS other", (str(volumes.path("other")),))
    db.execute("CREATE TABLE other.o AS SELECT * FROM t")
    fill(db, 500)
    db.execute("INSERT INTO o SELECT * FROM t")
    assert db.pragma("page_size", schema="other") == page_size
    reader = volumes.connect("other", remote="#other")
    assert rows(reader, "SELECT count(*) FROM o") == [(506,)]


def test_detach_lets_go_of_the_replica(db, volumes):
    from graft.replica import opening

    volumes.connect("other", remote="#other").close()
    db.execute("ATTACH ? AS other", (str(volumes.path("other")),))
    assert opening.opened_at(volumes.path("other").resolve())
    db.execute("DETACH other")
    assert not opening.opened_at(volumes.path("other").resolve())


@committed_in_python
def test_a_failed_first_commit_is_no_commit_anywhere(both, volumes, monkeypatch):
    before = volumes.commits(), volumes.commits("other")
    monkeypatch.setattr(WriteTransaction, "commit", failing(LocalStorageError("the disk fails")))
    both.execute("BEGIN")
    write_both(both)
    with pytest.raises(apsw.IOError, match="the disk fails"):
        both.execute("COMMIT")
    assert not both.in_transaction
    assert (volumes.commits(), volumes.commits("other")) == before
    assert rows(both, BOTH) == [(3, 0)]
