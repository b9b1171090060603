"""The same random statements on plain SQLite and on volumes give the same tables, also to a new connection."""

import random

import apsw
import pytest

from graft.settings import Settings
from graft.sync.pull import pull
from graft.sync.push import push
from graft_sqlite_vfs import connect
from tests.graft_sqlite_vfs.conftest import integrity, rows

TABLES = ("a", "b", "c")


def contents(connection: apsw.Connection) -> list[tuple]:
    """Everything in every table, in an order that does not depend on pages."""
    found: list[tuple] = rows(connection, "SELECT name, sql FROM sqlite_schema ORDER BY name")
    for name in [name for name, sql in found if sql and sql.startswith("CREATE TABLE")]:
        found += [(name, *row) for row in rows(connection, f"SELECT * FROM {name} ORDER BY 1, 2, 3")]
    return found


class Script:
    """Random statements that keep to what makes sense: savepoints nest, VACUUM stands alone."""

    def __init__(self, seed: int) -> None:
        self.choose = random.Random(seed)
        self.savepoints: list[str] = []
        self.in_transaction = False

    def statement(self) -> str:
        kind = self.choose.choices(
            [
                "insert",
                "update",
                "delete",
                "ddl",
                "begin",
                "end",
                "savepoint",
                "rollback to",
                "release",
                "vacuum",
                "bulk",
            ],
            [20, 12, 8, 6, 8, 10, 5, 5, 3, 2, 5],
        )[0]
        return getattr(self, "_" + kind.replace(" ", "_"))()

    def _table(self) -> str:
        return self.choose.choice(TABLES)

    def _text(self) -> str:
        return f"'{'x' * self.choose.choice([1, 10, 100, 3000])}{self.choose.randrange(1000)}'"

    def _insert(self) -> str:
        n = self.choose.randrange
        return f"INSERT OR REPLACE INTO {self._table()} VALUES ({n(200)}, {n(50)}, {self._text()})"

    def _bulk(self) -> str:
        n, count = self.choose.randrange(1000), self.choose.choice([10, 300])
        return (
            f"WITH RECURSIVE n(i) AS (SELECT {n} UNION ALL SELECT i + 1 FROM n WHERE i < {n + count}) "
            f"INSERT OR IGNORE INTO {self._table()} SELECT i, i % 7, hex(zeroblob(i % 500)) FROM n"
        )

    def _update(self) -> str:
        n = self.choose.randrange
        return self.choose.choice(
            [
                f"UPDATE {self._table()} SET v = {self._text()} WHERE k = {n(50)}",
                f"UPDATE OR IGNORE {self._table()} SET id = id + {n(5)} WHERE id < {n(200)}",
                f"UPDATE {self._table()} SET v = v WHERE id = {n(200)}",
                f"UPDATE {self._table()} SET id = {n(200)}",  # fails in the middle, mostly
            ]
        )

    def _delete(self) -> str:
        n = self.choose.randrange
        return f"DELETE FROM {self._table()} WHERE " + self.choose.choice([f"k = {n(50)}", f"id % 3 = {n(3)}", "1"])

    def _ddl(self) -> str:
        table, n = self._table(), self.choose.randrange(3)
        return self.choose.choice(
            [
                f"CREATE INDEX IF NOT EXISTS i{n} ON {table}(k, v)",
                f"DROP INDEX IF EXISTS i{n}",
                f"DROP TABLE IF EXISTS {table}",
                f"CREATE TABLE IF NOT EXISTS {table}(id INTEGER PRIMARY KEY, k, v)",
                f"CREATE TABLE IF NOT EXISTS {table}(id INTEGER PRIMARY KEY, k, v)",
                f"PRAGMA user_version={n}",
            ]
        )

    def _begin(self) -> str:
        if self.in_transaction:
            return self._insert()
        self.in_transaction = True
        return self.choose.choice(["BEGIN", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])

    def _end(self) -> str:
        if not self.in_transaction:
            return self._update()
        self.in_transaction, self.savepoints = False, []
        return self.choose.choice(["COMMIT", "COMMIT", "ROLLBACK"])

    def _savepoint(self) -> str:
        if not self.in_transaction:
            return self._delete()
        self.savepoints.append(f"s{len(self.savepoints)}")
        return f"SAVEPOINT {self.savepoints[-1]}"

    def _rollback_to(self) -> str:
        if not self.savepoints:
            return self._insert()
        position = self.choose.randrange(len(self.savepoints))
        del self.savepoints[position + 1 :]
        return f"ROLLBACK TO {self.savepoints[position]}"

    def _release(self) -> str:
        if not self.savepoints:
            return self._insert()
        return f"RELEASE {self.savepoints.pop()}"

    def _vacuum(self) -> str:
        return self._delete() if self.in_transaction else "VACUUM"


