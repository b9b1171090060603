"""The row difference of any two versions is what reading both of them whole gives."""

import pytest

import graft
from graft.operations.compact import compact
from graft.replica.opening import open_replica
from graft.sync.push import push
from graft_sqlite_vfs.diff import compare
from tests.graft_sqlite_vfs.diff.workload import Workload, model

SEEDS = [
    *range(10),
    *(pytest.param(seed, marks=pytest.mark.long) for seed in range(10, 400)),
]


def _expected(before, after):
    return sorted(
        (key[0], repr(before.get(key)), repr(after.get(key)))
        for key in {*before, *after}
        if repr(before.get(key)) != repr(after.get(key))
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_any_two_versions_of_any_schema(volumes, seed):
    work = Workload(seed)
    connection = volumes.connect("a", page_size=work.page_size)
    work.create(connection)
    with open_replica(volumes.directory / "a") as replica:
        versions = []
        for _ in range(8):
            for _ in range(work.random.choice([1, 2, 30, 200])):
                work.change(connection)
            if work.random.random() < 0.6:
                push(replica)
                if work.random.random() < 0.3:
                    compact(replica)
            versions.append(replica.snapshot())
        for _ in range(8):
            first, second = work.random.choice(versions), work.random.choice(versions)
            with compare(replica, first, second) as difference:
                expected = _expected(
                    model(difference.before.connection, work.tables), model(difference.after.connection, work.tables)
                )
                found = [row for row in difference.rows() if row.table != "extra"]
            assert sorted((row.table, repr(row.before), repr(row.after)) for row in found) == expected
            kinds = {(True, False): "insert", (False, True): "delete", (False, False): "update"}
            assert all(row.kind == kinds[row.before is None, row.after is None] for row in found)


def _changed(replica, first, second, tables=None):
    with compare(replica, first, second) as difference:
        return [(row.table, row.kind, row.key, row.changed_columns) for row in difference.rows(tables)]


@pytest.fixture
def users(volumes):
    connection = volumes.connect("a")
    connection.execute("CREATE TABLE users(id INTEGER PRIMARY KEY, name, score)")
    connection.executemany("INSERT INTO users VALUES (?, ?, 0)", [(number, f"user {number}") for number in range(5000)])
    return connection


def test_what_a_row_change_says(volumes, users):
    with open_replica(volumes.directory / "a") as replica:
        first = replica.snapshot()
        users.execute("UPDATE users SET name = 'Ada' WHERE id = 17")
        users.execute("DELETE FROM users WHERE id = 18")
        users.execute("INSERT INTO users VALUES (9000, 'new', 1)")
        second = replica.snapshot()
        assert _changed(replica, first, second) == [
            ("users", "update", (17,), ("name",)),
            ("users", "delete", (18,), ("id", "name", "score")),
            ("users", "insert", (9000,), ("id", "name", "score")),
        ]
        with compare(replica, first, second) as difference:
            change = next(difference.rows())
            assert change.before == {"id": 17, "name": "user 17", "score": 0}
            assert change.after == {"id": 17, "name": "Ada", "score": 0}
        assert _changed(replica, second, first)[1] == ("users", "insert", (18,), ("id", "name", "score"))
        assert _changed(replica, first, first) == []


def test_one_changed_row_reads_a_few_pages_of_a_large_table(volumes):
    connection = volumes.connect("a")
    connection.execute("CREATE TABLE big(id INTEGER PRIMARY KEY, filling)")
    connection.execute("""
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
        INSERT INTO big SELECT i, randomblob(300) FROM n
    """)
    with open_replica(volumes.directory / "a") as replica:
        first = replica.snapshot()
        connection.execute("UPDATE big SET filling = 'x' WHERE id = 31234")
        second = replica.snapshot()
        with compare(replica, first, second) as difference:
            read = set()
            for version in (difference.before, difference.after):
                original = version.page
                version.page = lambda index, original=original: read.add(index) or original(index)  # type: ignore[method-assign]
            assert [row.key for row in difference.rows()] == [(31234,)]
    assert len(read) <= 6, "the header, the interior pages and the changed leaf"


def test_a_schema_that_changed(volumes, users):
    with open_replica(volumes.directory / "a") as replica:
        first = replica.snapshot()
        users.execute("ALTER TABLE users ADD COLUMN age DEFAULT 30")
        users.execute("CREATE INDEX by_name ON users(name)")
        users.execute("CREATE TABLE other(x)")
        users.execute("INSERT INTO other VALUES (1)")
        users.execute("UPDATE users SET age = 31 WHERE id = 7")
        second = replica.snapshot()
        with compare(replica, first, second) as difference:
            assert [(change.type, change.name) for change in difference.schema] == [
                ("index", "by_name"), ("table", "other"), ("table", "users"),
            ]  # fmt: skip
            assert difference.schema[0].before is None
            rows = list(difference.rows())
        assert [(row.table, row.kind, row.key) for row in rows] == [
            ("other", "insert", (1,)), ("users", "update", (7,)),
        ]  # fmt: skip
        assert rows[1].before == {"id": 7, "name": "user 7", "score": 0}
        assert rows[1].after == {"id": 7, "name": "user 7", "score": 0, "age": 31}
        assert rows[1].changed_columns == ("age",)


def test_unknown_tables_are_named(volumes, users):
    with open_replica(volumes.directory / "a") as replica, compare(replica, *[replica.snapshot()] * 2) as difference:
        with pytest.raises(graft.BadRequest, match=r"no table nobody.*there are users"):
            list(difference.rows(["nobody"]))
        assert list(difference.rows(["USERS"])) == []


def test_what_is_no_database_is_said(tmp_path):
    source = tmp_path / "file"
    source.write_bytes(b"no database" * 1000)
    with graft.init(tmp_path / "a", f"{tmp_path}/store#raw") as replica:
        graft.import_file(replica, source)
        snapshot = replica.snapshot()
        with pytest.raises(graft.Corrupt, match="is not an SQLite database"), compare(replica, snapshot, snapshot):
            pass
