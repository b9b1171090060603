"""The graft_ pragmas, as a user of any SQLite shell sees them."""

import json
import sqlite3

import apsw
import pytest

from graft.errors import BadRequest, Diverged, NoSuchVersion, VolumeExists, WriterBusy
from graft.settings import Settings
from graft.sync.pull import pull
from graft.sync.push import push
from graft_sqlite_vfs import render
from graft_sqlite_vfs.pragmas import PRAGMAS
from tests.graft_sqlite_vfs.conftest import fill, rows


def ask(connection: apsw.Connection, sql: str) -> str:
    ((text,),) = rows(connection, f"PRAGMA {sql}")
    return text


def lines(text: str) -> dict[str, str]:
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def test_info(db, volumes):
    found = lines(ask(db, "graft_info"))
    assert found["name"] == "db"
    assert found["remote"] == f"{volumes.remote}#db"
    assert found["replica"] == str(volumes.path().resolve())
    assert found["page size"] == "4096"
    assert found["durability"] == "local"
    facts = json.loads(ask(db, "graft_info=json"))
    assert facts["page_size"] == 4096
    assert facts["volume"] == str(volumes.replica().volume)


def test_status(db, volumes):
    facts = json.loads(ask(db, "graft_status(json)"))
    assert (facts["state"], facts["lsn"], facts["local_commits"]) == ("ahead", 0, 2)
    assert lines(ask(db, "graft_status"))["local commits"] == "2"
    push(volumes.replica())
    assert lines(ask(db, "graft_status"))["state"] == "up to date"


def test_the_same_pragma_twice_is_answered_twice(db, volumes):
    first = ask(db, "graft_status")
    db.execute("INSERT INTO t VALUES (4, 'four')")
    assert ask(db, "graft_status") != first


def test_push_log_and_message(db):
    assert ask(db, "graft_log") == "volume db has no remote commit yet"
    assert ask(db, "graft_push='first words'").startswith("pushed LSN 1: 2 pages in ")
    assert ask(db, "graft_push") == "nothing to push, at LSN 1"
    for n in range(3):
        db.execute("UPDATE t SET v = ?", (n,))
        db.pragma("graft_push", f"number {n}")
    table = ask(db, "graft_log").splitlines()
    assert table[0].split() == ["LSN", "time", "author", "kind", "pages", "bytes", "message"]
    assert [line.split()[0] for line in table[1:]] == ["4", "3", "2", "1"]
    assert table[-1].endswith("first words")
    assert [line.split()[0] for line in ask(db, "graft_log=2").splitlines()] == ["LSN", "4", "3"]
    with pytest.raises(apsw.SQLError, match="number of commits"):
        ask(db, "graft_log='many'")


@pytest.fixture
def two(db, volumes):
    push(volumes.replica())
    return db, volumes.connect("clone", remote="#db")


def test_fetch_and_pull(two):
    db, other = two
    assert ask(other, "graft_fetch") == "up to date at LSN 1"
    assert ask(other, "graft_pull") == "up to date at LSN 1"
    db.execute("INSERT INTO t VALUES (4, 'four'); PRAGMA graft_push")
    assert "the remote is at LSN 2, this replica is at LSN 1" in ask(other, "graft_fetch")
    assert lines(ask(other, "graft_status"))["state"] == "behind"
    assert rows(other, "SELECT count(*) FROM t") == [(3,)]
    assert ask(other, "graft_pull") == "pulled LSN 1 to 2"
    assert rows(other, "SELECT count(*) FROM t") == [(4,)]


def test_diverged(two, volumes):
    db, other = two
    db.execute("INSERT INTO t VALUES (4, 'four'); PRAGMA graft_push")
    other.execute("INSERT INTO t VALUES (5, 'five')")
    for sql in ("graft_push", "graft_pull", "graft_pull=abort"):
        with pytest.raises(apsw.AbortError, match="volume db") as caught:
            ask(other, sql)
        assert isinstance(caught.value.__cause__, Diverged)
    assert ask(other, "graft_pull='fork:mine'") == "pulled LSN 1 to 2\nlocal commits moved to the new volume mine: 1"
    assert rows(other, "SELECT id FROM t") == [(1,), (2,), (3,), (4,)]
    assert rows(volumes.connect("mine", remote="#mine"), "SELECT id FROM t") == [(1,), (2,), (3,), (5,)]
    other.execute("INSERT INTO t VALUES (6, 'six')")
    assert ask(other, "graft_pull=discard") == "up to date at LSN 2\nlocal commits discarded: 1"
    for value in ("mingle", "fork", "fork:", "discard:x"):
        with pytest.raises(apsw.SQLError, match="takes 'abort', 'discard', 'merge'"):
            ask(other, f"graft_pull='{value}'")


