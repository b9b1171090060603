"""Work after the interpreter began to end, and where no thread can be started: it is done in the calling thread."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pagestore.parallel import Helpers, Parallel
from testbed.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]
_WORK = """
import atexit, os, sys
from pathlib import Path
from graft_sqlite_vfs import connect

directory, when = Path(sys.argv[1]), sys.argv[2]
remote = f"{directory}/remote#v"
said = os.open(directory / "said", os.O_WRONLY | os.O_CREAT)  # in the end there is no `print`
first, second = connect(directory / "a", remote=remote), connect(directory / "b", remote=remote)
first.execute("CREATE TABLE t(x)")


def work(write=os.write):
    first.execute("BEGIN")
    first.executemany("INSERT INTO t VALUES (?)", [(bytes(900),)] * 3000)
    first.execute("COMMIT")
    write(said, first.pragma("graft_push").encode() + b"\\n")
    write(said, second.pragma("graft_pull").encode() + b"\\n")
    write(said, b"%d\\n" % second.execute("SELECT sum(length(x)) FROM t").get)
    first.execute("UPDATE t SET x = randomblob(900) WHERE rowid % 9 = 0")
    write(said, first.pragma("graft_push").encode() + b"\\n")
    write(said, second.pragma("graft_hydrate").encode() + b"\\n")


class Late:
    def __init__(self):
        self.myself = self

    def __del__(self):
        work()


if when == "atexit":
    atexit.register(work)
else:
    work()  # what is imported on the way cannot be imported then
    sys.modules["late"] = Late()
"""


@pytest.mark.parametrize("pure", ["0", "1"], ids=["accelerated", "pure"])
@pytest.mark.parametrize("when", ["atexit", "finalizing"])
def test_pushes_and_reads_go_on_while_the_interpreter_ends(tmp_path, when, pure):
    done = subprocess.run(
        [sys.executable, "-c", _WORK, tmp_path, when],
        cwd=ROOT, env={**os.environ, "GRAFT_PURE": pure}, capture_output=True, text=True, check=False,
        timeout=PATIENCE_S,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    before = 2 * (when == "finalizing")
    *_, pushed, pulled, total, pushed_again, _ = (tmp_path / "said").read_text().splitlines()
    assert pushed.startswith(f"pushed LSN {before + 1}")
    assert pulled.startswith("pulled LSN ")
    assert pulled.endswith(f" to {before + 1}")
    assert total == str((before // 2 + 1) * 3000 * 900)
    assert pushed_again.startswith(f"pushed LSN {before + 2}")


def _no_thread(_self):
    raise RuntimeError("can't start new thread")


def test_without_threads_everything_is_done_in_the_callers(monkeypatch):
    monkeypatch.setattr(threading.Thread, "start", _no_thread)
    with Parallel(4) as parallel:
        assert list(parallel.map(lambda item: (item, threading.current_thread()), range(9))) == [
            (item, threading.main_thread()) for item in range(9)
        ]
        assert list(parallel.map_ahead(str, iter(range(5)), lambda _: 1, 2)) == list("01234")
        assert parallel.begin(lambda: 7)() == 7
        said = []
        with parallel.beside(lambda: said.append("beside")):
            pass
        assert said == ["beside"]
        with pytest.raises(ZeroDivisionError):
            list(parallel.map(lambda item: 1 // item, [1, 0, 1]))
    helpers = Helpers(1)
    assert not helpers.try_run(lambda: None)
    monkeypatch.undo()
    assert helpers.try_run(lambda: None)  # the one thread that it may have was not used up
    helpers.end(10)


def test_threads_that_run_out_in_between_take_no_call_along(monkeypatch):
    with Parallel(4) as parallel:
        start, started = threading.Thread.start, []

        def only_one(thread):
            if started:
                _no_thread(thread)
            started.append(thread)
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", only_one)
        calls = []
        assert list(parallel.map(lambda item: calls.append(item) or item, range(50))) == list(range(50))
        assert sorted(calls) == list(range(50))
