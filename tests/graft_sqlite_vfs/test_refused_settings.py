"""Settings that would lose data are refused with words, not ignored."""

import apsw
import pytest

from tests.graft_sqlite_vfs.conftest import rows


@pytest.mark.parametrize("mode", ["wal", "OFF", "delete", "truncate", "persist", "'wal'"])
def test_journal_modes(db, mode):
    with pytest.raises(apsw.SQLError, match=r"only with journal_mode=MEMORY"):
        db.execute(f"PRAGMA journal_mode={mode}")
    assert db.pragma("journal_mode") == "memory"
    assert db.pragma("journal_mode", "memory") == "memory"


def test_locking_mode(db):
    with pytest.raises(apsw.SQLError, match="BEGIN IMMEDIATE"):
        db.execute("PRAGMA locking_mode=EXCLUSIVE")
    assert db.pragma("locking_mode") == "normal"
    assert db.pragma("locking_mode", "normal") == "normal"


def test_page_size(db, volumes):
    for connection in (db, volumes.connect("new", remote="#new")):
        with pytest.raises(apsw.SQLError, match="pages of 4096 bytes, which cannot change"):
            connection.execute("PRAGMA page_size=8192")
        connection.execute("PRAGMA page_size=4096; VACUUM")
        assert connection.pragma("page_size") == 4096


def test_page_size_by_a_detour(db, tmp_path):
    # The size is remembered for VACUUM when it is set on a plain database.
    db.execute(f"ATTACH 'file:{tmp_path / 'plain'}?vfs=unix' AS plain; PRAGMA plain.page_size=8192")
    with pytest.raises(apsw.SQLError, match="pages of 4096 bytes"):
        db.execute("VACUUM main")
    db.execute("INSERT INTO t VALUES (4, 'four')")
    db.execute("DETACH plain")


def test_mmap_size_is_harmless(db):
    db.execute("PRAGMA mmap_size=268435456")
    db.execute("INSERT INTO t VALUES (4, 'four')")
    assert rows(db, "SELECT count(*) FROM t") == [(4,)]


@pytest.mark.parametrize(
    "sql",
    [
        "PRAGMA synchronous=EXTRA",
        "PRAGMA temp_store=MEMORY",
        "PRAGMA cache_spill=OFF",
        "PRAGMA secure_delete=ON",
        "PRAGMA wal_checkpoint(TRUNCATE)",
        "PRAGMA wal_autocheckpoint=10",
        "PRAGMA journal_size_limit=1000",
        "PRAGMA threads=2",
        "PRAGMA optimize",
        "PRAGMA user_version=7",
        "PRAGMA application_id=7",
        "PRAGMA foreign_keys=ON",
        "PRAGMA max_page_count=100000",
        "PRAGMA query_only=OFF",
    ],
)
def test_other_pragmas_do_no_harm(db, volumes, sql):
    rows(db, sql)
    db.execute("INSERT INTO t VALUES (4, 'four')")
    assert rows(volumes.connect(), "SELECT count(*) FROM t") == [(4,)]


def plain_main(volumes, tmp_path) -> apsw.Connection:
    """A plain database with a volume attached: its pragmas without a schema never pass through a volume."""
    volumes.connect("other", remote="#other").execute("CREATE TABLE o(v)")
    connection = apsw.Connection(
        f"file:{tmp_path / 'plain.db'}?vfs=unix",
        flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI,
    )
    volumes.connections.append(connection)
    connection.execute(f"ATTACH 'file:{volumes.path('other')}?vfs=graft' AS other; CREATE TABLE p(v)")
    return connection


def test_exclusive_locking_that_could_not_be_refused_loses_nothing_silently(volumes, tmp_path):
    connection = plain_main(volumes, tmp_path)
    rows(connection, "PRAGMA locking_mode=EXCLUSIVE")
    connection.execute("INSERT INTO o VALUES (1)")
    with pytest.raises(apsw.SQLError, match="locking_mode=EXCLUSIVE cannot be used"):
        connection.execute("INSERT INTO o VALUES (2)")
    assert rows(connection, "SELECT * FROM o") == [(1,)]
    rows(connection, "PRAGMA locking_mode=NORMAL")
    rows(connection, "SELECT * FROM o")
    connection.execute("INSERT INTO o VALUES (3)")
    assert rows(volumes.connect("other", remote="#other"), "SELECT * FROM o") == [(1,), (3,)]


def test_wal_that_could_not_be_refused_is_not_taken_up(volumes, tmp_path):
    connection = plain_main(volumes, tmp_path)
    rows(connection, "PRAGMA journal_mode=WAL")
    assert connection.pragma("journal_mode", schema="main") == "wal"
    assert connection.pragma("journal_mode", schema="other") == "delete"
    connection.execute("INSERT INTO o VALUES (1); INSERT INTO p VALUES (1)")
    assert rows(volumes.connect("other", remote="#other"), "SELECT * FROM o") == [(1,)]


def test_wal_with_exclusive_locking_that_could_not_be_refused(volumes, tmp_path):
    connection = plain_main(volumes, tmp_path)
    with pytest.raises(apsw.CantOpenError, match="no write-ahead log"):
        rows(connection, "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; INSERT INTO o VALUES (1)")
    connection.close()
    assert rows(volumes.connect("other", remote="#other"), "SELECT * FROM o") == []


def test_no_journal_that_could_not_be_refused_keeps_rollbacks(volumes, tmp_path):
    connection = plain_main(volumes, tmp_path)
    rows(connection, "PRAGMA journal_mode=OFF; PRAGMA other.cache_size=2")
    commits = volumes.commits("other")
    connection.execute("BEGIN; INSERT INTO o SELECT randomblob(3000) FROM (VALUES (1), (2), (3), (4), (5))")
    connection.execute("ROLLBACK")
    assert volumes.commits("other") == commits
    assert rows(connection, "SELECT count(*) FROM o") == [(0,)]
