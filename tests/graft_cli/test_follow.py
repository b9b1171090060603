"""graft follow, graft pull --min-lsn, metrics."""

import json
import signal
import subprocess
import sys
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import pytest

from graft.operations.prometheus import as_text, serve
from graft.replica.opening import open_replica
from graft_cli.exitcodes import ExitCode
from pagestore.errors import StoreUnavailable
from pagestore.stores.local_dir import LocalDirStore
from tests.graft_cli.test_executable import GRAFT, TIMEOUT_S, heed_ctrl_c


@pytest.fixture
def there(graft, replica):
    """A clone of the volume, which has nothing new yet."""
    graft("clone", "remote#towns", "there")
    return Path("there")


def push_one(graft, replica):
    graft("sql", replica, "DELETE FROM towns WHERE id = (SELECT min(id) FROM towns)")
    return graft("push", replica, "--json").json["after"]


def test_it_moves_and_ends_where_told(graft, replica, there):
    lsn = push_one(graft, replica)
    ran = graft("follow", there, "--until", lsn)
    assert ran.lines == [f"Following {Path('remote').absolute()}#towns from LSN 1", "LSN 2: 1 new commit"]
    lsn = push_one(graft, replica)
    lsn = push_one(graft, replica)
    ran = graft("follow", there, "--until", lsn, "--json")
    [moved] = map(json.loads, ran.lines)
    assert (moved["event"], moved["before"], moved["after"]) == ("moved", 2, 4)
    pushed, seen = (
        datetime.fromisoformat(at) for at in (graft("log", replica, "-n", 1, "--json").json["time"], moved["time"])
    )
    assert pushed <= seen <= datetime.now(UTC)
    assert graft("sql", there, "SELECT count(*) FROM towns", "--csv").lines[1] == "97"
    assert "has all that the remote had" in graft("status", there).out


def test_an_outage_is_told_and_survived(graft, replica, there, monkeypatch):
    lsn = push_one(graft, replica)
    real, failures = LocalDirStore.list, iter(range(2))

    def down_twice(store, *args, **kwargs):
        if next(failures, None) is not None:
            raise StoreUnavailable("no answer in 30 s")
        return real(store, *args, **kwargs)

    monkeypatch.setattr(LocalDirStore, "list", down_twice)
    ran = graft("follow", there, "--until", lsn, "--interval", 0.001, "--max-interval", 0.002)
    assert ran.err.count("no answer in 30 s") == 2
    assert "(try 2; again in 0.0 s)" in ran.err
    assert ran.err.endswith("graft: the remote answers again\n")
    assert ran.lines[-1] == "LSN 2: 1 new commit"


def test_local_commits_in_the_way_end_it(graft, diverged):
    assert "pull with the policy" in graft("follow", diverged, code=ExitCode.DIVERGED).err


def test_wrong_intervals(graft, there):
    assert "interval" in graft("follow", there, "--interval", 0, code=ExitCode.FAILED).err


def test_ctrl_c_stops_it_cleanly_and_others_go_on(graft, replica, there):
    followers = [
        subprocess.Popen(
            [GRAFT, "follow", there, "--interval", "0.05", "--max-interval", "0.05", "--requests-per-hour", "1000000"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=heed_ctrl_c,  # noqa: PLW1509 - no other thread holds a lock that this needs
        )
        for _ in range(2)
    ]  # fmt: skip
    try:
        for follower in followers:
            assert follower.stdout.readline().endswith("from LSN 1\n")
        push_one(graft, replica)
        for follower in followers:
            assert follower.stdout.readline() == "LSN 2: 1 new commit\n"
        followers[0].send_signal(signal.SIGINT)
        _, err = followers[0].communicate(timeout=TIMEOUT_S)
        assert (followers[0].returncode, err) == (ExitCode.INTERRUPTED, "graft: stopped: towns is at LSN 2\n")
        push_one(graft, replica)
        assert followers[1].stdout.readline() == "LSN 3: 1 new commit\n"
    finally:
        for follower in followers:
            follower.kill()
            follower.communicate()


def test_metrics_in_a_file(graft, replica, there):
    lsn = push_one(graft, replica)
    graft("follow", there, "--until", lsn, "--metrics", "graft.prom")
    text = Path("graft.prom").read_text()
    assert '\ngraft_lsn{volume="towns"} 2.0\n' in text
    assert '\ngraft_lsns_behind{volume="towns"} 0.0\n' in text
    assert '\ngraft_moves_total{volume="towns"} 1.0\n' in text
    assert "# TYPE graft_staleness_seconds gauge\n" in text


def test_metrics_over_http(replica):
    with open_replica(replica) as opened, urllib.request.urlopen(serve(opened, 0), timeout=TIMEOUT_S) as reply:
        assert '\ngraft_lsn{volume="towns"} 1.0\n' in reply.read().decode()


def test_metrics_of_a_program(replica, there):
    with open_replica(replica) as one, open_replica(there) as other:
        text = as_text(one)
        assert 'graft_local_commits{volume="towns"} 0.0' in text
        before = other.remote.store.snapshot().requests
        assert as_text(other).count("\n# TYPE ") > 15
        assert other.remote.store.snapshot().requests == before


def test_metrics_without_the_extra(there):
    program = (
        "import sys\nsys.modules['prometheus_client'] = None\n"
        "sys.argv = ['graft', 'follow', 'there', '--metrics', 'x']\nfrom graft_cli.main import main\nmain()\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.returncode == ExitCode.FAILED
    assert "pip install '.[metrics]'" in ran.stderr


def test_pull_waits_for_an_lsn(graft, replica, there):
    lsn = push_one(graft, replica)
    assert graft("pull", there, "--min-lsn", lsn, "--json").json["after"] == lsn
    ran = graft("pull", there, "--min-lsn", lsn + 1, "--wait", 0, code=ExitCode.TOO_STALE)
    assert "is at LSN 2, not 3, after 0 s: the remote has no such commit yet" in ran.err
    assert "first" in graft("pull", there, "--min-lsn", 1, "--policy", "discard", code=ExitCode.USAGE).err
