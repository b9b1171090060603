"""Commits that C appends to the journal: the same bytes as Python's, the same promises, and the same refusals."""

import contextlib
import errno
import json
import os
import random
import signal
import subprocess
import sys
import threading

import apsw
import pytest

from graft import failpoints
from graft.errors import StaleSnapshot, WriterBusy
from graft.journal.format import decode_header, is_whole, page_list
from graft.journal.mapped_files import listed
from graft.replica.transaction import WriteTransaction
from graft.settings import Durability
from graft.sync.clone import init
from graft.sync.push import push
from graft_sqlite_vfs import connect
from graft_sqlite_vfs.readpath import Pure
from graft_sqlite_vfs.registration import READ_PATH, pure_read_path
from pagestore.runtime import SYSTEM
from testbed.patience import PATIENCE_S
from tests.graft import test_power_cut
from tests.graft.support import Killed, content, dying_at
from tests.graft_sqlite_vfs.conftest import fill, integrity, rows, spilling

native = pytest.importorskip("graft_sqlite_vfs._accelerator", reason="the accelerator was not built")

pytestmark = pytest.mark.skipif(isinstance(READ_PATH, Pure), reason=f"the read path is {READ_PATH}")

COUNT = "SELECT count(*) FROM t"
INSERT = "INSERT INTO t(v) VALUES (?)"


@pytest.fixture
def read_path() -> str:
    """Only one of them here."""
    return "accelerated"


@pytest.fixture
def python_commits(monkeypatch):
    """The commits that Python makes."""
    made = []
    commit = WriteTransaction.commit_through

    def noted(self, *args, **options):
        if self.dirty:
            made.append(self.base.local_lsn)
        return commit(self, *args, **options)

    monkeypatch.setattr(WriteTransaction, "commit_through", noted)
    return made


@pytest.fixture
def appending(db, python_commits):
    """A connection that has made a commit behind which there is room."""
    db.execute(INSERT, ("first",))
    python_commits.clear()
    return db


@contextlib.contextmanager
def watched(**watchers):
    native.watch_appends(**watchers)
    try:
        yield
    finally:
        native.watch_appends()


def failing(number, times=1):
    """Fail a number of times with a system error, then call the system."""
    errors = [OSError(number, os.strerror(number))] * times

    def call(*args):
        if errors:
            raise errors.pop()
        return os.pwritev(*args) if len(args) == 3 else os.fdatasync(*args)

    return call


def records(replica_path):
    """All records of the journal, decoded, with their pages."""
    found = []
    for _, path in listed(replica_path / "journal"):
        data = memoryview(path.read_bytes())
        position = 0
        while header := decode_header(data, position):
            assert is_whole(data, header, position)
            pages = memoryview(page_list(data, header, position)).cast("I").tolist()
            bodies = data[position + header.bodies_offset :][: header.slots * header.page_size]
            size = header.page_size
            bodies = {page: bytes(bodies[n * size : (n + 1) * size]) for n, page in enumerate(pages)}
            found.append((header._replace(timestamp_us=0), bodies))
            position += header.record_bytes
    return found


class TestRecords:
    STATEMENTS = (
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v)",
        "INSERT INTO t(v) VALUES ('one')",
        "INSERT INTO t(v) VALUES ('two')",
        "UPDATE t SET v = 'three' WHERE id = 1",
        "INSERT INTO t(v) SELECT printf('%03000d', value) FROM json_each('[1, 2, 3, 4, 5, 6, 7]')",
        "DELETE FROM t WHERE id = 4",
        "CREATE INDEX i ON t(v)",
        "PRAGMA user_version = 7",
        "DROP INDEX i",
    )

    @pytest.mark.parametrize("page_size", [512, 4096, 65536])
    @pytest.mark.parametrize("durability", ["local", "relaxed"])
    def test_are_those_of_python(self, volumes, python_commits, monkeypatch, durability, page_size):
        def made(name):
            init(volumes.path(name), f"{volumes.remote}#{name}", page_size=page_size).close()
            connection = volumes.connect(name, remote=None, durability=durability)
            python_commits.clear()
            for statement in self.STATEMENTS:
                connection.execute(statement)
            return records(volumes.path(name)), len(python_commits)

        here, in_python = made("here")
        assert in_python < 5
        python_commits.clear()
        monkeypatch.setattr(WriteTransaction, "room", lambda self: None)
        there, in_python = made("there")
        assert in_python == len(self.STATEMENTS)
        assert here == there

    def test_say_when(self, appending, volumes):
        appending.execute(INSERT, ("x",))
        data = memoryview(next(volumes.path().glob("journal/*.log")).read_bytes())
        times, position = [], 0
        while header := decode_header(data, position):
            times.append(header.timestamp_us)
            position += header.record_bytes
        assert times == sorted(times)
        assert times[-1] - times[0] < 60_000_000


