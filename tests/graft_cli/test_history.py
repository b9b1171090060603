"""graft changes, history and blame."""

import json

import pytest

from graft_cli.exitcodes import ExitCode


@pytest.fixture
def changed(graft, replica):
    graft("sql", replica, "UPDATE towns SET name = 'Uno' WHERE id = 1")
    graft("push", replica)
    graft("sql", replica, "DELETE FROM towns WHERE id = 2")
    return replica


def test_changes(graft, changed):
    (text,) = graft("changes", changed, "--since", 1, "--json").lines
    record = json.loads(text)
    assert (record["lsn"], record["change"], record["table"], record["key"]) == (2, "update", "towns", [1])
    assert record["after"]["name"] == "Uno"
    assert record["time_us"] > 0
    assert "update towns 1" in graft("changes", changed, "--since", 1).out
    graft("push", changed)
    assert [json.loads(line)["lsn"] for line in graft("changes", changed, "--since", 1, "--json").lines] == [2, 3]
    assert graft("changes", changed, "--since", 3).out == ""
    assert "99" in graft("changes", changed, "--since", 99, code=ExitCode.FAILED).err


def test_history(graft, changed):
    found = graft("history", "towns", 1, changed, "--json").json["history"]
    assert [one["lsn"] for one in found] == [2, 1]
    assert found[0]["row"]["name"] == "Uno"
    assert "local  deleted" in graft("history", "towns", 2, changed).out
    assert "never had" in graft("history", "towns", 5000, changed, code=ExitCode.FAILED).err
    assert "no table nobody" in graft("history", "nobody", 1, changed, code=ExitCode.FAILED).err
    assert "TABLE KEY" in graft("history", "towns", code=ExitCode.USAGE).err


def test_blame(graft, changed):
    assert [one["lsn"] for one in graft("blame", "towns", 1, changed, "--json").json["rows"]] == [2]
    rows = graft("blame", "towns", changed, "--json").json["rows"]
    assert {one["lsn"] for one in rows} == {1, 2}
    assert len(rows) == 99
    assert graft("blame", "towns", 1, changed).lines[1].split()[:2] == ["1", "2"]
    assert "no row 2 now" in graft("blame", "towns", 2, changed, code=ExitCode.FAILED).err
