"""A large database in a bucket, opened by a replica that has nothing: how little must move for one row."""

import random
import sqlite3

import pytest

from graft.operations.status import audit
from graft.sync.clone import clone, init
from graft.sync.push import push
from graft_sqlite_vfs.btree.layout import btree_layout
from graft_sqlite_vfs.connection import connect
from graft_sqlite_vfs.importing import import_database
from pagestore.stores.metered import MeteredStore
from pagestore.urls import open_store

MIB = 1024 * 1024


def build(path, size):
    """A table of random text rows, about ``size`` bytes; returns how many rows."""
    rng = random.Random(7)
    words = [f"{rng.getrandbits(40):010x}" for _ in range(4096)]
    rows = size // 220
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode = OFF")
    database.execute("PRAGMA synchronous = OFF")
    database.execute("CREATE TABLE people(id INTEGER PRIMARY KEY, name TEXT, text TEXT)")
    database.executemany(
        "INSERT INTO people VALUES (?, ?, ?)",
        ((n, words[n % 4096], " ".join(rng.choices(words, k=17))) for n in range(1, rows + 1)),
    )
    database.commit()
    database.close()
    return rows


def cold_query(tmp_path, url, size):
    rows = build(tmp_path / "big.db", size)
    size = (tmp_path / "big.db").stat().st_size
    with init(tmp_path / "writer", f"{url}#big") as writer:
        import_database(writer, tmp_path / "big.db")
        push(writer, layout=btree_layout)
    store = MeteredStore(open_store(url))
    with clone(tmp_path / "reader", f"{url}#big", store=store) as reader:
        connection = connect(reader.path)
        name = connection.execute("SELECT name FROM people WHERE id = ?", (rows // 3,)).get
        moved = store.snapshot()
        found = audit(reader)
        connection.close()
    store.close()
    rng = random.Random(7)
    assert name == [f"{rng.getrandbits(40):010x}" for _ in range(4096)][rows // 3 % 4096]
    assert moved.bytes_down < size / 100
    assert moved.requests <= 8  # name, head, commit, and the interior pages
    assert found.cached_pages < found.page_count / 100
    assert found.cached_pages + found.missing_pages == found.live_pages


def test_64_mib(tmp_path, s3_moto_url):
    cold_query(tmp_path, s3_moto_url, 64 * MIB)


@pytest.mark.long
def test_1_gib(tmp_path, seaweedfs_url):
    cold_query(tmp_path, seaweedfs_url, 1024 * MIB)


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory):
    """A volume of 32 MiB in a directory, laid out by its push; its address and how many rows it has."""
    directory = tmp_path_factory.mktemp("laid-out")
    rows = build(directory / "big.db", 32 * MIB)
    remote = str(directory / "remote")
    with init(directory / "writer", f"{remote}#big") as writer:
        import_database(writer, directory / "big.db")
        push(writer, layout=btree_layout)
    return remote, rows


def requests_of(remote, directory, statements):
    """Run statements on a cold replica that has read one row; return what that took."""
    store = MeteredStore(open_store(remote))
    with clone(directory / "reader", f"{remote}#big", store=store) as reader:
        connection = connect(reader.path)
        connection.execute("SELECT name FROM people WHERE id = 1").fetchall()
        before = store.snapshot()
        for statement in statements:
            connection.execute(statement).fetchall()
        moved = store.snapshot() - before
        held = reader.cache.use().frames
        connection.close()
    return moved, held


@pytest.mark.parametrize("order", ["ASC", "DESC"])
def test_a_scan_reads_ahead(laid_out, tmp_path, order):
    remote, _ = laid_out
    moved, held = requests_of(remote, tmp_path, [f"SELECT name FROM people ORDER BY id {order}"])
    assert held > 450
    assert moved.requests <= 24


def test_random_lookups_fetch_little_that_nobody_reads(laid_out, tmp_path):
    remote, rows = laid_out
    rng = random.Random(11)
    ids = [rng.randint(1, rows) for _ in range(60)]
    moved, held = requests_of(remote, tmp_path, [f"SELECT name FROM people WHERE id = {n}" for n in ids])
    assert moved.requests <= len(ids)
    assert held <= 1.1 * (len(ids) + 6)
