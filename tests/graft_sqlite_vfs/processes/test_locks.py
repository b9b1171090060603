"""Who waits for whom: nobody for readers, writers for one writer."""

import contextlib
import subprocess
import sys
import threading
import time

import apsw
import pytest

from graft_sqlite_vfs import connect
from tests.graft_sqlite_vfs.conftest import fill, rows

COUNT = "SELECT count(*) FROM t"


def test_a_reader_keeps_its_snapshot_while_others_write(db, volumes):
    reader = volumes.connect()
    reader.execute("BEGIN")
    assert rows(reader, COUNT) == [(3,)]
    for n in range(5):
        db.execute("INSERT INTO t(v) VALUES (?)", (n,))
    fill(db, 500)
    db.execute("VACUUM")
    assert rows(reader, COUNT) == [(3,)]
    assert reader.pragma("integrity_check") == "ok"
    reader.execute("COMMIT")
    assert rows(reader, COUNT) == [(508,)]


def test_a_reader_sees_nothing_of_an_open_transaction(db, volumes):
    reader = volumes.connect()
    db.execute("PRAGMA cache_size=5; BEGIN EXCLUSIVE")
    fill(db, 500)
    assert rows(reader, COUNT) == [(3,)]
    db.execute("COMMIT")
    assert rows(reader, COUNT) == [(503,)]


def test_the_second_writer_is_busy(db, volumes):
    other = volumes.connect()
    db.execute("BEGIN IMMEDIATE")
    for sql in ("BEGIN IMMEDIATE", "INSERT INTO t VALUES (9, 9)", "CREATE TABLE x(a)"):
        with pytest.raises(apsw.BusyError) as caught:
            other.execute(sql)
        assert caught.value.extendedresult == apsw.SQLITE_BUSY
    db.execute("ROLLBACK")
    other.execute("INSERT INTO t VALUES (9, 9)")
    assert rows(db, COUNT) == [(4,)]


def test_a_stale_reader_that_wants_to_write_is_told_at_once(db, volumes):
    stale = volumes.connect()
    asked = []
    stale.set_busy_handler(lambda attempt: asked.append(attempt) or True)
    stale.execute("BEGIN")
    assert rows(stale, COUNT) == [(3,)]
    db.execute("INSERT INTO t VALUES (4, 'four')")
    with pytest.raises(apsw.BusyError) as caught:
        stale.execute("INSERT INTO t VALUES (5, 'five')")
    assert caught.value.extendedresult == apsw.SQLITE_BUSY_SNAPSHOT
    assert not asked, "it would wait in vain"
    assert rows(stale, COUNT) == [(3,)]
    stale.execute("ROLLBACK")
    stale.execute("INSERT INTO t VALUES (5, 'five')")
    assert rows(db, COUNT) == [(5,)]


def test_a_reader_that_is_not_stale_may_write(db, volumes):
    db.execute("BEGIN")
    assert rows(db, COUNT) == [(3,)]
    db.execute("INSERT INTO t VALUES (4, 'four'); COMMIT")
    assert rows(volumes.connect(), COUNT) == [(4,)]


def test_busy_timeout_is_honoured(db, volumes):
    other = volumes.connect()
    db.execute("BEGIN IMMEDIATE")
    other.set_busy_timeout(100)
    begun = time.monotonic()
    with pytest.raises(apsw.BusyError):
        other.execute("INSERT INTO t VALUES (9, 9)")
    assert time.monotonic() - begun >= 0.1


def test_a_waiting_writer_gets_its_turn(db, volumes):
    other = volumes.connect()
    other.set_busy_timeout(300_000)
    db.execute("BEGIN IMMEDIATE; INSERT INTO t VALUES (4, 'four')")
    waiting = threading.Event()

    def commit_when_waited_for():
        waiting.wait()
        db.execute("COMMIT")

    thread = threading.Thread(target=commit_when_waited_for)
    thread.start()
    tries = []

    def handler(attempt: int) -> bool:
        tries.append(attempt)
        waiting.set()
        thread.join()
        return True

    other.set_busy_handler(handler)
    other.execute("INSERT INTO t VALUES (5, 'five')")
    thread.join()
    assert tries
    assert rows(db, COUNT) == [(5,)]


