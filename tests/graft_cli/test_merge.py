"""graft merge, cherry-pick and revert."""

import pytest

from graft_cli.exitcodes import ExitCode


@pytest.fixture
def branched(graft, replica):
    graft("branch", "experiment", replica)
    graft("clone", f"{graft('status', replica, '--json').json['remote'].partition('#')[0]}#experiment", "other")
    graft("sql", "other", "UPDATE towns SET name = 'Branch' WHERE id = 1")
    graft("push", "other")
    return replica


def name(graft, replica):
    return graft("sql", replica, "SELECT name FROM towns WHERE id = 1", "--csv").lines[1]


def test_merge_and_revert(graft, branched):
    before = name(graft, branched)
    assert graft("merge", "experiment", branched).out.startswith(
        "Merged experiment: merged: 0 rows inserted, 1 updated"
    )
    assert name(graft, branched) == "Branch"
    assert "Nothing to do" in graft("merge", "experiment", branched).out
    graft("push", branched)
    done = graft("revert", 2, branched, "--json").json
    assert (done["base"], done["lsn"], done["committed"]) == (2, 1, True)
    assert name(graft, branched) == before


def test_cherry_pick_and_conflicts(graft, branched):
    graft("sql", branched, "UPDATE towns SET name = 'Mine' WHERE id = 1")
    assert "towns 1 (changed)" in graft("cherry-pick", "experiment@2", branched, code=ExitCode.DIVERGED).err
    graft("cherry-pick", "experiment@2", branched, "--conflicts", "theirs")
    assert name(graft, branched) == "Branch"


def test_wrong_usage(graft, branched):
    assert "which version" in graft("merge", code=ExitCode.USAGE).err
    assert "nobody" in graft("merge", "nobody", branched, code=ExitCode.FAILED).err
