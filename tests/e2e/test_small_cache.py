"""A replica whose cache holds a small part of its volume: every answer is right, and the budget holds all the while."""

import random
import sqlite3

import pytest

from graft.settings import Settings
from graft.sync.clone import clone, init
from graft.sync.push import push
from graft_sqlite_vfs.btree.layout import btree_layout
from graft_sqlite_vfs.connection import connect
from graft_sqlite_vfs.importing import import_database
from tests.e2e.test_cold_open import build
from tests.graft.support import disk_bytes

MIB = 1024 * 1024
SUM = "SELECT count(*), sum(length(name)), sum(length(text)), max(text) FROM people"


def cache_bytes(path):
    return disk_bytes((path / "cache").glob("*.frames"))


def work_with_little(tmp_path, *, size, cache_bytes_max):
    """Look rows up, scan, write and push, in a replica that can hold next to nothing of what it reads."""
    rows = build(tmp_path / "big.db", size)
    remote = f"file://{tmp_path / 'remote'}#big"
    with init(tmp_path / "writer", remote) as writer:
        import_database(writer, tmp_path / "big.db")
        push(writer, layout=btree_layout)
    plain = sqlite3.connect(tmp_path / "big.db")
    settings = Settings(cache_bytes_max=cache_bytes_max, cache_file_bytes=cache_bytes_max // 4)
    with clone(tmp_path / "reader", remote, settings=settings) as reader:
        connection = connect(reader.path, settings=settings)
        chance = random.Random(3)
        for n in range(300):
            row = "SELECT * FROM people WHERE id = ?", (chance.randint(1, rows),)
            assert connection.execute(*row).fetchall() == plain.execute(*row).fetchall()
            if n % 3 == 0:
                change = "UPDATE people SET name = ? WHERE id = ?", (f"new {n}", chance.randint(1, rows))
                connection.execute(*change)
                plain.execute(*change)
            if n % 100 == 50:
                push(reader)
            assert cache_bytes(reader.path) <= cache_bytes_max
        plain.commit()
        assert connection.execute(SUM).fetchall() == plain.execute(SUM).fetchall()
        assert cache_bytes(reader.path) <= cache_bytes_max
        push(reader)
        connection.close()
    assert cache_bytes(tmp_path / "reader") <= cache_bytes_max
    with clone(tmp_path / "again", remote) as again:
        connection = connect(again.path)
        assert connection.execute(SUM).fetchall() == plain.execute(SUM).fetchall()
        connection.close()
    plain.close()


def test_a_cache_of_a_twentieth(tmp_path):
    work_with_little(tmp_path, size=40 * MIB, cache_bytes_max=2 * MIB)


@pytest.mark.long
def test_a_gigabyte_with_a_cache_of_10_mib(tmp_path):
    work_with_little(tmp_path, size=1024 * MIB, cache_bytes_max=10 * MIB)