def outcome(connection: apsw.Connection, sql: str) -> tuple:
    try:
        return ("rows", rows(connection, sql))
    except apsw.Error as error:
        return (type(error).__name__, str(error))


@pytest.mark.parametrize("seed", range(12))
def test_random_statements(volumes, seed):
    script = Script(seed)
    page_size = script.choose.choice([512, 1024, 4096, 8192])
    settings = Settings(spill_bytes=script.choose.choice([0, 20_000, 10_000_000]), journal_file_bytes=65536)
    plain = apsw.Connection(":memory:")
    volume = volumes.connect(page_size=page_size, settings=settings)
    other = volumes.connect()  # its cache is warm all the time
    cache, auto_vacuum = script.choose.choice([2, 10, 2000]), script.choose.choice(["NONE", "FULL"])
    for connection in (plain, volume):
        connection.execute(f"PRAGMA page_size={page_size}; PRAGMA cache_size={cache}; PRAGMA auto_vacuum={auto_vacuum}")
        for table in TABLES:
            connection.execute(f"CREATE TABLE {table}(id INTEGER PRIMARY KEY, k, v)")
    for step in range(150):
        sql = script.statement()
        assert outcome(volume, sql) == outcome(plain, sql), (seed, step, sql)
        assert volume.in_transaction == plain.in_transaction
        if not volume.in_transaction:
            script.in_transaction, script.savepoints = False, []
            if step % 5 == 0:
                assert contents(other) == contents(plain), (seed, step, sql)
        if step % 40 == 39:
            push(volumes.replica())
    if plain.in_transaction:
        assert outcome(volume, "COMMIT") == outcome(plain, "COMMIT")
    assert contents(volume) == contents(other) == contents(plain)
    plain_contents = contents(plain)
    plain.close()
    volume.close()
    other.close()
    reopened = connect(volumes.path())
    integrity(reopened)
    assert contents(reopened) == plain_contents
    reopened.execute("PRAGMA graft_push")
    reopened.close()
    cloned = volumes.connect("clone", remote="#db")
    assert contents(cloned) == plain_contents


@pytest.mark.parametrize("seed", range(4))
def test_two_connections_take_turns(volumes, seed):
    """Each statement runs on either of two connections; the other must see it, whatever was in its cache."""
    choose = random.Random(seed)
    plain = apsw.Connection(":memory:")
    pair = [volumes.connect(settings=Settings(spill_bytes=20_000)), volumes.connect()]
    pair[0].execute(f"PRAGMA cache_size={choose.choice([3, 2000])}")
    script = Script(seed + 1000)
    for connection in (plain, pair[0]):
        for table in TABLES:
            connection.execute(f"CREATE TABLE {table}(id INTEGER PRIMARY KEY, k, v)")
    here = pair[0]
    for step in range(120):
        if not here.in_transaction:
            here = choose.choice(pair)
            script.in_transaction, script.savepoints = False, []
        sql = script.statement()
        assert outcome(here, sql) == outcome(plain, sql), (seed, step, sql)
        if not here.in_transaction:
            assert contents(pair[1 - pair.index(here)]) == contents(plain), (seed, step, sql)
    if here.in_transaction:
        outcome(here, "ROLLBACK")
        outcome(plain, "ROLLBACK")
    assert contents(pair[0]) == contents(pair[1]) == contents(plain)
    plain.close()


@pytest.mark.parametrize("seed", range(3))
def test_two_replicas_take_turns(volumes, seed):
    """Each replica writes, pushes, and the other pulls into a warm connection."""
    choose = random.Random(seed)
    script = Script(seed + 2000)
    plain = apsw.Connection(":memory:")
    first = volumes.connect()
    for connection in (plain, first):
        for table in TABLES:
            connection.execute(f"CREATE TABLE {table}(id INTEGER PRIMARY KEY, k, v)")
    push(volumes.replica())
    pair = {"db": first, "clone": volumes.connect("clone", remote="#db")}
    for _ in range(15):
        name = choose.choice(list(pair))
        for _ in range(choose.randrange(1, 8)):
            sql = script.statement()
            assert outcome(pair[name], sql) == outcome(plain, sql)
            if not plain.in_transaction:
                script.in_transaction, script.savepoints = False, []
        if plain.in_transaction:
            outcome(pair[name], "ROLLBACK")
            outcome(plain, "ROLLBACK")
            script.in_transaction, script.savepoints = False, []
        push(volumes.replica(name))
        for each, connection in pair.items():
            pull(volumes.replica(each))
            assert contents(connection) == contents(plain)
            integrity(connection)
    plain.close()