def test_connect_waits_by_default(volumes):
    connection = connect(volumes.path(), remote=volumes.remote)
    try:
        assert connection.pragma("busy_timeout") == 5000
    finally:
        connection.close()


def test_two_threads_write_through_their_own_connections(db, volumes):
    others = [volumes.connect() for _ in range(3)]
    errors = []

    def write(connection: apsw.Connection, number: int) -> None:
        try:
            connection.set_busy_timeout(300_000)
            for n in range(25):
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("INSERT INTO t(v) VALUES (?)", (f"{number}-{n}",))
                connection.execute("COMMIT")
                assert connection.execute(COUNT).get >= n
        except Exception as error:  # noqa: BLE001 - told to the main thread
            errors.append(error)

    threads = [threading.Thread(target=write, args=(other, n)) for n, other in enumerate(others)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert rows(db, COUNT) == [(3 + 75,)]
    assert rows(db, "SELECT count(DISTINCT v) FROM t") == [(78,)]


def test_one_connection_shared_by_threads(db):
    errors = []

    def taking_turns(call) -> None:
        # apsw refuses a call that comes while another thread is inside one, on plain files as on volumes.
        while True:
            with contextlib.suppress(apsw.ThreadingViolationError):
                call()
                return

    def work(number: int) -> None:
        try:
            for n in range(30):
                row = (f"{number}-{n}",)
                taking_turns(lambda: db.execute("INSERT INTO t(v) VALUES (?)", row))  # noqa: B023 - called at once
                taking_turns(lambda: db.execute(COUNT).get)
        except Exception as error:  # noqa: BLE001 - told to the main thread
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert rows(db, COUNT) == [(93,)]


def test_readers_in_threads_while_one_writes(db, volumes):
    readers = [volumes.connect() for _ in range(3)]
    done = threading.Event()
    errors = []
    db.execute("DELETE FROM t; INSERT INTO t VALUES (1, 0), (2, 0)")

    def read(connection: apsw.Connection) -> None:
        try:
            last = -1
            while not done.is_set():
                (one,), (two,) = rows(connection, "SELECT v FROM t ORDER BY id")
                assert one == two >= last  # both rows change in one transaction, and time goes on
                last = one
        except Exception as error:  # noqa: BLE001 - told to the main thread
            errors.append(error)

    threads = [threading.Thread(target=read, args=(reader,)) for reader in readers]
    for thread in threads:
        thread.start()
    for n in range(1, 100):
        db.execute("UPDATE t SET v = ?", (n,))
    done.set()
    for thread in threads:
        thread.join()
    assert errors == []


def test_several_volumes_at_once(volumes):
    connections = {name: volumes.connect(name, remote=f"#{name}") for name in ("a", "b", "c")}
    for name, connection in connections.items():
        connection.execute("CREATE TABLE t(v)")
        connection.execute("BEGIN; INSERT INTO t VALUES (?)", (name,))
    for connection in connections.values():
        connection.execute("COMMIT")
    for name, connection in connections.items():
        assert rows(connection, "SELECT v FROM t") == [(name,)]


def test_another_process_reads_and_writes(volumes):
    path = volumes.path("shared")
    connection = connect(path, remote=volumes.path("bucket"))
    volumes.connections.append(connection)
    connection.execute("CREATE TABLE t(v); INSERT INTO t VALUES ('here')")
    program = (
        "import sys\n"
        "from graft_sqlite_vfs import connect\n"
        "c = connect(sys.argv[1])\n"
        "print(c.execute('SELECT v FROM t').get)\n"
        "c.execute(\"INSERT INTO t VALUES ('there')\")\n"
        "c.close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, path], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("here\n", "")
    assert rows(connection, "SELECT v FROM t") == [("here",), ("there",)]
    connection.execute("INSERT INTO t VALUES ('again')")
