"""Which trees changed, against what the tables and indexes really hold."""

import random

import pytest

from graft.replica.opening import open_replica
from graft_sqlite_vfs.btree.pointer_map import PointerMap, changed_roots
from graft_sqlite_vfs.connection import connect
from tests.graft.support import fast_directory


@pytest.fixture(params=[512, 4096])
def database(request):
    with fast_directory() as directory:
        connection = connect(directory / "volume", remote=f"{directory}/store#volume", page_size=request.param)
        connection.pragma("auto_vacuum", 2)
        connection.execute("CREATE TABLE first(x)")
        connection.execute("VACUUM")  # the page size of small pages is fixed before anybody could ask for a map
        yield connection
        connection.close()


def snapshot(connection):

    name = connection.db_filename("main")
    with open_replica(name) as replica:
        return replica.snapshot()


def roots(connection):
    return dict(connection.execute("SELECT rootpage, name FROM sqlite_schema WHERE rootpage > 0").fetchall())


def changed(connection, before):
    found = changed_roots(before, snapshot(connection))
    return None if found is None else {roots(connection)[root] for root in found}


def test_where_the_map_is():
    small = PointerMap(512, 0)
    assert [small.map_page(page) for page in (2, 3, 104, 105, 106)] == [2, 2, 2, 105, 105]
    assert [small.covers(page) for page in (1, 2, 3, 104, 105, 106)] == [False, False, True, True, False, True]
    assert small.entry(bytes(5) + bytes([5, 0, 0, 1, 2]), 4) == (5, 258)
    # With pages of 1 KiB a page of the map would come to lie on the lock page, and gives way.
    near = PointerMap(1024, 0)
    assert near.lock_page == 1048577
    assert (near.map_page(near.lock_page), near.map_page(near.lock_page + 5)) == (1048578, 1048578)
    assert [near.covers(near.lock_page + place) for place in (-1, 0, 1, 2)] == [True, False, False, True]


def test_deep_trees_overflow_pages_and_freed_pages_lead_to_their_roots(database):
    for table in "abc":
        database.execute(f"CREATE TABLE {table}(id INTEGER PRIMARY KEY, x); CREATE INDEX {table}_x ON {table}(x)")
        database.execute("BEGIN")
        database.executemany(f"INSERT INTO {table}(x) VALUES (?)", ((f"{n * 7919 % 3000:06d}",) for n in range(3000)))
        database.execute("COMMIT")
    before = snapshot(database)
    database.execute("UPDATE a SET x = x || '!' WHERE id = 1500")
    assert changed(database, before) == {"a", "a_x"}
    before = snapshot(database)
    database.execute("INSERT INTO b VALUES (?, zeroblob(20000))", (99999,))
    assert changed(database, before) >= {"b", "b_x"}
    assert "c" not in changed(database, before)
    before = snapshot(database)
    database.execute("UPDATE b SET x = 'short' WHERE id = 99999")
    assert changed(database, before) == {"b", "b_x"}
    before = snapshot(database)
    database.execute("DELETE FROM c")
    assert changed(database, before) == {"c", "c_x"}
    before = snapshot(database)
    database.execute("PRAGMA incremental_vacuum")
    assert changed(database, before) is not None
    before = snapshot(database)
    database.execute("CREATE TABLE d(x)")
    assert changed(database, before) is None


def test_nothing_is_ever_missed(database):
    """Random writes, with each table's content compared before and after."""
    chance = random.Random(7)
    tables = ["a", "b", "c"]
    database.execute("CREATE TABLE a(x); CREATE TABLE b(x PRIMARY KEY) WITHOUT ROWID; CREATE TABLE c(x UNIQUE, y)")

    def contents():
        return {table: database.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in tables}

    known, before, precise = contents(), snapshot(database), 0
    for _ in range(60):
        table = chance.choice(tables)
        with database:
            for _ in range(chance.choice([1, 1, 30])):
                text = chance.choice(["", "x" * chance.randrange(3000)]) + str(chance.random())
                column = ", NULL" if table == "c" else ""
                database.execute(f"INSERT INTO {table} VALUES (?{column})", (text,))
            if chance.random() < 0.3:
                database.execute(f"DELETE FROM {chance.choice(tables)} WHERE x > ?", (str(chance.random()),))
        now, after = contents(), snapshot(database)
        found = changed_roots(before, after)
        named = {name for root, name in roots(database).items() if root in found}
        for name in tables:
            if now[name] != known[name]:
                assert name in named, (name, named)
        precise += len(named & set(tables)) < 3
        known, before = now, after
    assert precise > 20


def test_without_a_pointer_map_everything_may_have_changed():
    with fast_directory() as directory:
        connection = connect(directory / "volume", remote=f"{directory}/store#volume")
        connection.execute("CREATE TABLE t(x)")
        before = snapshot(connection)
        connection.execute("INSERT INTO t VALUES (1)")
        assert changed_roots(before, snapshot(connection)) is None
        connection.close()
