"""What becomes a commit, and what never does."""

import apsw
import pytest

from graft.errors import Diverged, GraftError, LocalStorageError, RemoteUnavailable, StaleSnapshot, WriterBusy
from graft.replica.transaction import WriteTransaction
from graft.settings import Durability, Settings
from tests.graft_sqlite_vfs.conftest import committed_in_python, failing, fill, integrity, rows, spilling


def reopened(volumes, sql: str) -> list[tuple]:
    """What a new connection, without any cache, reads."""
    connection = volumes.connect()
    integrity(connection)
    return rows(connection, sql)


COUNT = "SELECT count(*), coalesce(sum(length(v)), 0) FROM t"


def test_a_transaction_is_one_commit(db, volumes):
    before = volumes.commits()
    with db:
        for i in range(10, 20):
            db.execute("INSERT INTO t VALUES (?, 'x')", (i,))
    assert volumes.commits() == before + 1
    assert reopened(volumes, "SELECT count(*) FROM t") == [(13,)]


@pytest.mark.parametrize(
    "sql",
    [
        "BEGIN; COMMIT",
        "BEGIN IMMEDIATE; ROLLBACK",
        "BEGIN EXCLUSIVE; COMMIT",
        "BEGIN IMMEDIATE; SELECT * FROM t; COMMIT",
        "BEGIN; INSERT INTO t VALUES (9, 9); ROLLBACK",
        "SAVEPOINT a; INSERT INTO t VALUES (9, 9); ROLLBACK TO a; ROLLBACK",
        "SELECT count(*) FROM t",
        "PRAGMA integrity_check",
    ],
)
def test_nothing_changed_is_no_commit(db, volumes, sql):
    before = volumes.commits()
    db.execute(sql)
    assert volumes.commits() == before
    assert reopened(volumes, "SELECT count(*) FROM t") == [(3,)]


def test_an_update_that_changes_nothing(db, volumes):
    before = volumes.commits()
    db.execute("UPDATE t SET v = v WHERE id = 99")
    assert volumes.commits() == before
    db.execute("UPDATE t SET v = v WHERE id = 1")  # SQLite finds the row as it is and writes no page
    assert volumes.commits() == before
    assert reopened(volumes, "SELECT v FROM t WHERE id = 1") == [("one",)]


