"""graft tag, branch and switch."""

import json
from pathlib import Path

import pytest

from graft_cli.exitcodes import ExitCode


@pytest.fixture
def replica(graft, replica):
    """Three versions of 100, 90 and 80 towns."""
    for left in (90, 80):
        graft("sql", replica, f"DELETE FROM towns WHERE id > {left}")
        graft("push", replica, "-m", f"{left} towns")
    return replica


def towns(graft, replica, *at):
    return int(graft("sql", replica, "SELECT count(*) FROM towns", "--csv", *at).lines[1])


def test_tags(graft, replica):
    assert graft("tag", replica).out == ""
    assert graft("tag", "before", 2, replica, "-m", "ninety").out == "Tagged LSN 2 of towns as before\n"
    made = graft("tag", replica, "now", "--json").json
    assert (made["name"], made["lsn"], made["inherited"]) == ("now", 3, False)
    assert towns(graft, replica, "--at", "before") == 90
    graft("export", replica, "old.db", "--at", "before")
    listed = graft("tag", replica).out
    assert "before" in listed
    assert "ninety" in listed
    assert [tag["name"] for tag in graft("tag", replica, "--json").json["tags"]] == ["before", "now"]
    assert "LSN 2" in graft("tag", "before", 3, replica, code=ExitCode.FAILED).err
    graft("tag", "before", 3, replica, "--force")
    assert towns(graft, replica, "--at", "before") == 80
    graft("tag", "-d", "before", replica)
    assert "did you mean now" in graft("sql", replica, "SELECT 1", "--at", "nou", code=ExitCode.FAILED).err


def test_in_the_working_directory(graft, replica, monkeypatch):
    monkeypatch.chdir(replica)
    graft("tag", "v1", 1)
    graft("branch", "old", "v1")
    graft("switch", "old")
    assert towns(graft, ".") == 100
    assert graft("switch", "towns").out == "Switched from old to towns, at LSN 3\n"


def test_branches(graft, replica):
    graft("tag", "v1", 1, replica)
    assert graft("branch", replica).out == "* towns  LSN 3\n"
    assert "graft switch old" in graft("branch", "old", "v1", replica).out
    assert graft("switch", replica, "old").out == "Switched from towns to old, at LSN 1\n"
    graft("sql", replica, "INSERT INTO towns(name) VALUES ('new')")
    graft("push", replica)
    assert towns(graft, replica) == 101
    assert towns(graft, replica, "--at", "towns@2") == 90
    assert graft("branch", replica).lines == ["* old  LSN 2  (from towns at LSN 1)", "  towns  LSN 3"]
    found = graft("branch", replica, "--json").json["branches"]
    assert [(each["name"], each["lsn"], each["parent"], each["start"]) for each in found] == [
        ("old", 2, "towns", 1), ("towns", 3, None, 0),
    ]  # fmt: skip
    assert "switch to another" in graft("branch", "-d", "old", replica, code=ExitCode.FAILED).err
    graft("switch", replica, "towns")
    assert "--force" in graft("branch", "-d", "old", replica, code=ExitCode.FAILED).err
    graft("branch", "-d", "old", replica, "--force")
    assert graft("branch", replica).out == "* towns  LSN 3\n"


def test_switching_with_local_commits(graft, replica):
    graft("branch", "old", 1, replica)
    graft("sql", replica, "DELETE FROM towns")
    assert "push them first" in graft("switch", replica, "old", code=ExitCode.FAILED).err
    assert "1 local commit went along" in graft("switch", "-c", "empty", replica).out
    graft("push", replica)
    assert towns(graft, replica) == 0
    assert graft("switch", replica, "towns").out == "Switched from empty to towns, at LSN 3\n"
    assert towns(graft, replica) == 80


