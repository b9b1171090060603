"""A working directory of one's own, the `graft` command in this process, and a small database."""

import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from graft_cli.main import cli

LARGE_TABLE = """
CREATE TABLE large AS
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) SELECT randomblob(1000) FROM n
"""


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def lines(self):
        return self.out.splitlines()


@pytest.fixture(autouse=True)
def workdir(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def graft():
    """Run a command line in this process; fails unless it ends with ``code``."""

    def run(*args, code=0, stdin=None):
        result = CliRunner().invoke(cli, [str(arg) for arg in args], prog_name="graft", input=stdin)
        ran = Ran(result.exit_code, result.stdout, result.stderr)
        assert ran.code == code, ran
        return ran

    return run


def make_database(path, rows=100, page_size=4096):
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA page_size = {page_size}")
    connection.execute("CREATE TABLE towns (id INTEGER PRIMARY KEY, name TEXT, size REAL, flag BLOB)")
    connection.executemany(
        "INSERT INTO towns VALUES (?, ?, ?, ?)",
        [(number, f"town {number}", number / 2, bytes([number % 256])) for number in range(1, rows + 1)],
    )
    connection.commit()
    connection.close()
    return Path(path)


def rows_of(path, sql="SELECT count(*) FROM towns"):
    connection = sqlite3.connect(path)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


@pytest.fixture
def database(workdir):
    return make_database(workdir / "towns.db")


@pytest.fixture
def replica(graft, database):
    """``here``, a replica of ``remote#towns`` with one pushed commit."""
    graft("import", database, "here", "remote#towns", "--push")
    return Path("here")


@pytest.fixture
def diverged(graft, replica):
    """``here`` and the remote both have new commits; ``there`` is up to date."""
    graft("clone", "remote#towns", "there")
    graft("sql", "there", "DELETE FROM towns WHERE id = 1")
    graft("push", "there")
    graft("sql", "here", "DELETE FROM towns WHERE id = 2")
    return replica
