"""What SQLite can do, on volumes of every page size; each connection ends with integrity_check."""

import random

import apsw
import pytest

from graft.sync.pull import pull
from graft.sync.push import push
from tests.graft_sqlite_vfs.conftest import fill, rows, spilling


@pytest.fixture(params=[512, 1024, 4096, 16384, 65536])
def sized(request, volumes) -> apsw.Connection:
    return volumes.connect(page_size=request.param)


def fresh(volumes, sql: str) -> list[tuple]:
    return rows(volumes.connect(), sql)


def test_rows_indexes_blobs_and_vacuum(sized, volumes):
    sized.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE INDEX i ON t(v)")
    fill(sized, 500)
    sized.execute("INSERT INTO t(v) VALUES (zeroblob(300000))")
    sized.execute("UPDATE t SET v = v || 'x' WHERE id % 3 = 0")
    sized.execute("DELETE FROM t WHERE id % 2")
    expected = rows(sized, "SELECT id, length(v) FROM t")
    assert fresh(volumes, "SELECT id, length(v) FROM t") == expected
    sized.execute("VACUUM")
    assert fresh(volumes, "SELECT id, length(v) FROM t") == expected


def test_over_push_and_clone(sized, volumes):
    sized.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    other = None
    for n in range(3):
        fill(sized, 200)
        push(volumes.replica())
        other = other or volumes.connect("clone", remote="#db")
        pull(volumes.replica("clone"))
        assert rows(other, "SELECT * FROM t") == rows(sized, "SELECT * FROM t")
        sized.execute("DELETE FROM t WHERE id % 5 = ?; VACUUM", (n,))


def test_spilled_transactions(sized, volumes):
    sized.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    spilling(sized)
    fill(sized, 1000)
    sized.execute("BEGIN; UPDATE t SET v = 'x' || v; SAVEPOINT a; DELETE FROM t WHERE id > 10; ROLLBACK TO a; COMMIT")
    assert fresh(volumes, "SELECT count(*) FROM t WHERE v LIKE 'x%'") == [(1000,)]


def test_full_text_search(db, volumes):
    db.execute("CREATE VIRTUAL TABLE f USING fts5(body)")
    words = ["graft", "volume", "page", "commit", "log", "frame"]
    choose = random.Random(7)
    with db:
        for _ in range(300):
            db.execute("INSERT INTO f VALUES (?)", (" ".join(choose.choices(words, k=8)),))
    db.execute("INSERT INTO f(f) VALUES ('optimize')")
    expected = rows(db, "SELECT rowid FROM f WHERE f MATCH 'graft NOT volume' ORDER BY rank, rowid")
    assert expected
    assert fresh(volumes, "SELECT rowid FROM f WHERE f MATCH 'graft NOT volume' ORDER BY rank, rowid") == expected
    volumes.connect().execute("INSERT INTO f(f) VALUES ('integrity-check')")


def test_rtree_json_and_generated_columns(db, volumes):
    db.execute("CREATE VIRTUAL TABLE r USING rtree(id, x0, x1, y0, y1)")
    db.execute("CREATE TABLE j(doc, name TEXT AS (doc ->> '$.name') STORED, UNIQUE(name))")
    with db:
        for n in range(500):
            db.execute("INSERT INTO r VALUES (?, ?, ?, ?, ?)", (n, n, n + 1, -n, -n + 1))
            db.execute("INSERT INTO j VALUES (json_object('name', ?, 'n', ?))", (f"n{n}", n))
    assert fresh(volumes, "SELECT count(*) FROM r WHERE x0 >= 100 AND x1 <= 200") == [(100,)]
    assert fresh(volumes, "SELECT doc ->> '$.n' FROM j WHERE name = 'n77'") == [(77,)]
    assert fresh(volumes, "SELECT rtreecheck('r')") == [("ok",)]


def test_foreign_keys_triggers_and_upserts(db, volumes):
    db.execute("PRAGMA foreign_keys=ON")
    db.execute("CREATE TABLE c(id INTEGER PRIMARY KEY, t REFERENCES t(id) ON DELETE CASCADE)")
    db.execute("CREATE TRIGGER g AFTER INSERT ON t BEGIN INSERT INTO c(t) VALUES (new.id); END")
    db.execute("INSERT INTO t VALUES (4, 'four') ON CONFLICT DO UPDATE SET v = excluded.v RETURNING id")
    with pytest.raises(apsw.ConstraintError):
        db.execute("INSERT INTO c VALUES (9, 99)")
    db.execute("DELETE FROM t WHERE id = 4")
    assert fresh(volumes, "SELECT count(*) FROM c") == [(0,)]