def test_slips(graft, replica):
    for words, why in (
        (("switch", replica), "missing argument 'NAME'"),
        (("switch", "a", "b", replica), "--create NAME"),
        (("tag", "-d", replica), "which tag"),
        (("branch", "--force", "a", replica), "--force goes with --delete"),
        (("branch", "a", "b", "c", replica), "got more"),
        (("tag", ""), "must not be empty"),
    ):
        assert why in graft(*words, code=ExitCode.USAGE).err
    assert "is an LSN" in graft("tag", "12", replica, code=ExitCode.FAILED).err
    assert "no volume named nowhere" in graft("switch", "nowhere", replica, code=ExitCode.FAILED).err
    assert "not a replica" in graft("tag", "v1", "./nowhere", code=ExitCode.FAILED).err


def test_the_log_tells_who_and_what(graft, replica, monkeypatch):
    monkeypatch.setenv("GRAFT_AUTHOR", "ann")
    graft("sql", replica, "CREATE TABLE rivers(name); INSERT INTO rivers VALUES ('Inn')")
    graft("push", replica, "-m", "a river")
    graft("branch", "b", replica)
    graft("switch", "b", replica)
    entries = [json.loads(line) for line in graft("log", replica, "--json", "--tables").lines]
    assert [entry["lsn"] for entry in entries] == [4, 3, 2, 1]
    assert entries[0]["author"] == "ann"
    assert "@" in entries[1]["author"]
    assert [entry["tables"] for entry in entries] == [["rivers"], ["towns"], ["towns"], ["towns"]]
    stored = sum(
        path.stat().st_size for path in Path("remote").rglob("*") if path.parent.name in {"commits", "segments"}
    )
    assert sum(entry["bytes"] for entry in entries) == stored
    table = graft("log", replica, "-n", 1, "--tables").lines
    assert [word in table[-1] for word in ("4", "ann", "rivers", "a river")] == [True] * 4
    assert "tables" not in json.loads(graft("log", replica, "--json", "-n", 1).out)


def test_the_graph(graft, replica):
    graft("tag", "v1", 1, replica)
    graft("branch", "early", 1, replica)
    graft("branch", "late", 3, replica)
    for branch in ("early", "late", "towns"):
        graft("switch", branch, replica)
        graft("sql", replica, f"INSERT INTO towns(name) VALUES ('{branch}')")
        graft("push", replica, "-m", f"on {branch}")
    graft("branch", "unstarted", replica)
    shown = graft("log", "--graph", replica).out
    assert [line.split("  ")[0] for line in shown.splitlines()][2:] == [
        "| * | 2", "|_|/", "* | 3", "* | 2", "|/", "* 1",
    ]  # fmt: skip
    assert shown.startswith("* 4  (")
    assert "\n|   * 4  (late)" in shown
    for label in ("(replica -> towns, towns, unstarted)", "(late)", "(early)", "(tag: v1)"):
        assert label in shown
    found = [json.loads(line) for line in graft("log", "--graph", "--json", replica).lines]
    assert [(entry["branch"], entry["lsn"]) for entry in found] == [
        ("towns", 4), ("late", 4), ("early", 2), ("towns", 3), ("towns", 2), ("towns", 1),
    ]  # fmt: skip
    assert found[1]["parent"] == {"branch": "towns", "lsn": 3}


def test_restore(graft, replica):
    graft("tag", "v1", 1, replica)
    assert graft("restore", "v1", replica).out.startswith("Restored LSN 1 of towns as LSN 4: ")
    assert towns(graft, replica) == 100
    assert "restore LSN 1" in graft("log", replica, "-n", 1).out
    assert "newest already" in graft("restore", 1, replica).out
    assert graft("restore", 2, replica, "--json", "-m", "back").json["after"] == 5
    assert towns(graft, replica, "--at", 4) == 100
    assert "has LSN 0 to 5, not 9" in graft("restore", 9, replica, code=ExitCode.FAILED).err
    assert "missing argument 'VERSION'" in graft("restore", replica, code=ExitCode.USAGE).err
    graft("sql", replica, "DELETE FROM towns WHERE id = 1")
    assert "push them first" in graft("restore", 1, replica, code=ExitCode.FAILED).err
