"""Connections that Python's collector frees: wherever it runs, nothing waits for a lock of its own thread."""

import gc
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from graft.finalizers import in_finalizer
from graft.replica.opening import open_replica
from graft_sqlite_vfs.readpath import VARIABLE
from testbed.patience import PATIENCE_S
from tests.graft_sqlite_vfs.conftest import committed_in_python

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("pure", ["0", "1"], ids=["accelerated", "pure"])
@pytest.mark.parametrize("mode", ["locks", "threads"])
def test_connections_that_are_collected_anywhere_do_not_hang_the_process(tmp_path, mode, pure):
    done = subprocess.run(
        [sys.executable, "-m", "tests.graft_sqlite_vfs.processes.finalizer_worker", mode, tmp_path],
        cwd=ROOT, env={**os.environ, VARIABLE: pure}, capture_output=True, text=True, check=False,
        timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.stdout == "done\n", done.stderr


CTRL_C_BEFORE_COLLECTION = """
import _thread, gc, operator, graft_sqlite_vfs
try:
    # Both calls in C: no bytecode runs in between, so the collector starts with a pending Ctrl-C.
    list(map(operator.call, [_thread.interrupt_main, gc.collect]))
except KeyboardInterrupt:
    print("interrupted")
"""


def test_a_collection_does_not_drop_a_ctrl_c():
    done = subprocess.run(
        [sys.executable, "-c", CTRL_C_BEFORE_COLLECTION],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )
    assert (done.stdout, done.stderr) == ("interrupted\n", "")


class Box:
    """A reference cycle: only the collector frees what it holds."""

    def __init__(self, *held):
        self.myself, self.held = self, held


def _half_read(connection, number):
    cursor = connection.execute("INSERT INTO t VALUES (?), (0) RETURNING x", (number,))
    assert next(cursor) == (number,)
    return cursor


def test_a_statement_that_is_collected_half_read_commits(volumes):
    writer, reader = volumes.connect("a"), volumes.connect("a")
    writer.execute("CREATE TABLE t(x)")
    for number in (1, 2, 3):
        Box(_half_read(writer, number))
        gc.collect()
        assert reader.execute("SELECT x FROM t WHERE x ORDER BY 1").fetchall()[-1] == (number,)
    assert writer.execute("SELECT count(*) FROM t").get == 6


@committed_in_python
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # there is nobody to raise to
def test_one_that_cannot_commit_there_is_rolled_back_and_the_next_one_works(volumes):
    writer, reader = volumes.connect("a"), volumes.connect("a")
    writer.execute("CREATE TABLE t(x)")
    with open_replica(volumes.directory / "a") as replica:
        Box(_half_read(writer, 1))
        with replica._current._lock:  # the collector interrupts its thread in the midst of a change of the view
            gc.collect()
    assert reader.execute("SELECT count(*) FROM t").get == 0
    writer.execute("INSERT INTO t VALUES (2)")
    assert reader.execute("SELECT x FROM t").fetchall() == [(2,)]


def test_threads_that_ask_while_others_collect_are_told_no():
    """Whether a collection is this thread's; the answer is looked up without a lock."""
    failed, stop = [], threading.Event()

    def ask():
        try:
            for _ in range(50_000):
                assert not in_finalizer()
        except BaseException as error:  # noqa: BLE001 - whatever it is, it fails the test
            failed.append(error)

    def collect():
        while not stop.is_set():
            gc.collect(0)

    askers, collector = [threading.Thread(target=ask) for _ in range(2)], threading.Thread(target=collect)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in (*askers, collector):
            thread.start()
        for thread in askers:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        collector.join()
    assert not failed
