"""sql and shell: a volume as an SQLite database."""

import tempfile

import pytest

from graft_cli.exitcodes import ExitCode


def test_rows_in_three_forms(graft, replica):
    query = "SELECT id, name, flag FROM towns WHERE id IN (:a, :b)"
    args = ["sql", replica, query, "-p", "a=1", "-p", "b=20"]
    assert graft(*args).out == "id  name     flag\n 1  town 1   x'01'\n20  town 20  x'14'\n"
    assert graft(*args, "--csv").lines == ["id,name,flag", "1,town 1,01", "20,town 20,14"]
    assert graft(*args, "--json").lines[1] == '{"id": 20, "name": "town 20", "flag": "14"}'


def test_several_statements(graft, replica):
    out = graft("sql", replica, "SELECT 1 AS a; DELETE FROM towns WHERE id > 2; SELECT id FROM towns").out
    assert out == "a\n1\n\nid\n 1\n 2\n"
    assert graft("status", replica, "--json").json["local_commits"] == 1


def test_one_transaction_is_one_local_commit(graft, replica):
    graft("sql", replica, "BEGIN; DELETE FROM towns WHERE id = 1; DELETE FROM towns WHERE id = 2; COMMIT")
    assert graft("status", replica, "--json").json["local_commits"] == 1


def test_sql_from_stdin(graft, replica):
    assert graft("sql", replica, "-", "--csv", stdin="SELECT max(id) FROM towns").lines[1] == "100"


def test_the_past(graft, replica):
    graft("sql", replica, "DELETE FROM towns")
    graft("push", replica)
    assert graft("sql", replica, "SELECT count(*) FROM towns", "--at", 1, "--csv").lines[1] == "100"
    graft("sql", replica, "DELETE FROM towns", "--at", 1, code=ExitCode.FAILED)
    assert "not 9" in graft("sql", replica, "SELECT 1", "--at", 9, code=ExitCode.FAILED).err


def test_a_remote_is_read_and_nothing_is_kept(graft, replica, workdir, monkeypatch):
    scratch = workdir / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    graft("sql", replica, "DELETE FROM towns")
    graft("push", replica)
    query = "SELECT count(*) AS n FROM towns"
    assert graft("sql", "remote#towns", query, "--json").json == {"n": 0}
    assert graft("sql", "remote#towns", query, "--json", "--at", 1).json == {"n": 100}
    assert "readonly" in graft("sql", "remote#towns", "INSERT INTO towns(name) VALUES ('x')", code=ExitCode.FAILED).err
    assert list(scratch.iterdir()) == []
    assert "no volume named nope" in graft("sql", "remote#nope", query, code=ExitCode.FAILED).err


@pytest.mark.parametrize(
    ("statement", "code", "message"),
    [
        ("SELEC 1", ExitCode.FAILED, "syntax error"),
        ("SELECT * FROM absent", ExitCode.FAILED, "no such table: absent"),
        ("SELECT :x", ExitCode.USAGE, "has a parameter :x"),
        ("SELECT ?", ExitCode.USAGE, "as in :name"),
        ("SELECT CAST(x'ff' AS TEXT)", ExitCode.FAILED, "not UTF-8"),
        ("INSERT INTO towns(id) VALUES (1)", ExitCode.FAILED, "UNIQUE constraint failed"),
    ],
)
def test_sql_that_fails(graft, replica, statement, code, message):
    ran = graft("sql", replica, statement, code=code)
    assert ran.err.startswith("graft: ")
    assert message in ran.err


def test_rows_before_a_failure_are_printed(graft, replica):
    ran = graft("sql", replica, "SELECT id FROM towns WHERE id = 1; SELEC", code=ExitCode.FAILED)
    assert ran.lines == ["id", " 1"]


@pytest.mark.parametrize("where", ["nowhere", "remote"])
def test_sql_on_nothing(graft, replica, where):
    assert "neither a replica nor" in graft("sql", where, "SELECT 1", code=ExitCode.FAILED).err


def test_a_shell_reads_a_pipe(graft, replica):
    assert graft("shell", replica, stdin="SELECT count(*) FROM towns;\n.tables\n").out == "100\ntowns\n"
    graft("shell", replica, stdin="DELETE FROM towns WHERE id > 5;\n")
    assert graft("shell", "remote#towns", stdin="SELECT count(*) FROM towns;\n").out == "100\n"
    assert graft("shell", replica, "--at", 1, stdin="SELECT count(*) FROM towns;\n").out == "100\n"
    assert graft("shell", replica, stdin="SELECT count(*) FROM towns;\n").out == "5\n"


def test_a_shell_ends_at_the_first_failure_in_a_pipe(graft, replica):
    ran = graft("shell", replica, stdin="SELECT 1;\nSELEC;\nSELECT 2;\n", code=ExitCode.FAILED)
    assert ran.out == "1\n"
    assert "syntax error" in ran.err


def test_a_shell_can_be_told_to_exit(graft, replica):
    graft("shell", replica, stdin=".exit 3\n", code=3)
