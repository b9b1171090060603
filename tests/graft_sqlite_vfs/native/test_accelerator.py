"""The accelerated path through SQLite: what no longer asks Python, and that it is never any the older or wronger."""

import multiprocessing
import os
import random
import subprocess
import sys
import threading
from typing import ClassVar

import apsw
import pytest

from graft.settings import KIB, MIB, Settings
from graft.sync.clone import clone
from graft.sync.pull import pull
from graft.sync.push import push
from graft_sqlite_vfs import connect, readpath
from graft_sqlite_vfs.file import VolumeFile
from graft_sqlite_vfs.readpath import Accelerated, Pure
from graft_sqlite_vfs.registration import READ_PATH, pure_read_path
from tests.graft_sqlite_vfs.conftest import committed_in_python, fill, rows

accelerator = pytest.importorskip("graft_sqlite_vfs.accelerator", reason="the accelerator was not built")

pytestmark = pytest.mark.skipif(isinstance(READ_PATH, Pure), reason=f"the read path is {READ_PATH}")

SUM = "SELECT count(*), sum(length(v)), max(v) FROM t"


@pytest.fixture
def read_path() -> str:
    """Only one of them here."""
    return "accelerated"


class Watched(accelerator.AcceleratedFile):
    """Notes what reaches Python."""

    files: ClassVar[list["Watched"]] = []
    __slots__ = ("calls",)

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.calls: list[str] = []
        Watched.files.append(self)

    def xRead(self, amount, offset):
        self.calls.append(f"read {amount} at {offset}")
        return super().xRead(amount, offset)

    def xLock(self, level):
        self.calls.append(f"lock {level}")
        super().xLock(level)

    def xUnlock(self, level):
        self.calls.append(f"unlock {level}")
        super().xUnlock(level)


@pytest.fixture
def watched(monkeypatch, read_path):
    """The files that are opened in this test."""
    monkeypatch.setattr(accelerator, "AcceleratedFile", Watched)
    monkeypatch.setattr(Watched, "files", [])
    return Watched.files


@pytest.fixture
def reader(db, volumes, watched):
    """A connection without a page cache to speak of, which has read everything once, and its file."""
    fill(db, 500)
    connection = volumes.connect()
    connection.execute("PRAGMA cache_size=1")
    rows(connection, SUM)
    rows(connection, SUM)
    watched[-1].calls.clear()
    return connection, watched[-1]


class TestWithoutPython:
    def test_reads_and_locks(self, reader):
        connection, file = reader
        hits = file.reader.hits
        for _ in range(5):
            rows(connection, SUM)
        assert [call for call in file.calls if not call.startswith("read 4096 at 0")] == []
        assert file.reader.hits > hits + 5 * 30

    def test_explicit_transactions(self, reader):
        connection, file = reader
        connection.execute("BEGIN")
        for key in range(1, 400, 7):
            assert rows(connection, f"SELECT id FROM t WHERE id = {key}") == [(key,)]
        connection.execute("COMMIT")
        assert [call for call in file.calls if not call.startswith("read 4096 at 0")] == []

    def test_versions_of_the_past(self, db, volumes, watched):
        push(volumes.replica())
        db.execute("DELETE FROM t")
        past = volumes.connect(at=1)
        past.execute("PRAGMA cache_size=1")
        for _ in range(3):
            assert rows(past, "SELECT count(*) FROM t") == [(3,)]
        watched[-1].calls.clear()
        rows(past, "SELECT v FROM t WHERE id = 2")
        assert not any("lock" in call for call in watched[-1].calls)

    def test_frames_of_a_clone(self, db, volumes, watched):
        fill(db, 500)
        push(volumes.replica())
        other = volumes.connect("clone", remote="#db")
        other.execute("PRAGMA cache_size=1")
        assert rows(other, SUM) == rows(db, SUM)
        watched[-1].calls.clear()
        assert rows(other, SUM) == rows(db, SUM)
        assert [call for call in watched[-1].calls if not call.startswith("read 4096 at 0")] == []

    @committed_in_python
    def test_a_row_that_is_inserted_by_python_costs_few_calls_and_no_read(self, watched, db):
        """A transaction that only writes what SQLite has in its cache asks for nothing but the lock and the commit."""
        db.execute("INSERT INTO t(v) VALUES ('x')")
        file = watched[-1]
        file.calls.clear()
        for _ in range(3):
            db.execute("INSERT INTO t(v) VALUES ('x')")
        assert file.calls == ["lock 2", "unlock 1"] * 3

    def test_a_row_that_is_inserted_costs_no_call_at_all(self, watched, db):
        db.execute("INSERT INTO t(v) VALUES ('x')")
        file = watched[-1]
        file.calls.clear()
        for _ in range(3):
            db.execute("INSERT INTO t(v) VALUES ('x')")
        assert file.calls == []
        assert not file.snapshot.page_map.read

    def test_after_a_commit_the_first_read_is_pythons_and_no_other(self, watched, db):
        fill(db, 500)
        db.execute("INSERT INTO t(v) VALUES ('x')")
        db.execute("PRAGMA cache_size=1")
        file = watched[-1]
        file.calls.clear()
        rows(db, SUM)
        assert len([call for call in file.calls if call.startswith("read") and call != "read 4096 at 0"]) == 1