def test_pull_in_the_own_read_transaction(two):
    db, other = two
    db.execute("INSERT INTO t VALUES (4, 'four'); PRAGMA graft_push")
    other.execute("BEGIN; SELECT 1 FROM t")
    assert ask(other, "graft_pull").splitlines()[1] == "the open transaction still reads the version that it began with"
    assert rows(other, "SELECT count(*) FROM t") == [(3,)]
    assert "in transaction: yes" in ask(other, "graft_snapshot")
    other.execute("COMMIT")
    assert rows(other, "SELECT count(*) FROM t") == [(4,)]


def test_pull_in_the_own_write_transaction(two):
    db, other = two
    db.execute("INSERT INTO t VALUES (4, 'four'); PRAGMA graft_push")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(apsw.SQLError, match="COMMIT or ROLLBACK first"):
        ask(other, "graft_pull")
    other.execute("ROLLBACK")
    assert ask(other, "graft_pull") == "pulled LSN 1 to 2"


def test_pull_while_somebody_else_writes(db, volumes):
    push(volumes.replica())
    settings = Settings(lock_timeout_s=0.05)
    other, writer = (volumes.connect("clone", remote="#db", settings=settings) for _ in range(2))
    db.execute("INSERT INTO t VALUES (4, 'four'); PRAGMA graft_push")
    writer.execute("BEGIN IMMEDIATE")
    with pytest.raises(apsw.BusyError) as caught:
        ask(other, "graft_pull")
    assert isinstance(caught.value.__cause__, WriterBusy)
    assert str(caught.value)


def test_pull_in_a_connection_to_the_past(two, volumes):
    db, _ = two
    past = volumes.connect("clone", remote="#db", at=1)
    db.execute("INSERT INTO t VALUES (4, 'four'); PRAGMA graft_push")
    assert ask(past, "graft_pull").endswith("this connection still reads the version that it was opened at")
    assert rows(past, "SELECT count(*) FROM t") == [(3,)]
    assert "read only:" in ask(past, "graft_snapshot")
    assert lines(ask(past, "graft_info"))["durability"] == "read-only"


def test_push_of_an_open_transaction_pushes_what_was_committed_before(db, volumes):
    db.execute("BEGIN; INSERT INTO t VALUES (4, 'four')")
    assert ask(db, "graft_push").startswith("pushed LSN 1")
    db.execute("COMMIT")
    assert volumes.commits() == 1
    assert ask(db, "graft_push").startswith("pushed LSN 2")


def test_hydrate_and_audit(db, volumes):
    fill(db, 500)
    db.pragma("graft_push")
    other = volumes.connect("clone", remote="#db")
    assert lines(ask(other, "graft_audit"))["missing pages"] != "0"
    assert ask(other, "graft_hydrate").startswith("fetched ")
    assert lines(ask(other, "graft_audit"))["missing pages"] == "0"
    assert ask(other, "graft_hydrate") == "every page is already cached"


def test_compact(db, volumes):
    fill(db, 500)
    db.pragma("graft_push")
    for n in (1, 2, 3):
        db.execute("UPDATE t SET v = 'changed' WHERE id = ?", (n * 100,))
        db.pragma("graft_push")
    read = db.execute("SELECT count(*), max(id), max(v) FROM t").fetchall()
    assert ask(db, "graft_compact").startswith("compacted LSN 4 to 5: ")
    assert ask(db, "graft_compact") == "nothing to compact, at LSN 5"
    assert ask(db, "graft_compact=scattered") == "nothing to compact, at LSN 5"
    assert db.execute("SELECT count(*), max(id), max(v) FROM t").fetchall() == read
    other = volumes.connect("clone", remote="#db")
    assert other.execute("SELECT count(*), max(id), max(v) FROM t").fetchall() == read
    with pytest.raises(apsw.SQLError, match="takes 'scattered' or no value"):
        ask(db, "graft_compact='everything'")


