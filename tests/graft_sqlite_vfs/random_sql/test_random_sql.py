"""Random programs of SQL and of operations on the volume, beside plain SQLite."""

from dataclasses import replace

import apsw
import pytest

from graft_sqlite_vfs import connect, header

from .program import OPERATIONS, program_of
from .world import failing, shrunk


@pytest.mark.parametrize(
    "seed", [*range(10), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(100, 400))]
)
@pytest.mark.usefixtures("read_path")
def test_a_random_program(tmp_path, seed):
    program = program_of(seed)
    why = failing(program, tmp_path / "world")
    if why is not None:
        small = shrunk(program, tmp_path / "world", tries=60)
        pytest.fail(f"seed {seed}: {why}\n{small!r}\n" + "\n".join(small.steps))


@pytest.mark.usefixtures("read_path")
def test_a_fault_that_is_sqlites_own(tmp_path):
    """An index on an expression over zeroblob(n) in UTF-16: plain SQLite says the same of its own file.

    If this fails, SQLite has mended it, and `random_sql.world` may expect "ok".
    """
    answers = []
    volume = connect(tmp_path / "v", remote=str(tmp_path / "remote#v"))
    for connection in (apsw.Connection(str(tmp_path / "plain.db")), volume):
        for sql in (
            "PRAGMA encoding='UTF-16le'",
            "CREATE TABLE t(n INTEGER PRIMARY KEY, what)",
            "CREATE INDEX i ON t(lower(what))",
            "INSERT INTO t VALUES (1, zeroblob(3))",
        ):
            list(connection.execute(sql))
        answers.append(list(connection.execute("PRAGMA integrity_check")))
        connection.close()
    assert answers == [[("row 1 missing from index i",)]] * 2


def all_operations():
    """A program with each operation several times, and what they need: rows, and a snapshot that is held meanwhile."""
    rows = "WITH RECURSIVE k(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM k WHERE i < 100) "
    return replace(
        program_of(1, 0),
        page_size=1024,
        durability="relaxed",
        steps=(
            "INSERT INTO log(what) VALUES ('abcdefgh')",
            rows + "INSERT INTO log(n, what) SELECT i + 10, hex(zeroblob(i)) FROM k",
            *(f"-- {name} {number}" for number in (1, 10) for name in (*OPERATIONS, "diverge", "foreign")),
        ),
    )


@pytest.mark.usefixtures("read_path")
def test_every_operation(tmp_path):
    assert failing(all_operations(), tmp_path / "world") is None


@pytest.mark.usefixtures("read_path")
def test_a_fault_is_noticed_and_shrunk(tmp_path, monkeypatch):
    """A connection whose schema cookie goes on as if local commits had not been given up."""
    monkeypatch.setattr(header.ShownCookie, "turn_to", lambda *_args, **_options: None)
    program = all_operations()
    assert failing(program, tmp_path / "world") is not None
    small = shrunk(program, tmp_path / "world", tries=40)
    assert len(small.steps) < len(program.steps) / 4
    assert failing(small, tmp_path / "world") is not None
