"""graft diff."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from graft_cli.exitcodes import ExitCode


@pytest.fixture
def changed(graft, replica):
    """Town 1 renamed and pushed as LSN 2; town 2 deleted, not pushed."""
    graft("sql", replica, "UPDATE towns SET name = 'Uno' WHERE id = 1")
    graft("push", replica)
    graft("tag", "renamed", 2, replica)
    graft("sql", replica, "DELETE FROM towns WHERE id = 2")
    return replica


def test_what_is_not_pushed(graft, changed):
    assert graft("diff", changed).lines[0].startswith("- towns 2  ")
    assert graft("diff", changed, "--stat").out == "towns  -1\n"


def test_two_versions(graft, changed):
    (line,) = graft("diff", 1, "renamed", changed).lines
    assert line.startswith('~ towns 1  name: "')
    assert line.endswith('→ "Uno"')
    assert graft("diff", 1, "local", changed, "--stat").out == "towns  ~1 -1\n"
    assert graft("diff", 2, 2, changed).out == ""


def test_json(graft, changed):
    (text,) = graft("diff", 1, 2, changed, "--json", "--table", "TOWNS").lines
    row = json.loads(text)
    assert (row["change"], row["table"], row["key"]) == ("update", "towns", [1])
    assert (row["before"]["id"], row["after"]["name"]) == (1, "Uno")


def test_sql_and_changesets_turn_one_version_into_the_other(graft, changed):
    for version, name in ((1, "one"), ("local", "now")):
        options = ["--at", version] if version == 1 else []
        graft("export", changed, f"{name}.db", *options)
    script = graft("diff", 1, "local", changed, "--sql").out
    graft("diff", 1, "local", changed, "--changeset", "changes.bin")
    with closing(sqlite3.connect("now.db")) as database:
        expected = database.execute("SELECT * FROM towns").fetchall()
    with closing(sqlite3.connect("one.db")) as database:
        database.executescript(script)
        assert database.execute("SELECT * FROM towns").fetchall() == expected
    graft("export", changed, "two.db", "--at", 1)
    with closing(apsw.Connection("two.db")) as connection:
        apsw.Changeset.apply(Path("changes.bin").read_bytes(), connection)
        assert connection.execute("SELECT * FROM towns").fetchall() == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["1", "99"], "not 99"),
        (["1", "2", "--table", "nobody"], "no table nobody"),
        (["nothing-like-it", "2"], "nothing-like-it"),
    ],
)
def test_wrong_versions_and_tables(graft, changed, words, message):
    assert message in graft("diff", *words, changed, code=ExitCode.FAILED).err
