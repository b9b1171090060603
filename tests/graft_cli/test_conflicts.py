"""graft pull --policy merge, graft conflicts and graft resolve."""

import pytest

from graft_cli.exitcodes import ExitCode


@pytest.fixture
def diverged(graft, replica):
    """A replica whose town 1 another replica renamed too, and whose town 2 it did not touch."""
    address = graft("status", replica, "--json").json["remote"]
    graft("clone", address, "other")
    graft("sql", replica, "UPDATE towns SET name = 'Ours' WHERE id = 1")
    graft("sql", "other", "UPDATE towns SET name = 'Theirs' WHERE id IN (1, 3)")
    graft("push", "other")
    graft("sql", replica, "UPDATE towns SET name = 'Only ours' WHERE id = 2")
    return replica


def names(graft, replica):
    return graft("sql", replica, "SELECT name FROM towns WHERE id <= 3 ORDER BY id", "--csv").lines[1:]


def test_conflicts_stop_a_merge_by_default(graft, diverged):
    failed = graft("pull", diverged, "--policy", "merge", code=ExitCode.DIVERGED)
    assert "towns 1 (changed)" in failed.err
    assert "Nothing was changed" in failed.err
    assert names(graft, diverged)[:2] == ["Ours", "Only ours"]
    assert graft("status", diverged, "--json").json["local_commits"] == 2


@pytest.mark.parametrize(("side", "expected"), [("ours", "Ours"), ("theirs", "Theirs")])
def test_a_side_can_win(graft, diverged, side, expected):
    done = graft("pull", diverged, "--policy", "merge", "--conflicts", side, "--json").json
    assert done["merged"]["tables"]["towns"] >= 1
    assert [one["kind"] for one in done["merged"]["conflicts"]] == ["changed"]
    assert names(graft, diverged) == [expected, "Only ours", "Theirs"]
    graft("push", diverged)
    graft("pull", "other")
    assert names(graft, "other") == [expected, "Only ours", "Theirs"]


@pytest.mark.parametrize(("side", "expected"), [("ours", "Ours"), ("theirs", "Theirs")])
def test_recorded_conflicts_are_listed_and_resolved(graft, diverged, side, expected):
    assert "1 conflicts settled" in graft("pull", diverged, "--policy", "merge", "--conflicts", "record").out
    assert names(graft, diverged) == ["Theirs", "Only ours", "Theirs"]
    (one,) = graft("conflicts", diverged, "--json").json["conflicts"]
    assert (one["table"], one["key"], one["kind"]) == ("towns", [1], "changed")
    assert (one["ours"]["name"], one["theirs"]["name"]) == ("Ours", "Theirs")
    assert one["id"] in graft("conflicts", diverged).out
    assert "say which side" in graft("resolve", one["id"], diverged, code=ExitCode.USAGE).err
    assert "no conflict nothing" in graft("resolve", "nothing", diverged, "--ours", code=ExitCode.FAILED).err
    graft("resolve", one["id"], diverged, f"--{side}")
    assert names(graft, diverged) == [expected, "Only ours", "Theirs"]
    assert graft("conflicts", diverged).out == "No conflicts are recorded here\n"


def test_a_policy_for_conflicts_needs_a_merge(graft, replica):
    assert "--conflicts needs --policy merge" in graft("pull", replica, "--conflicts", "ours", code=ExitCode.USAGE).err