def test_without_rowid_and_altered_tables(db, volumes):
    db.execute("CREATE TABLE w(k TEXT PRIMARY KEY, v) WITHOUT ROWID")
    with db:
        for n in range(500):
            db.execute("INSERT INTO w VALUES (?, ?)", (f"{n * 7919 % 500:05}", n))
    db.execute("ALTER TABLE w ADD COLUMN x DEFAULT 5; ALTER TABLE w RENAME TO ww; ALTER TABLE ww DROP COLUMN v")
    db.execute("CREATE INDEX i ON ww(x, k)")
    assert fresh(volumes, "SELECT count(*), sum(x), min(k) FROM ww") == [(500, 2500, "00000")]


def test_sessions(db, volumes):
    session = apsw.Session(db, "main")
    session.attach("t")
    db.execute("UPDATE t SET v = 'changed' WHERE id = 2; INSERT INTO t VALUES (4, 'four')")
    changes = session.changeset()
    session.close()
    other = volumes.connect("other", remote="#other")
    other.execute(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 'one'), (2, 'two'), (3, 'three')"
    )
    apsw.Changeset.apply(changes, other)
    assert rows(other, "SELECT * FROM t") == rows(db, "SELECT * FROM t")


def test_writing_while_a_statement_reads(db, volumes):
    for (number,) in db.execute("SELECT id FROM t"):
        db.execute("INSERT INTO t(v) VALUES (?)", (number,)) if number < 50 else None
    reader = db.execute("SELECT id FROM t ORDER BY id")
    next(reader)
    db.execute("INSERT INTO t(v) VALUES ('while reading')")
    other = volumes.connect()
    other.execute("INSERT INTO t(v) VALUES ('by another')")
    with pytest.raises(apsw.BusyError) as caught:
        db.execute("INSERT INTO t(v) VALUES ('stale now')")
    assert caught.value.extendedresult == apsw.SQLITE_BUSY_SNAPSHOT
    reader.close()
    db.execute("INSERT INTO t(v) VALUES ('again')")
    assert rows(other, "SELECT count(*) FROM t") == rows(db, "SELECT count(*) FROM t")


def test_incremental_blobs(db, volumes):
    db.execute("INSERT INTO t VALUES (9, zeroblob(100000))")
    with db.blob_open("main", "t", "v", 9, True) as blob:
        blob.seek(50_000)
        blob.write(b"in the middle")
    assert fresh(volumes, "SELECT substr(v, 50001, 13) FROM t WHERE id = 9") == [(b"in the middle",)]


def test_serialize(db):
    data = db.serialize("main")
    copy = apsw.Connection(":memory:")
    copy.deserialize("main", data)
    assert rows(copy, "SELECT * FROM t") == rows(db, "SELECT * FROM t")
    copy.close()


@pytest.mark.parametrize("page_size", [512, 4096])
def test_around_the_lock_byte_page(volumes, page_size):
    # SQLite never uses the page at 1 GiB. A sparse volume of a bit more than that: only what is written is stored.
    db = volumes.connect(page_size=page_size)
    db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t(v) VALUES ('before')")
    lock_page = 0x40000000 // page_size + 1
    pages = lock_page - 2
    replica = volumes.replica()
    with replica.begin(replica.snapshot()) as transaction:
        first = bytearray(transaction.read(1))
        count = int.from_bytes(first[24:28], "big") + 1
        first[24:28] = first[92:96] = count.to_bytes(4, "big")
        first[28:32] = pages.to_bytes(4, "big")  # a database of many pages that no table uses yet
        transaction.truncate(pages)
        transaction.write(1, bytes(first))
        transaction.commit()
    with db:
        for _ in range(20):
            db.execute("INSERT INTO t(v) VALUES (zeroblob(?))", (page_size,))
    assert db.pragma("page_count") > lock_page + 10
    snapshot = replica.snapshot()
    assert snapshot.page_count == db.pragma("page_count")
    assert bytes(snapshot.read(lock_page)) == bytes(page_size)
    reader = volumes.connect()
    assert rows(reader, "SELECT count(*), sum(length(v)) FROM t") == [(21, 6 + 20 * page_size)]
    db.execute("DELETE FROM t WHERE id > 5")
    assert rows(reader, "SELECT count(*) FROM t") == [(5,)]
    for connection in volumes.connections:  # integrity_check would complain of the pages that nothing uses
        connection.close()