class TestWhoCommits:
    def test_small_transactions_are_appended_here(self, appending, python_commits, volumes):
        for n in range(50):
            appending.execute(INSERT, (n,))
        with appending:
            appending.execute("UPDATE t SET v = 'x'")
            appending.execute("CREATE TABLE u(w); INSERT INTO u VALUES (1)")
        assert python_commits == []
        assert volumes.commits() == 54
        with pure_read_path():
            pure = volumes.connect()
        assert rows(pure, COUNT) == rows(appending, COUNT) == [(54,)]
        assert rows(pure, "SELECT DISTINCT v FROM t") == [("x",)]

    def test_large_ones_in_python(self, appending, python_commits):
        fill(appending, 1000)
        assert len(python_commits) == 1
        appending.execute(INSERT, ("x",))
        assert len(python_commits) == 1
        assert rows(appending, COUNT) == [(1005,)]

    def test_python_goes_on_when_the_room_is_used_up(self, appending, python_commits):
        for n in range(700):
            appending.execute(INSERT, (n,))
        assert 2 <= len(python_commits) <= 20
        assert rows(appending, "SELECT count(*), max(v) FROM t WHERE id > 4") == [(700, 699)]

    def test_many_pages_in_turn(self, appending, python_commits, volumes):
        """More pages than can be laid over a snapshot are in Python's next one."""
        appending.execute("CREATE TABLE u(id INTEGER PRIMARY KEY, v)")
        fill(appending, 700, size=1000, table="u")
        other = volumes.connect()
        for n in range(1, 700, 4):
            appending.execute("UPDATE u SET v = ? WHERE id = ?", (n, n))
        assert len(python_commits) < 20
        changed = "SELECT count(*), sum(v) FROM u WHERE typeof(v) = 'integer'"
        assert rows(other, changed) == rows(appending, changed) == [(175, sum(range(1, 700, 4)))]

    @pytest.mark.parametrize("mode", ["full", "incremental"])
    def test_pages_that_are_cut_off(self, volumes, python_commits, mode):
        connection = volumes.connect()
        connection.execute(f"PRAGMA auto_vacuum={mode}; CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
        fill(connection, 100)
        for n in range(1, 100, 3):
            connection.execute("DELETE FROM t WHERE id BETWEEN ? AND ?", (n, n + 2))
            connection.execute("PRAGMA incremental_vacuum(1)").fetchall()
        assert rows(connection, "PRAGMA page_count")[0][0] < 15
        assert rows(volumes.connect(), COUNT) == [(1,)]

    def test_a_pragma_in_the_middle(self, appending, python_commits):
        with appending:
            appending.execute(INSERT, ("x",))
            assert rows(appending, "PRAGMA graft_status")
            appending.execute(INSERT, ("y",))
        assert rows(appending, COUNT) == [(6,)]

    @pytest.mark.parametrize("level", ["remote", "relaxed", "local"])
    def test_what_reaches_the_remote_goes_through_python(self, volumes, python_commits, level):
        connection = volumes.connect(durability=level)
        connection.execute("CREATE TABLE t(v)")
        connection.execute("INSERT INTO t VALUES (1)")
        assert len(python_commits) == (2 if level == "remote" else 1)

    def test_a_bound_on_staleness_goes_through_python(self, appending, volumes, python_commits):
        bounded = volumes.connect(max_staleness_s=1000)
        for n in range(3):
            bounded.execute(INSERT, (n,))
        assert len(python_commits) == 3
        assert rows(appending, COUNT) == [(7,)]

    def test_after_a_push(self, appending, volumes, python_commits):
        for n in range(4):
            appending.execute(INSERT, (n,))
            appending.execute("PRAGMA graft_push").fetchall()
            assert volumes.commits() == 0
        clone = volumes.connect("clone", remote="#db")
        assert rows(clone, COUNT) == [(8,)]


class TestUndoing:
    def test_a_rollback(self, appending, volumes, python_commits):
        before = volumes.commits()
        appending.execute("BEGIN; INSERT INTO t(v) VALUES (1); UPDATE t SET v = 2; ROLLBACK")
        assert volumes.commits() == before
        appending.execute(INSERT, ("x",))
        assert rows(appending, "SELECT v FROM t") == [("one",), ("two",), ("three",), ("first",), ("x",)]
        assert rows(volumes.connect(), COUNT) == [(5,)]
        assert python_commits == []

    def test_a_rollback_of_what_was_written_already(self, appending, volumes):
        spilling(appending)
        fill(appending, 60)
        before, held = volumes.commits(), rows(appending, "SELECT * FROM t")
        for _ in range(3):
            appending.execute("BEGIN; UPDATE t SET v = v || 'x'; ROLLBACK")
            assert rows(appending, "SELECT * FROM t") == held
            appending.execute(
                "BEGIN; UPDATE t SET v = v || 'y'; SAVEPOINT s; UPDATE t SET v = ''; ROLLBACK TO s; COMMIT"
            )
            held = [(key, f"{value}y") for key, value in held]
            assert rows(appending, "SELECT * FROM t") == held == rows(volumes.connect(), "SELECT * FROM t")
        assert volumes.commits() == before + 3

    def test_a_statement_that_fails(self, appending, python_commits):
        appending.execute("CREATE UNIQUE INDEX u ON t(v)")
        with pytest.raises(apsw.ConstraintError):
            appending.execute(INSERT, ("one",))
        with appending:
            appending.execute(INSERT, ("x",))
            with pytest.raises(apsw.ConstraintError):
                appending.execute(INSERT, ("one",))
        assert rows(appending, "SELECT v FROM t WHERE id > 4") == [("x",)]
        assert python_commits == []

    def test_a_second_volume_that_cannot_commit_undoes_the_first(self, appending, volumes, python_commits):
        volumes.behind_store("other")
        volumes.connect("other", remote=None).execute("CREATE TABLE o(v)")
        appending.execute(f"ATTACH 'file:{volumes.path('other')}?vfs=graft&durability=remote' AS other")
        volumes.store.down = True
        with pytest.raises(apsw.Error), appending:
            appending.execute("INSERT INTO t(v) VALUES ('x'); INSERT INTO o VALUES (1)")
        if appending.in_transaction:
            appending.execute("ROLLBACK")
        assert rows(appending, COUNT) == rows(volumes.connect(), COUNT) == [(4,)]
        volumes.store.down = False
        appending.execute(INSERT, ("x",))
        assert rows(appending, COUNT) == rows(volumes.connect(), COUNT) == [(5,)]

    def test_closing_in_the_middle(self, appending, volumes):
        other = volumes.connect()
        other.execute(INSERT, ("y",))
        other.execute("BEGIN; INSERT INTO t(v) VALUES ('lost')")
        with pytest.raises(apsw.BusyError):
            appending.execute("BEGIN IMMEDIATE")
        other.close()
        appending.execute(INSERT, ("x",))
        assert rows(appending, "SELECT v FROM t WHERE id > 4") == [("y",), ("x",)]


class TestOthers:
    def test_one_writes_at_a_time(self, appending, volumes):
        other, replica = volumes.connect(), volumes.replica()
        appending.execute("BEGIN IMMEDIATE")
        with pytest.raises(apsw.BusyError):
            other.execute(INSERT, ("x",))
        with pytest.raises(WriterBusy):
            replica.begin(replica.snapshot())
        appending.execute("COMMIT")
        with replica.begin(replica.snapshot()), pytest.raises(apsw.BusyError):
            appending.execute("BEGIN IMMEDIATE")
        other.execute(INSERT, ("x",))
        appending.execute(INSERT, ("y",))
        assert rows(other, COUNT) == rows(appending, COUNT) == [(6,)]

    def test_a_writer_that_waits(self, appending, volumes):
        """The lock is the one that Python's transactions take, so that waiting for it works as ever."""
        replica = volumes.replica()
        transaction = replica.begin(replica.snapshot())
        appending.set_busy_timeout(300_000)
        threading.Timer(0.05, transaction.close).start()
        appending.execute(INSERT, ("x",))
        assert rows(appending, COUNT) == [(5,)]

    def test_an_open_cursor_sees_its_own_commits_and_nobody_elses(self, appending, volumes):
        fill(appending, 300)
        appending.execute("PRAGMA cache_size=1")
        appending.execute("CREATE TABLE log(v)")
        cursor = appending.execute("SELECT v FROM t ORDER BY id")
        for _ in range(10):
            next(cursor)
        appending.execute("INSERT INTO log VALUES (1)")
        other = volumes.connect()
        other.execute("UPDATE t SET v = 'theirs'; INSERT INTO log VALUES (2)")
        assert rows(appending, "SELECT * FROM log") == [(1,)]
        assert "theirs" not in {row[0] for row, _ in zip(cursor, range(100), strict=False)}
        with pytest.raises(apsw.BusyError):
            appending.execute("INSERT INTO log VALUES (3)")
        assert rows(appending, "SELECT * FROM log") == [(1,)]
        assert {row[0] for row in cursor}.isdisjoint({"theirs"})
        assert rows(appending, "SELECT * FROM log") == [(1,), (2,)]
        appending.execute("INSERT INTO log VALUES (3)")
        assert rows(other, "SELECT v FROM log") == [(1,), (2,), (3,)]
        assert rows(appending, "SELECT DISTINCT v FROM t") == [("theirs",)]

    def test_an_open_cursor_over_a_push(self, appending, volumes, python_commits):
        fill(appending, 300)
        appending.execute("PRAGMA cache_size=1")
        cursor = appending.execute("SELECT id FROM t ORDER BY id")
        next(cursor)
        appending.execute("UPDATE t SET v = 'mine' WHERE id = 200")
        push(volumes.replica())
        appending.execute("UPDATE t SET v = 'mine too' WHERE id = 201")
        assert len(list(cursor)) == 303
        assert rows(volumes.connect(), "SELECT v FROM t WHERE id IN (200, 201)") == [("mine",), ("mine too",)]

    def test_what_the_replica_says_is_what_was_appended(self, appending, volumes):
        replica = volumes.replica()
        before = replica.snapshot()
        appending.execute(INSERT, ("x",))
        with pytest.raises(StaleSnapshot):
            replica.begin(before)
        after = replica.snapshot()
        assert (after.local_lsn, after.local_commits) == (before.local_lsn + 1, before.local_commits + 1)

    @pytest.mark.parametrize("seed", range(6))
    def test_connections_of_all_kinds_in_turn(self, volumes, seed):
        chance = random.Random(seed)
        first = volumes.connect()
        first.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
        first.execute("INSERT INTO t SELECT value, zeroblob(900) FROM json_each(?)", (json.dumps(list(range(1, 61))),))
        with pure_read_path():
            pure = volumes.connect()
        everyone = [first, pure, volumes.connect(durability="relaxed"), volumes.connect()]
        expected = dict.fromkeys(range(1, 61), bytes(900))
        for connection in everyone[::2]:
            connection.execute("PRAGMA cache_size=4")
        for step in range(250):
            connection = chance.choice(everyone[: 1 + step // 60])
            keys = chance.sample(range(1, 61), chance.choice([1, 1, 1, 2, 5, 40]))
            value = chance.choice([step, f"{step}" * 150, None])
            with contextlib.suppress(ZeroDivisionError), connection:
                connection.executemany("UPDATE t SET v = ? WHERE id = ?", [(value, key) for key in keys])
                if chance.random() < 0.2:
                    raise ZeroDivisionError  # roll it back
                expected |= dict.fromkeys(keys, value)
            if chance.random() < 0.1:
                push(volumes.replica())
            reader = chance.choice(everyone)
            key = chance.randint(1, 60)
            assert rows(reader, f"SELECT v FROM t WHERE id = {key}") == [(expected[key],)], step
            if step % 25 == 0:
                assert dict(rows(reader, "SELECT * FROM t")) == expected
        for connection in everyone:
            assert dict(rows(connection, "SELECT * FROM t")) == expected
        push(volumes.replica())
        assert dict(rows(volumes.connect("clone", remote="#db"), "SELECT * FROM t")) == expected

    def test_threads(self, volumes):
        volumes.connect().execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")

        def write(number):
            with contextlib.nullcontext() if number else pure_read_path():
                connection = connect(volumes.path())
            connection.set_busy_timeout(300_000)
            for n in range(60):
                connection.execute(INSERT, (f"{number} {n}",))
            connection.close()

        threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = rows(volumes.connect(), "SELECT v FROM t ORDER BY id")
        for number in range(3):
            assert [v for (v,) in found if v.startswith(f"{number} ")] == [f"{number} {n}" for n in range(60)]


class TestFailures:
    @pytest.mark.parametrize("durability", ["local", "relaxed"])
    @pytest.mark.parametrize("watcher", ["pwritev", "fdatasync"])
    def test_python_tries_again(self, appending, volumes, python_commits, durability, watcher):
        connection = volumes.connect(durability=durability)
        connection.execute(INSERT, ("x",))
        python_commits.clear()
        with watched(**{watcher: failing(errno.EIO)}):
            connection.execute(INSERT, ("y",))
        assert len(python_commits) == (not (watcher == "fdatasync" and durability == "relaxed"))
        connection.execute(INSERT, ("z",))
        assert rows(appending, "SELECT v FROM t WHERE id > 4") == [("x",), ("y",), ("z",)]
        assert len(records(volumes.path())) == volumes.commits()

    def test_a_write_that_comes_short(self, appending, python_commits):
        shorter = iter([100])
        with watched(pwritev=lambda fd, parts, at: os.pwrite(fd, b"".join(parts)[: next(shorter, None)], at)):
            appending.execute(INSERT, ("x",))
            appending.execute(INSERT, ("y",))
        assert len(python_commits) == 1
        assert rows(appending, COUNT) == [(6,)]

    def test_a_full_disk(self, appending, volumes, monkeypatch):
        before = records(volumes.path())
        full = failing(errno.ENOSPC, 9)
        with monkeypatch.context() as patch, watched(pwritev=full):
            patch.setattr(os, "pwritev", full)
            with pytest.raises(apsw.FullError):
                appending.execute(INSERT, ("lost",))
        assert rows(appending, COUNT) == [(4,)]
        assert records(volumes.path()) == before
        appending.execute(INSERT, ("x",))
        assert rows(volumes.connect(), "SELECT v FROM t WHERE id = 5") == [("x",)]

    @pytest.mark.parametrize("point", ["commit: before journal", "commit: after journal", "commit: after publish"])
    def test_an_error_at_any_point(self, appending, volumes, point):
        before = volumes.commits()
        with watched(failpoint=failpoints.failpoint), dying_at(point), pytest.raises(Killed):
            appending.execute(INSERT, ("x",))
        # What was published already is followed by a commit in which SQLite puts back what was there.
        made = 2 if point == "commit: after publish" else 0
        assert volumes.commits() == len(records(volumes.path())) == before + made
        appending.execute(INSERT, ("y",))
        assert rows(volumes.connect(), "SELECT v FROM t WHERE id > 4") == [("y",)]
        assert rows(appending, COUNT) == [(5,)]

    def test_a_checksum_that_cannot_be_made(self, appending, volumes):
        from graft_sqlite_vfs import accelerator

        def set_hooks(checksum):
            import xxhash

            native.set_hooks(
                open_file=accelerator._open, full_pathname=os.path.abspath, failed=accelerator.remember,
                checksum=checksum or xxhash.xxh3_64_intdigest,
            )  # fmt: skip

        set_hooks(lambda data: 1 // 0)
        try:
            with pytest.raises(ZeroDivisionError):
                appending.execute(INSERT, ("x",))
        finally:
            set_hooks(None)
        appending.execute(INSERT, ("y",))
        assert rows(volumes.connect(), "SELECT v FROM t WHERE id = 5") == [("y",)]

    def test_what_is_lent_is_checked(self, appending, volumes):
        replica = volumes.replica()
        reader = native.Reader(replica.shared.words)
        home, lock = replica.home, replica.writer_lock.path
        descriptor = os.open(lock, os.O_RDWR)
        told = os.fsencode(lock), descriptor, os.fsencode(home.path / "shared"), home.id_of("shared"), False
        for page_size in (0, 256, 1000, 131072):
            with pytest.raises(ValueError, match="no page has"):
                native.Appender(reader, page_size, *told)
        with pytest.raises(OSError, match="Bad file descriptor"):
            native.Appender(reader, 4096, told[0], 12345, *told[2:])
        with pytest.raises(TypeError, match="can become stale"):
            native.Appender(native.Reader(None), 4096, *told)
        with pytest.raises(TypeError):
            native.Appender(None, 4096, *told)
        appender = native.Appender(reader, 4096, *told)
        os.close(descriptor)
        with pytest.raises(ValueError, match="only room behind"):
            appender.lend(1, 1)
        reader.publish(None, 4096, 1, 1, None)
        with pytest.raises(ValueError, match="only room behind"):
            appender.lend(1, 1)
        with pytest.raises(OSError, match="Bad file descriptor"):
            appender.aim(memoryview(bytes(4096)), b"nowhere", 12345, 0, 4096, True)
        with (volumes.path() / "state.db").open("rb") as file:
            for start, end in ((0, 8192), (4096, 0), (4, 4096)):
                appender.aim(memoryview(bytes(4096)), b"state.db", file.fileno(), start, end, True)
                with pytest.raises(ValueError, match="no room"):
                    appender.lend(1, 1)
        appender.close()


CHILD = """
import json, os, signal, sys
from graft import failpoints
from graft_sqlite_vfs import _accelerator, connect
told = json.loads(sys.argv[1])
connection = connect(told["path"], durability=told["durability"])
connection.set_busy_timeout(300_000)
passed = 0
def hook(name):
    global passed
    passed += name == told["point"]
    if passed == told["times"]:
        os.kill(os.getpid(), signal.SIGKILL)
connection.execute("INSERT INTO t(v) VALUES ('first of a child')")
_accelerator.watch_appends(failpoint=hook)
for n in range(20):
    connection.execute("INSERT INTO t(v) VALUES (?)", (told["tag"],))
    print(n, flush=True)
"""


class TestDeaths:
    @pytest.mark.parametrize("durability", ["local", "relaxed"])
    @pytest.mark.parametrize("point", ["commit: before journal", "commit: after journal", "commit: after publish"])
    def test_sigkill_loses_nothing_that_was_committed(self, appending, volumes, point, durability):
        for times in (1, 7):
            told = {
                "path": str(volumes.path()),
                "point": point,
                "times": times,
                "durability": durability,
                "tag": f"{times}",
            }
            done = subprocess.run(
                [sys.executable, "-c", CHILD, json.dumps(told)],
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
                check=False,
            )
            assert done.returncode == -signal.SIGKILL, done.stderr
            committed = len(done.stdout.splitlines())
            assert committed == times - 1
            with contextlib.suppress(apsw.BusyError):  # what the dead one left unsaid makes the snapshot stale
                appending.execute("UPDATE t SET v = v WHERE id = 1")
            appending.execute(INSERT, (f"after {times}",))
            found = rows(appending, f"SELECT count(*) FROM t WHERE v = '{times}'")[0][0]
            assert found == committed + (point != "commit: before journal")
            assert rows(volumes.connect(), COUNT) == rows(appending, COUNT)
        push(volumes.replica())
        assert rows(volumes.connect("clone", remote="#db"), COUNT) == rows(appending, COUNT)

    def test_the_child_of_a_fork_holds_no_lock(self, appending, volumes):
        """A parent that dies in a transaction lets go of the lock, though its child lives on."""
        script = """
import os, signal, sys
from graft_sqlite_vfs import connect
connection = connect(sys.argv[1])
connection.execute("INSERT INTO t(v) VALUES (1)")
connection.execute("BEGIN; INSERT INTO t(v) VALUES (2)")
told, tell = os.pipe()
child = os.fork()
if not child:
    os.write(tell, b".")
    sys.stdin.read()
    os._exit(0)
os.read(told, 1)  # its copies of the locks are closed
print(child, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
        with subprocess.Popen(
            [sys.executable, "-c", script, volumes.path()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as parent:
            child = int(parent.stdout.readline())
            assert parent.wait(PATIENCE_S) == -signal.SIGKILL
            os.kill(child, 0)  # lives
            appending.execute(INSERT, ("x",))
            parent.stdin.close()
        assert rows(appending, "SELECT v FROM t WHERE id > 4") == [(1,), ("x",)]

    def test_the_child_of_a_fork_writes_nothing(self, appending, volumes):
        child = os.fork()
        if not child:
            try:
                appending.execute(INSERT, ("x",))
            except apsw.Error:
                os._exit(7)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        appending.execute(INSERT, ("y",))
        assert rows(volumes.connect(), "SELECT v FROM t WHERE id > 4") == [("y",)]


class SqlRun(test_power_cut.Run):
    """A run whose commits are made by SQLite, most of them here."""

    runtime_of = staticmethod(lambda _: SYSTEM)  # with another clock none of them would be

    def __enter__(self):
        super().__enter__()
        native.watch_appends(pwritev=os.pwritev, fdatasync=os.fdatasync)  # as the recorder has replaced them
        self.connections = {
            level: apsw.Connection(
                f"file:{self.path / 'a'}?vfs=graft&durability={level}",
                flags=apsw.SQLITE_OPEN_URI | apsw.SQLITE_OPEN_READWRITE,
            )
            for level in (Durability.LOCAL, Durability.RELAXED)
        }
        self.execute(Durability.LOCAL, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
        return self

    def __exit__(self, *error):
        for connection in self.connections.values():
            integrity(connection)
            connection.close()
        native.watch_appends()
        super().__exit__(*error)

    def commit(self, durability, *, pages=None, fails=None):
        self.tag += 1
        self.execute(
            durability, f"INSERT INTO t(v) VALUES ('{self.tag}' || hex(zeroblob({self.chance.choice([9, 700])})))"
        )

    def execute(self, durability, sql):
        version = test_power_cut.Version(b"", self.now)
        self.versions.append(version)
        self.connections[durability].execute(sql)
        version.content = content(self.replica.snapshot())
        if durability is Durability.LOCAL:
            version.promised = self.now


def sql_run(run):
    for step in range(8):
        durability = Durability.RELAXED if step % 3 else Durability.LOCAL
        for _ in range(run.chance.randint(1, 5)):
            run.commit(durability)
        if step == 4:
            run.push()


class TestPowerCuts:
    @pytest.fixture(autouse=True)
    def by_sqlite(self, monkeypatch):
        monkeypatch.setattr(test_power_cut, "Run", SqlRun)
        monkeypatch.setitem(test_power_cut.CHOSEN, "journal_file_bytes", 64 * 512)

    def test_what_was_promised_survives(self, python_commits):
        in_python = []

        def play(run):
            sql_run(run)
            in_python.append(len(python_commits) / len(run.versions))

        test_power_cut.cut_everywhere(play, 1, times=1, every=7)
        assert 0 < in_python[0] < 0.6

    @pytest.mark.long
    @pytest.mark.parametrize("seed", range(5))
    def test_what_was_promised_survives_many(self, seed):
        test_power_cut.cut_everywhere(sql_run, seed, times=3, every=2)
