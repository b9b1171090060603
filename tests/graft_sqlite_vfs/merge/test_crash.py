"""A process that dies while it merges leaves what was there before, or all of the merge."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import graft
from graft.replica.opening import open_replica
from graft_sqlite_vfs import connect

ROOT = Path(__file__).parents[3]
MERGE_AND_DIE = """
import os, signal, sys
import graft, graft_sqlite_vfs
from graft.failpoints import set_failpoint_hook

point, path = sys.argv[1:]
with graft.open_replica(path) as replica:
    set_failpoint_hook(lambda name: os.kill(os.getpid(), signal.SIGKILL) if name == point else None)
    graft.pull(replica, policy="merge")
"""
POINTS = ["pull: after fetch", "merge: after prepare", "pull: after state"]


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside another process"])
@pytest.mark.parametrize("point", POINTS)
def test_a_merge_is_whole_or_not_at_all(tmp_path, point, beside):
    remote = f"{tmp_path}/store#app"
    ours, theirs = connect(tmp_path / "ours", remote=remote), connect(tmp_path / "theirs", remote=remote)
    ours.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, side); INSERT INTO t VALUES (1, 'common')")
    ours.pragma("graft_push")
    theirs.pragma("graft_pull")
    ours.execute("INSERT INTO t VALUES (2, 'ours')")
    theirs.execute("INSERT INTO t VALUES (3, 'theirs')")
    theirs.pragma("graft_push")
    if not beside:
        ours.close()
    died = subprocess.run(
        [sys.executable, "-c", MERGE_AND_DIE, point, tmp_path / "ours"],
        cwd=ROOT, env={**os.environ}, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert died.returncode == -9, died.stderr
    if not beside:
        ours = connect(tmp_path / "ours")
    merged = point == "pull: after state"
    expected = [(1, "common"), (2, "ours"), *([(3, "theirs")] if merged else [])]
    if beside:
        ours.execute("BEGIN IMMEDIATE; ROLLBACK")  # a writer finishes what the dead process began
    assert ours.execute("SELECT * FROM t").fetchall() == expected
    with open_replica(tmp_path / "ours") as replica:
        ours.execute("INSERT INTO t VALUES (4, 'later')")
        assert (graft.pull(replica, policy="merge").merged is None) == merged
        graft.push(replica)
        assert not list((tmp_path / "ours" / "journal").glob("*.merged"))
    assert [row[0] for row in ours.execute("SELECT id FROM t")] == [1, 2, 3, 4]
    assert ours.pragma("integrity_check") == "ok"
    theirs.pragma("graft_pull")
    assert [row[0] for row in theirs.execute("SELECT id FROM t")] == [1, 2, 3, 4]
    ours.close()
    theirs.close()