@pytest.mark.parametrize("settings", [Settings(), Settings(spill_bytes=0)], ids=["memory", "spilled"])
class TestSpills:
    """Transactions larger than SQLite's cache, and larger than ours."""

    @pytest.fixture
    def big(self, volumes, settings) -> apsw.Connection:
        connection = volumes.connect(settings=settings)
        connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
        fill(connection, 400)
        spilling(connection)
        return connection

    def test_commit(self, big, volumes):
        before = volumes.commits()
        with big:
            big.execute("UPDATE t SET v = v || 'x'")
            fill(big, 300)
        assert volumes.commits() == before + 1
        assert rows(big, COUNT) == reopened(volumes, COUNT)
        assert rows(big, "SELECT count(*) FROM t WHERE v LIKE '%x'") == [(400,)]

    def test_rollback(self, big, volumes):
        before, content = volumes.commits(), rows(big, "SELECT * FROM t")
        big.execute("BEGIN")
        big.execute("UPDATE t SET v = v || 'x'; DELETE FROM t WHERE id > 300; CREATE TABLE other(a)")
        fill(big, 300)
        big.execute("ROLLBACK")
        assert volumes.commits() == before
        assert rows(big, "SELECT * FROM t") == content == reopened(volumes, "SELECT * FROM t")
        big.execute("INSERT INTO t(v) VALUES ('after')")
        assert reopened(volumes, "SELECT count(*) FROM t") == [(401,)]

    def test_rollback_of_the_first_transaction(self, volumes, settings):
        connection = volumes.connect("new", settings=settings)
        spilling(connection)
        connection.execute("BEGIN; CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
        fill(connection, 400)
        connection.execute("ROLLBACK")
        assert volumes.commits("new") == 0
        assert rows(connection, "SELECT * FROM sqlite_schema") == []
        connection.execute("CREATE TABLE t(v)")
        assert rows(connection, "SELECT count(*) FROM t") == [(0,)]

    def test_rollback_to_a_savepoint(self, big, volumes):
        before = volumes.commits()
        big.execute("BEGIN; UPDATE t SET v = 'early' WHERE id <= 200")
        big.execute("SAVEPOINT a; CREATE TABLE other(a); UPDATE t SET v = v || 'x'; DELETE FROM t WHERE id % 2")
        fill(big, 300)
        big.execute("ROLLBACK TO a")
        assert rows(big, "SELECT count(*) FROM t WHERE v = 'early'") == [(200,)]
        big.execute("RELEASE a; COMMIT")
        assert volumes.commits() == before + 1
        assert rows(big, COUNT) == reopened(volumes, COUNT)
        assert reopened(volumes, "SELECT count(*), sum(v = 'early') FROM t") == [(400, 200)]

    def test_everything_rolled_back_to_a_savepoint_and_committed(self, big, volumes):
        content = rows(big, "SELECT * FROM t")
        big.execute("BEGIN; SAVEPOINT a; UPDATE t SET v = v || 'x'")
        big.execute("ROLLBACK TO a; COMMIT")
        assert content == reopened(volumes, "SELECT * FROM t")

    def test_a_failing_statement_leaves_the_rest_of_its_transaction(self, big, volumes):
        big.execute("CREATE UNIQUE INDEX u ON t(v)")
        big.execute("BEGIN; UPDATE t SET v = 'a' || id")
        with pytest.raises(apsw.ConstraintError):
            big.execute("UPDATE t SET v = CASE WHEN id = 399 THEN 'b1' ELSE 'b' || id END")
        big.execute("COMMIT")
        assert reopened(volumes, "SELECT count(*) FROM t WHERE v = 'a' || id") == [(400,)]

    @committed_in_python
    def test_a_failed_commit_is_rolled_back_and_tried_again(self, big, volumes, monkeypatch):
        before, content = volumes.commits(), rows(big, "SELECT * FROM t")
        monkeypatch.setattr(WriteTransaction, "commit", failing(LocalStorageError("the disk fails")))
        with pytest.raises(apsw.IOError, match="the disk fails"):
            big.execute("UPDATE t SET v = v || 'x'")
        assert not big.in_transaction
        assert volumes.commits() == before
        assert rows(big, "SELECT * FROM t") == content == reopened(volumes, "SELECT * FROM t")
        big.execute("UPDATE t SET v = v || 'y'")
        assert reopened(volumes, "SELECT count(*) FROM t WHERE v LIKE '%y'") == [(400,)]

    def test_others_see_what_was_committed_after_a_rolled_back_spill(self, big, volumes):
        other = volumes.connect()
        big.execute("BEGIN; UPDATE t SET v = v || 'x'; ROLLBACK")
        assert rows(big, COUNT) == rows(other, COUNT)
        for n in range(5):
            other.execute("UPDATE t SET v = ?", (n,))
            assert rows(big, "SELECT DISTINCT v FROM t") == [(n,)]
            big.execute("BEGIN; UPDATE t SET v = v || 'x'; ROLLBACK")


@committed_in_python
def test_busy_at_the_sync_point_keeps_the_transaction(db, volumes, monkeypatch):
    monkeypatch.setattr(WriteTransaction, "commit", failing(RemoteUnavailable("the remote is away")))
    db.execute("BEGIN; INSERT INTO t VALUES (4, 'four')")
    before = volumes.commits()
    with pytest.raises(apsw.BusyError, match="the remote is away") as caught:
        db.execute("COMMIT")
    assert isinstance(caught.value.__cause__, RemoteUnavailable)
    assert db.in_transaction
    assert volumes.commits() == before
    db.execute("INSERT INTO t VALUES (5, 'five')")
    db.execute("COMMIT")
    assert volumes.commits() == before + 1
    assert reopened(volumes, "SELECT count(*) FROM t") == [(5,)]


@committed_in_python
def test_several_counters_in_one_commit(db, volumes, monkeypatch):
    # A commit that is tried again with one more change moves SQLite's counter twice. Another content must not get
    # that number: SQLite would take its cache for valid. Nothing else of what it compares differs here.
    other = volumes.connect()
    monkeypatch.setattr(WriteTransaction, "commit", failing(RemoteUnavailable("the remote is away")))
    db.execute("BEGIN; UPDATE t SET v = 'mine' WHERE id = 1")
    with pytest.raises(apsw.BusyError):
        db.execute("COMMIT")
    db.execute("PRAGMA user_version=7; COMMIT")
    other.execute("UPDATE t SET v = 'theirs' WHERE id = 1")
    assert rows(db, "SELECT v FROM t WHERE id = 1") == [("theirs",)]


@committed_in_python
def test_busy_at_the_sync_point_and_rolled_back(db, volumes, monkeypatch):
    monkeypatch.setattr(WriteTransaction, "commit", failing(RemoteUnavailable("the remote is away")))
    db.execute("BEGIN; INSERT INTO t VALUES (4, 'four')")
    before = volumes.commits()
    with pytest.raises(apsw.BusyError):
        db.execute("COMMIT")
    db.execute("ROLLBACK")
    assert volumes.commits() == before
    assert rows(db, "SELECT count(*) FROM t") == reopened(volumes, "SELECT count(*) FROM t") == [(3,)]
    db.execute("INSERT INTO t VALUES (4, 'four')")
    assert volumes.commits() == before + 1


@committed_in_python
@pytest.mark.parametrize(
    "error", [StaleSnapshot("stale"), Diverged("diverged"), LocalStorageError("disk"), GraftError("else")]
)
def test_an_error_at_the_sync_point_rolls_back(db, volumes, monkeypatch, error):
    monkeypatch.setattr(WriteTransaction, "commit", failing(error))
    db.execute("BEGIN; INSERT INTO t VALUES (4, 'four')")
    before = volumes.commits()
    with pytest.raises(apsw.Error, match=str(error)) as caught:
        db.execute("COMMIT")
    assert caught.value.__cause__ is error
    assert not db.in_transaction
    assert volumes.commits() == before
    assert rows(db, "SELECT count(*) FROM t") == reopened(volumes, "SELECT count(*) FROM t") == [(3,)]


@committed_in_python
def test_an_error_in_a_with_block(db, monkeypatch):
    # apsw, which rolls back for the user, raises SQLite's own words then; ours are the error before.
    monkeypatch.setattr(WriteTransaction, "commit", failing(LocalStorageError("the disk fails")))
    with pytest.raises(apsw.IOError) as caught, db:
        db.execute("INSERT INTO t VALUES (4, 'four')")
    assert str(caught.value.__context__) == "the disk fails"
    assert rows(db, "SELECT count(*) FROM t") == [(3,)]


def test_synchronous_off_commits_all_the_same(db, volumes):
    db.execute("PRAGMA synchronous=OFF")
    db.execute("INSERT INTO t VALUES (4, 'four')")
    assert reopened(volumes, "SELECT count(*) FROM t") == [(4,)]


def test_remote_durability_pushes_each_commit(volumes):
    store = volumes.behind_store()
    db = volumes.connect(durability="remote")
    db.execute("CREATE TABLE t(v)")
    assert volumes.commits() == 0
    assert volumes.replica().snapshot().lsn == 1
    store.down = True
    db.execute("BEGIN; INSERT INTO t VALUES (randomblob(100000))")  # too much to travel inside the commit
    with pytest.raises(apsw.BusyError, match="does not answer"):
        db.execute("COMMIT")
    assert db.in_transaction
    assert volumes.commits() == 0
    store.down = False
    db.execute("COMMIT")
    assert volumes.commits() == 0
    assert volumes.replica().snapshot().lsn == 2
    assert rows(db, "SELECT length(v) FROM t") == [(100000,)]


def test_remote_durability_autocommit_with_the_remote_down(volumes):
    store = volumes.behind_store()
    db = volumes.connect(durability=Durability.REMOTE)
    db.execute("CREATE TABLE t(v)")
    store.down = True
    with pytest.raises(apsw.BusyError, match="does not answer"):
        db.execute("INSERT INTO t VALUES (randomblob(100000))")
    assert rows(db, "SELECT * FROM t") == []
    assert volumes.commits() == 0
    store.down = False
    db.execute("INSERT INTO t VALUES (1)")
    assert rows(db, "SELECT * FROM t") == [(1,)]


def test_remote_durability_with_an_open_outcome(volumes):
    # The commit itself was sent, and no answer came: it is kept, the caller is told, and the next push settles it.
    store = volumes.behind_store()
    db = volumes.connect(durability="remote")
    db.execute("CREATE TABLE t(v)")
    store.down = True
    db.execute("BEGIN; INSERT INTO t VALUES (1)")
    with pytest.raises(apsw.IOError, match="the next push settles it") as caught:
        db.execute("COMMIT")
    assert isinstance(caught.value.__cause__, RemoteUnavailable)
    assert not db.in_transaction
    assert rows(db, "SELECT * FROM t") == [(1,)]
    store.down = False
    db.execute("INSERT INTO t VALUES (2)")
    assert rows(db, "SELECT * FROM t") == [(1,), (2,)]
    assert volumes.commits() == 0


def test_relaxed_durability(volumes):
    db = volumes.connect(durability="relaxed")
    db.execute("CREATE TABLE t(v); INSERT INTO t VALUES (1)")
    assert reopened(volumes, "SELECT * FROM t") == [(1,)]


class TestShrinking:
    def test_vacuum(self, db, volumes):
        fill(db, 2000)
        db.execute("DELETE FROM t WHERE id > 3")
        size = volumes.replica().snapshot().page_count
        db.execute("VACUUM")
        assert volumes.replica().snapshot().page_count == db.pragma("page_count") < size / 5
        assert reopened(volumes, "SELECT count(*) FROM t") == [(3,)]

    def test_vacuum_is_one_commit(self, db, volumes):
        fill(db, 2000)
        db.execute("DELETE FROM t WHERE id > 3")
        before = volumes.commits()
        db.execute("VACUUM")
        assert volumes.commits() == before + 1
        db.execute("SELECT * FROM t")
        assert volumes.commits() == before + 1

    def test_regrown_pages_are_not_the_old_ones(self, db, volumes):
        for _ in range(3):
            fill(db, 1000)
            db.execute("DELETE FROM t WHERE id > 3; VACUUM")
        fill(db, 1000)
        assert reopened(volumes, COUNT) == rows(db, COUNT)

    @pytest.mark.parametrize("mode", ["FULL", "INCREMENTAL"])
    def test_auto_vacuum(self, volumes, mode):
        db = volumes.connect()
        db.execute(f"PRAGMA auto_vacuum={mode}")
        db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
        fill(db, 2000)
        size = volumes.replica().snapshot().page_count
        db.execute("DELETE FROM t WHERE id > 100")
        rows(db, "PRAGMA incremental_vacuum")
        assert volumes.replica().snapshot().page_count == db.pragma("page_count") < size / 2
        fill(db, 500)
        assert reopened(volumes, COUNT) == rows(db, COUNT)

    @committed_in_python
    @pytest.mark.parametrize("big_cache", [True, False])
    def test_vacuum_rolled_back(self, db, volumes, monkeypatch, big_cache):
        fill(db, 1000)
        db.execute("DELETE FROM t WHERE id % 3")
        if not big_cache:
            spilling(db)
        before, content = volumes.commits(), rows(db, "SELECT * FROM t")
        monkeypatch.setattr(WriteTransaction, "commit", failing(LocalStorageError("the disk fails")))
        with pytest.raises(apsw.IOError, match="the disk fails"):
            db.execute("VACUUM")
        assert volumes.commits() == before
        assert rows(db, "SELECT * FROM t") == content == reopened(volumes, "SELECT * FROM t")
        db.execute("VACUUM")
        assert reopened(volumes, "SELECT * FROM t") == content


@pytest.mark.parametrize("step", [-1, 7])
def test_backup_into_a_volume(volumes, tmp_path, step):
    plain = apsw.Connection(str(tmp_path / "plain.db"))
    plain.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    fill(plain, 500)
    db = volumes.connect()
    with db.backup("main", plain, "main") as backup:
        while not backup.done:
            backup.step(step)
    assert rows(db, "SELECT * FROM t") == rows(plain, "SELECT * FROM t")
    assert volumes.commits() == 1
    plain.execute("DELETE FROM t WHERE id > 10; VACUUM")
    with db.backup("main", plain, "main") as backup:
        backup.step(-1)
    plain.close()
    assert reopened(volumes, "SELECT count(*) FROM t") == [(10,)]
    assert volumes.replica().snapshot().page_count == db.pragma("page_count")


def test_backup_with_other_pages_is_refused(volumes, tmp_path):
    plain = apsw.Connection(str(tmp_path / "plain.db"))
    plain.execute("PRAGMA page_size=1024; CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    fill(plain, 50)
    db = volumes.connect()
    with pytest.raises(apsw.Error, match="pages of 4096 bytes"), db.backup("main", plain, "main") as backup:
        backup.step(-1)
    plain.close()
    assert volumes.commits() == 0


def test_backup_out_of_a_volume(db, tmp_path):
    plain = apsw.Connection(str(tmp_path / "plain.db"))
    with plain.backup("main", db, "main") as backup:
        backup.step(-1)
    integrity(plain)
    assert rows(plain, "SELECT * FROM t") == rows(db, "SELECT * FROM t")
    plain.close()


def test_a_connection_closed_in_mid_transaction_leaves_nothing(db, volumes):
    before = volumes.commits()
    other = volumes.connect()
    other.execute("BEGIN; INSERT INTO t VALUES (4, 'four')")
    with pytest.raises(apsw.BusyError):
        db.execute("INSERT INTO t VALUES (5, 'five')")
    other.close()
    assert volumes.commits() == before
    db.execute("INSERT INTO t VALUES (5, 'five')")
    assert rows(db, "SELECT count(*) FROM t") == [(4,)]


def test_the_stored_counter_goes_on_by_one(db, volumes):
    def stored() -> int:
        return int.from_bytes(volumes.replica().snapshot().read(1)[24:28], "big")

    before = stored()
    db.execute("INSERT INTO t VALUES (4, 'four')")
    assert stored() == before + 1
    spilling(db)
    fill(db, 500)
    assert stored() == before + 2
    assert volumes.replica().snapshot().read(1)[92:96] == volumes.replica().snapshot().read(1)[24:28]
    other = volumes.connect()
    for n in range(3):
        for name, connection in (("db", db), ("other", other)):
            connection.execute("UPDATE t SET v = ?", (f"{name} {n}",))
    assert stored() == before + 8


def test_own_commits_keep_the_cache(db, monkeypatch):
    from graft_sqlite_vfs.file import VolumeFile

    fill(db, 100)
    rows(db, "SELECT * FROM t")
    reads = []
    original = VolumeFile.xRead
    monkeypatch.setattr(VolumeFile, "xRead", lambda self, *args: reads.append(args) or original(self, *args))
    for n in range(5):
        db.execute("UPDATE t SET v = ? WHERE id = 1", (n,))
        rows(db, "SELECT * FROM t")
    assert {args for args in reads if args != (16, 24)} == set()


@committed_in_python
def test_writer_busy_is_busy_at_the_sync_point_too(db, monkeypatch):
    monkeypatch.setattr(WriteTransaction, "commit", failing(WriterBusy("a push takes long")))
    db.execute("BEGIN; INSERT INTO t VALUES (4, 'four')")
    with pytest.raises(apsw.BusyError, match="a push takes long"):
        db.execute("COMMIT")
    db.execute("COMMIT")
    assert rows(db, "SELECT count(*) FROM t") == [(4,)]


@pytest.mark.parametrize("step", [1, -1])
@pytest.mark.parametrize("count", [1, 500], ids=["a few pages", "many pages"])
def test_backup_of_a_database_in_wal_mode(volumes, tmp_path, step, count):
    plain = apsw.Connection(str(tmp_path / "plain.db"))
    plain.execute("PRAGMA journal_mode=WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, v)").fetchall()
    plain.executemany("INSERT INTO t(v) VALUES (?)", [(f"row {n}" * 20,) for n in range(count)])
    db = volumes.connect()
    for _ in range(2):
        with db.backup("main", plain, "main") as backup:
            while not backup.done:
                backup.step(step)
        assert rows(db, "SELECT count(*) FROM t") == [(count,)]
        db.execute("INSERT INTO t(v) VALUES ('more')")
        assert rows(db, "SELECT count(*) FROM t") == [(count + 1,)]
        assert db.pragma("journal_mode") == "memory"
    assert rows(volumes.connect(), "SELECT count(*) FROM t") == [(count + 1,)]
    plain.close()
