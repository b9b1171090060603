"""Writers that push to one volume at the same time, and merge what the others pushed first."""

import subprocess
import sys
from pathlib import Path

import pytest

import graft
from graft_sqlite_vfs import connect

ROOT = Path(__file__).parents[3]
WRITER = """
import sys
import graft
from graft_sqlite_vfs import connect

path, remote, number, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
connection = connect(path, remote=remote)
with graft.open_replica(path) as replica:
    for done in range(rounds):
        connection.execute("INSERT INTO entry VALUES (?, ?)", (number * 1000 + done, number))
        connection.execute("UPDATE total SET done = done + 1 WHERE writer = ?", (number,))
        graft.push(replica, retry=200)
print("pushed")
"""


@pytest.mark.parametrize(
    ("writers", "rounds"), [(3, 4), pytest.param(8, 12, marks=pytest.mark.long)], ids=["few", "many"]
)
def test_writers_in_processes_lose_nothing(tmp_path, writers, rounds):
    remote = f"{tmp_path}/store#app"
    connection = connect(tmp_path / "first", remote=remote)
    connection.execute(
        "CREATE TABLE entry(id INTEGER PRIMARY KEY, writer); CREATE TABLE total(writer PRIMARY KEY, done)"
    )
    connection.executemany("INSERT INTO total VALUES (?, 0)", [(number,) for number in range(writers)])
    connection.pragma("graft_push")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, tmp_path / f"w{number}", remote, str(number), str(rounds)],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in range(writers)
    ]  # fmt: skip
    for process in processes:
        out, err = process.communicate(timeout=600)
        assert (out, process.returncode) == ("pushed\n", 0), err
    connection.pragma("graft_pull")
    assert connection.execute("SELECT writer, count(*) FROM entry GROUP BY 1").fetchall() == [
        (number, rounds) for number in range(writers)
    ]
    assert connection.execute("SELECT done FROM total").fetchall() == [(rounds,)] * writers
    assert connection.pragma("integrity_check") == "ok"
    connection.close()
    with graft.open_replica(tmp_path / "first") as replica:
        assert replica.view().state.lsn == 1 + writers * rounds, "each push is one commit"


def test_a_conflict_ends_the_tries(pair):
    pair.start("CREATE TABLE t(id INTEGER PRIMARY KEY, x); INSERT INTO t VALUES (1, 0)")
    pair.part("UPDATE t SET x = 1", "UPDATE t SET x = 2")
    with pytest.raises(graft.Diverged, match="pushed"):
        graft.push(pair.replica)
    with pytest.raises(graft.MergeConflict):
        graft.push(pair.replica, retry=3)
    assert graft.push(pair.replica, retry=3, conflicts="ours").after == 3
    assert pair.rows("SELECT x FROM t") == [(1,)]
    with pytest.raises(graft.BadRequest, match="-1 times"):
        graft.push(pair.replica, retry=-1)
