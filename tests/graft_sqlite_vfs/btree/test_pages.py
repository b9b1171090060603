"""What `graft_sqlite_vfs.btree.pages` reads out of pages, against what SQLite's own dbstat says of them."""

import os
from pathlib import Path

import apsw
import pytest

from graft_sqlite_vfs.btree.pages import children, is_interior, reading_order
from graft_sqlite_vfs.btree.schema import root_pages


@pytest.fixture(params=[512, 4096, 65536])
def database(tmp_path, request):
    """Tables and indexes deep enough to have interior pages, with overflow pages among them."""
    path = tmp_path / "plain.db"
    connection = apsw.Connection(str(path))
    connection.pragma("page_size", request.param)
    rows = 2000 + request.param // 2
    with connection:
        connection.execute("CREATE TABLE a(id INTEGER PRIMARY KEY, text TEXT)")
        connection.execute("CREATE TABLE b(name TEXT PRIMARY KEY, n INTEGER) WITHOUT ROWID")
        connection.execute("CREATE INDEX a_text ON a(text)")
        connection.executemany("INSERT INTO a VALUES (?, ?)", ((n, f"{n * 7919 % rows:09d}") for n in range(rows)))
        connection.executemany("INSERT INTO b VALUES (?, ?)", ((f"{n:030d}", n) for n in range(rows // 4)))
        connection.execute("INSERT INTO a VALUES (?, ?)", (rows + 1, os.urandom(3 * request.param).hex()))
    yield connection
    connection.close()


def reader(connection):
    size = connection.pragma("page_size")
    with Path(connection.db_filename("main")).open("rb") as file:
        data = file.read()
    return (lambda page: memoryview(data)[(page - 1) * size : page * size]), len(data) // size


def stat(connection):
    return connection.execute("SELECT name, path, pageno, pagetype FROM dbstat ORDER BY name, path").fetchall()


def test_children_are_those_that_sqlite_knows(database):
    read, count = reader(database)
    by_path = {(name, path): page for name, path, page, _ in stat(database)}
    interior = 0
    for name, path, page, kind in stat(database):
        if kind == "internal":
            interior += 1
            below = [
                by_path[name, other]
                for (tree, other) in by_path
                if tree == name and other.startswith(path) and other != path
                and "+" not in other[len(path) :] and other[len(path) :].count("/") == 1
            ]  # fmt: skip
            assert sorted(children(read(page), page, count)) == sorted(below)
        elif kind == "leaf":
            assert children(read(page), page, count) == ()
    assert interior


def test_interior_pages_come_first_then_leaves_in_key_order(database):
    read, count = reader(database)
    roots = [root for (root,) in database.execute("SELECT rootpage FROM sqlite_schema WHERE rootpage")]
    interior, order = reading_order(read, roots, count)
    kinds = {page: kind for _, _, page, kind in stat(database)}
    depths = {page: path.count("/") for _, path, page, _ in stat(database)}
    schema = [page for tree, _, page, _ in stat(database) if tree == "sqlite_schema"]
    assert interior[0] == 1
    assert set(interior[: len(schema)]) == set(schema)
    assert all(kinds[page] == "internal" for page in interior[len(schema) :])
    assert [depths[page] for page in interior[len(schema) :]] == sorted(
        depths[page] for page in interior[len(schema) :]
    )
    assert all(kinds[page] == "leaf" for page in order)
    assert len(set(interior + order)) == len(interior + order)
    assert set(interior + order) == {page for page, kind in kinds.items() if kind != "overflow"}
    for name in ("a", "b", "a_text"):
        leaves = [page for tree, _, page, kind in stat(database) if tree == name and kind == "leaf"]
        assert [page for page in order if page in set(leaves)] == leaves


def test_only_interior_pages_and_one_leaf_a_tree_are_read(database):
    read, count = reader(database)
    roots = [root for (root,) in database.execute("SELECT rootpage FROM sqlite_schema WHERE rootpage")]
    asked = set()

    def counted(page):
        asked.add(page)
        return read(page)

    reading_order(counted, roots, count)
    interior = {page for _, _, page, kind in stat(database) if kind == "internal"}
    assert len(asked - interior) <= len(roots) + 1


def test_any_bytes_are_survived():
    for seed in range(200):
        page = bytes([5 if seed % 2 else 2]) + os.urandom(511)
        for child in children(page, 7, 100):
            assert 1 < child <= 100
    assert not is_interior(bytes(512), 2)
    assert children(bytes(512), 2, 10) == ()


def test_root_pages_are_those_of_the_schema(database):
    read, count = reader(database)
    with database:
        for n in range(120):  # a schema of several levels at the smallest page size
            database.execute(f"CREATE TABLE more_{n}_{'x' * (n % 90)}(a, b UNIQUE, c)")
        database.execute("CREATE VIEW v AS SELECT * FROM a")
    read, count = reader(database)
    roots = {root for (root,) in database.execute("SELECT rootpage FROM sqlite_schema WHERE rootpage")}
    assert set(root_pages(read, count)) == roots