class TestFreshness:
    def test_a_commit_of_another_connection_is_seen(self, db, reader):
        connection, file = reader
        for n in range(1, 5):
            db.execute("INSERT INTO t(v) VALUES ('new')")
            assert rows(connection, "SELECT count(*) FROM t") == [(503 + n,)]
        assert "lock 1" in file.calls

    def test_a_commit_of_another_process_is_seen(self, volumes):
        path = volumes.path("shared")
        connection = connect(path, remote=volumes.path("bucket"))
        volumes.connections.append(connection)
        connection.execute("CREATE TABLE t(v)")
        program = (
            "import sys\nfrom graft_sqlite_vfs import connect\nc = connect(sys.argv[1])\n"
            "for line in sys.stdin:\n    c.execute('INSERT INTO t VALUES (1)')\n    print('done', flush=True)\n"
            "c.close()\n"
        )
        with subprocess.Popen(
            [sys.executable, "-W", "error", "-c", program, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as child:
            for n in range(1, 6):
                rows(connection, "SELECT count(*) FROM t")
                child.stdin.write("go\n")
                child.stdin.flush()
                assert child.stdout.readline() == "done\n"
                assert rows(connection, "SELECT count(*) FROM t") == [(n,)]
            child.stdin.close()
            assert child.wait() == 0

    def test_a_pull_is_seen(self, db, volumes):
        push(volumes.replica())
        other = volumes.connect("clone", remote="#db")
        assert rows(other, "SELECT count(*) FROM t") == [(3,)]
        db.execute("INSERT INTO t VALUES (4, 'four')")
        push(volumes.replica())
        pull(volumes.replica("clone"))
        assert rows(other, "SELECT count(*) FROM t") == [(4,)]

    def test_pragmas_between_transactions_see_the_newest_version(self, db, reader, volumes):
        connection, _ = reader
        rows(connection, SUM)
        push(volumes.replica())
        text = connection.pragma("graft_snapshot")
        assert "lsn:            1" in text
        assert connection.execute("PRAGMA graft_snapshot='json'").get.count('"in_transaction": false') == 1

    def test_an_open_transaction_keeps_what_it_reads(self, db, reader):
        connection, _ = reader
        connection.execute("BEGIN")
        before = rows(connection, SUM)
        fill(db, 200)
        db.execute("DELETE FROM t WHERE id % 2")
        assert rows(connection, SUM) == before
        connection.execute("COMMIT")
        assert rows(connection, SUM) == rows(db, SUM) != before


def test_both_paths_show_the_same(volumes):
    """Random changes by either path, with pushes and vacuums between; both read the same after each."""
    fast = volumes.connect()
    with pure_read_path():
        slow = volumes.connect()
    assert tuple(c.execute("PRAGMA graft_info='json'").get.split('"read_path": "')[1][:-2] for c in (fast, slow)) == (
        "accelerated",
        "pure (asked for)",
    )
    replica, luck = volumes.replica(), random.Random(7)
    fast.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    for connection in (fast, slow):
        connection.execute("PRAGMA cache_size=3")
    for turn in range(60):
        writer = luck.choice((fast, slow))
        action = luck.randrange(6)
        if action == 0:
            fill(writer, luck.randrange(1, 60), size=luck.choice((20, 300, 9000)))
        elif action == 1:
            writer.execute("DELETE FROM t WHERE id % ? = 0", (luck.randrange(2, 6),))
        elif action == 2:
            writer.execute("UPDATE t SET v = v || ? WHERE id % 3 = 1", ("x" * luck.randrange(500),))
        elif action == 3:
            push(replica)
        elif action == 4:
            writer.execute("VACUUM")
        else:
            writer.execute("BEGIN")
            fill(writer, 50)
            writer.execute("ROLLBACK")
        assert rows(fast, "SELECT * FROM t") == rows(slow, "SELECT * FROM t"), turn


def test_scans_while_the_cache_evicts(volumes):
    """A cache far smaller than the volume, and several threads: bodies go while others read."""
    source = volumes.connect()
    source.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    fill(source, 6000, size=1000)
    expected = rows(source, SUM)
    push(volumes.replica())
    settings = Settings(cache_bytes_max=1 * MIB, cache_file_bytes=256 * KIB)
    volumes.replicas.append(clone(volumes.path("small"), f"{volumes.remote}#db", settings=settings))
    connections = [volumes.connect("small", remote=None) for _ in range(3)]
    errors = []

    def scan(connection: apsw.Connection) -> None:
        try:
            connection.execute("PRAGMA cache_size=1")
            for _ in range(2):
                assert rows(connection, SUM) == expected
        except Exception as error:  # noqa: BLE001 - told to the main thread
            errors.append(error)

    threads = [threading.Thread(target=scan, args=(connection,)) for connection in connections]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


class TestErrors:
    def test_one_that_follows_another_has_it_as_its_context(self, db, volumes, monkeypatch):
        class Broken(accelerator.AcceleratedFile):
            __slots__ = ("writes",)

            def xWrite(self, data, offset):
                self.writes = True
                raise ValueError("first")

            def xUnlock(self, level):
                super().xUnlock(level)
                if hasattr(self, "writes"):
                    del self.writes
                    raise RuntimeError("second")

        monkeypatch.setattr(accelerator, "AcceleratedFile", Broken)
        other = volumes.connect()
        with pytest.raises(RuntimeError, match="second") as caught:
            other.execute("INSERT INTO t VALUES (9, 9)")
        contexts, error = [], caught.value
        while error is not None:
            contexts.append(str(error))
            error = error.__context__
        assert contexts[0] == "second"
        assert set(contexts[1:]) == {"first"}  # SQLite tries again while it rolls back
        assert rows(other, "SELECT count(*) FROM t") == [(3,)]

    def test_what_is_not_an_sqlite_error_arrives_as_it_is(self, db, volumes, monkeypatch):
        other = volumes.connect()
        rows(other, "SELECT * FROM t")
        with monkeypatch.context() as patch:
            patch.setattr(accelerator.AcceleratedFile, "pragma", lambda self, name, value: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                other.execute("PRAGMA graft_status")
        db.execute("INSERT INTO t VALUES (4, 'four')")
        with monkeypatch.context() as patch:
            patch.setattr(accelerator.AcceleratedFile, "xLock", lambda self, level: "no" + 1)
            with pytest.raises(TypeError):
                rows(other, "SELECT * FROM t")
        assert rows(other, "SELECT count(*) FROM t") == [(4,)]

    def test_a_file_without_a_reader_is_refused(self, db, volumes, monkeypatch):
        class Odd(VolumeFile):
            __slots__ = ()
            reader = 7

        closed = []
        monkeypatch.setattr(VolumeFile, "xClose", lambda self: closed.append(self) or self._replica.close())
        with monkeypatch.context() as patch:
            patch.setattr(accelerator, "AcceleratedFile", Odd)
            with pytest.raises(TypeError, match="the reader is a int"):
                volumes.connect()
        assert len(closed) == 1


class TestChoice:
    def test_what_pragma_says(self, db):
        assert "read path:  accelerated" in db.pragma("graft_info")

    def test_the_environment_forces_the_pure_path(self, volumes, tmp_path):
        program = (
            "import sys\nfrom graft_sqlite_vfs import connect\n"
            "c = connect(sys.argv[1], remote=sys.argv[2])\nc.execute('CREATE TABLE t(v)')\n"
            "print(c.pragma('graft_info'))\n"
            "c.close()\n"
        )
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", program, tmp_path / "new", tmp_path / "bucket"],
            env={**os.environ, "GRAFT_PURE": "1"}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.stderr == ""
        assert "read path:  pure (GRAFT_PURE is set)" in done.stdout

    def test_none_built_or_from_other_sources(self, monkeypatch):
        monkeypatch.delenv("GRAFT_PURE", raising=False)
        assert readpath.available() == Accelerated() == READ_PATH
        missing = readpath.available("graft_sqlite_vfs.nothing")
        assert isinstance(missing, Pure)
        assert "no accelerator was built" in str(missing)
        stale = readpath.available("graft_sqlite_vfs.header")
        assert isinstance(stale, Pure)
        assert "built from other sources" in str(stale)

    def test_a_connection_may_outlive_the_choice(self, db, volumes):
        with pure_read_path():
            other = volumes.connect()
        assert rows(other, "SELECT count(*) FROM t") == [(3,)]
        assert "accelerated" in volumes.connect().pragma("graft_info")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_ends_quietly(volumes, tmp_path):
    program = (
        "import os, sys\nfrom graft_sqlite_vfs import connect\n"
        "c = connect(sys.argv[1], remote=sys.argv[2])\nc.execute('CREATE TABLE t(v)')\n"
        "list(c.execute('SELECT * FROM t'))\n"
        "child = os.fork()\n"
        "if child:\n    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)\n"
        "    c.execute('INSERT INTO t VALUES (1)')\n    print(c.execute('SELECT * FROM t').get, flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, tmp_path / "new", tmp_path / "bucket"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n1\n", "")


def test_processes_that_are_spawned_have_it_too():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(str, (READ_PATH,)) == "accelerated"