def test_fork(db, volumes):
    db.pragma("graft_push")
    db.execute("INSERT INTO t VALUES (4, 'four')")
    assert ask(db, "graft_fork='side'").startswith("forked to volume side")
    assert rows(volumes.connect("side", remote="#side"), "SELECT count(*) FROM t") == [(4,)]
    past = volumes.connect(at=1)
    ask(past, "graft_fork='then'")
    assert rows(volumes.connect("then", remote="#then"), "SELECT count(*) FROM t") == [(3,)]
    with pytest.raises(apsw.SQLError, match="side") as caught:
        ask(db, "graft_fork='side'")
    assert isinstance(caught.value.__cause__, VolumeExists)
    with pytest.raises(apsw.SQLError, match="needs the name"):
        ask(db, "graft_fork")


def test_export(db, volumes, tmp_path):
    path = tmp_path / "out.db"
    db.pragma("graft_push")
    db.execute("BEGIN; INSERT INTO t VALUES (4, 'four')")
    assert str(path) in ask(db, f"graft_export='{path}'")
    db.execute("ROLLBACK")
    with sqlite3.connect(path) as plain:
        assert plain.execute("SELECT count(*) FROM t").fetchall() == [(3,)]
    plain.close()
    with pytest.raises(apsw.SQLError, match="exists already"):
        ask(db, f"graft_export='{path}'")
    db.execute("DELETE FROM t")
    ask(volumes.connect(at=1), f"graft_export='{path}2'")
    assert (tmp_path / "out.db2").read_bytes() == path.read_bytes()


def test_attached_volumes_are_asked_by_their_schema(db, volumes):
    volumes.connect("other", remote="#other").execute("CREATE TABLE o(v)")
    db.execute("ATTACH ? AS other", (str(volumes.path("other")),))
    assert lines(ask(db, "other.graft_info"))["name"] == "other"
    assert lines(ask(db, "main.graft_info"))["name"] == "db"
    assert ask(db, "other.graft_push").startswith("pushed LSN 1")
    assert volumes.commits() == 2


def test_unknown_ones(db):
    with pytest.raises(
        apsw.SQLError, match=r"unknown pragma graft_statsu: use graft_audit, .*, graft_version"
    ) as caught:
        ask(db, "graft_statsu")
    assert isinstance(caught.value.__cause__, BadRequest)
    assert rows(db, "PRAGMA no_such_pragma") == []  # SQLite ignores those, and so do we
    with pytest.raises(apsw.SQLError, match="takes 'json' or no value, not 'xml'"):
        ask(db, "graft_status=xml")
    for name in ("fetch", "hydrate"):
        with pytest.raises(apsw.SQLError, match="takes no value"):
            ask(db, f"graft_{name}=1")


def test_version(db):
    assert json.loads(ask(db, "GRAFT_VERSION=json"))["sqlite"] == apsw.sqlite_lib_version()


def test_every_pragma_is_documented():
    from pathlib import Path

    text = (Path(__file__).parents[2] / "docs/reference/pragmas.md").read_text(encoding="utf-8")
    assert [name for name in PRAGMAS if f"`graft_{name}" not in text] == []


def test_errors_of_the_operation_reach_the_user(db, volumes):
    with pytest.raises(NoSuchVersion):
        volumes.connect(at=77)
    volumes.connect("clone", remote="#db").execute("CREATE TABLE x(a)")
    db.pragma("graft_push")
    with pytest.raises(apsw.AbortError, match="pushed by somebody else"):
        volumes.connect("clone", remote="#db").pragma("graft_push")
    pull(volumes.replica("clone"), policy="discard")


def test_layout():
    assert render.as_lines({"a": 1, "remote_head": None, "byte_size": 1536, "push_open": False}) == (
        "a:         1\nbyte size: 1.5 KiB\npush open: no"
    )
    assert render.as_lines({}) == ""
    assert render.as_table(("n", "name"), [("1", "x"), ("10", "yy")]) == " n  name\n 1  x\n10  yy"
    assert [render.byte_size(n) for n in (0, 1023, 1024, 5 * 1024**3)] == [
        "0 bytes",
        "1023 bytes",
        "1.0 KiB",
        "5.0 GiB",
    ]
    assert render.utc_time(0) == "1970-01-01T00:00:00Z"
