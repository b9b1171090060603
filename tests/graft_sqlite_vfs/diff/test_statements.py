"""Statements and changesets turn the older version into the newer one."""

import apsw
import pytest

from graft.errors import BadRequest
from graft.replica.opening import open_replica
from graft_sqlite_vfs.diff import compare
from graft_sqlite_vfs.diff.changeset import changeset
from graft_sqlite_vfs.diff.names import quoted
from graft_sqlite_vfs.diff.statements import statements
from tests.graft_sqlite_vfs.diff.workload import Workload, model

SEEDS = [*range(12), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(12, 300))]


def plain(connection):
    """A copy of a version as an ordinary database."""
    copy = apsw.Connection(":memory:")
    with copy.backup("main", connection, "main") as backup:
        backup.step()
    return copy


def schema(connection):
    return sorted(
        connection.execute("SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'").fetchall(),
        key=str,
    )


def rows(connection, names):
    return {
        name: sorted(map(repr, connection.execute(f"SELECT * FROM {quoted(name)}")))
        for name in names
    }  # fmt: skip


def tables(connection):
    return [
        row[0]
        for row in connection.execute(
            "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'virtual') "
            "AND name NOT LIKE 'sqlite_%'"
        )
    ]


def applied(difference, names=None):
    """The older version after the statements."""
    copy = plain(difference.before.connection)
    copy.execute(";\n".join(statements(difference, names)))
    return copy


def assert_turned(difference):
    copy, after = applied(difference), plain(difference.after.connection)
    assert tables(copy) == tables(after) or sorted(tables(copy)) == sorted(tables(after))
    assert rows(copy, tables(after)) == rows(after, tables(after))
    assert [row[:2] for row in schema(copy)] == [row[:2] for row in schema(after)]
    assert copy.pragma("integrity_check") == "ok"
    return copy


@pytest.mark.parametrize("seed", SEEDS)
def test_what_makes_one_version_of_the_other(volumes, seed):
    work = Workload(seed)
    connection = volumes.connect("a", page_size=work.page_size)
    work.create(connection)
    with open_replica(volumes.directory / "a") as replica:
        versions = []
        for _ in range(6):
            for _ in range(work.random.choice([1, 2, 30, 150])):
                work.change(connection)
            versions.append(replica.snapshot())
        for _ in range(5):
            first, second = work.random.choice(versions), work.random.choice(versions)
            with compare(replica, first, second) as difference:
                assert_turned(difference)
                recorded = [
                    table for table in work.tables if table.key and not table.virtual
                ]  # fmt: skip
                copy, content = plain(difference.before.connection), b"".join(changeset(difference))
                patched = plain(difference.before.connection)
                apsw.Changeset.apply(content, copy, conflict=refuse)
                apsw.Changeset.apply(b"".join(changeset(difference, as_patchset=True)), patched, conflict=refuse)
                expected = without_null_keys(model(difference.after.connection, recorded))
                assert without_null_keys(model(copy, recorded)) == expected
                assert without_null_keys(model(patched, recorded)) == expected
                if not any(respells_a_key(difference, change) for change in difference.rows()):
                    apsw.Changeset.apply(apsw.Changeset.invert(content), copy, conflict=refuse)
                    assert model(copy, recorded) == model(difference.before.connection, recorded)


def refuse(reason, change):
    raise AssertionError(f"conflict {reason}: {change}")


def respells_a_key(difference, change):
    """Whether a key became one that counts as equal. SQLite inverts its delete and insert, but not their order."""
    table = difference.tables[change.table][1]
    return change.kind == "update" and bool(table) and not set(table.key).isdisjoint(change.changed_columns)


def without_null_keys(rows):
    return {key: repr(values) for key, values in rows.items() if key[1] != "rowid"}


def two_versions(volumes, before, after):
    connection = volumes.connect("a")
    connection.execute(before)
    with open_replica(volumes.directory / "a") as replica:
        first = replica.snapshot()
        connection.execute(after)
        return replica, first, replica.snapshot()


SCHEMAS = {
    "a column more": (
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a); INSERT INTO t VALUES (1, 'x'), (2, 'y')",
        "ALTER TABLE t ADD COLUMN b DEFAULT 7; UPDATE t SET b = 8 WHERE id = 2",
    ),
    "a column with another name": (
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a, b); INSERT INTO t VALUES (1, 'x', 'z'), (2, 'y', 'w')",
        "ALTER TABLE t RENAME COLUMN a TO c",
    ),
    "a column less": (
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a, b); INSERT INTO t VALUES (1, 'x', 'z'), (2, 'y', 'w')",
        "ALTER TABLE t DROP COLUMN a; UPDATE t SET b = 1 WHERE id = 1",
    ),
    "another key": (
        "CREATE TABLE t(a, b, PRIMARY KEY (a)); INSERT INTO t VALUES (1, 2), (3, 4)",
        "DROP TABLE t; CREATE TABLE t(a, b, PRIMARY KEY (b)); INSERT INTO t VALUES (1, 2), (5, 6)",
    ),
    "a table with another name": (
        "CREATE TABLE t(a); INSERT INTO t VALUES (1), (2); CREATE INDEX i ON t(a)",
        "ALTER TABLE t RENAME TO u",
    ),
    "names and values that need quotes": (
        """CREATE TABLE "a ""b"" 'c'"("select" TEXT PRIMARY KEY, "x y");
        INSERT INTO "a ""b"" 'c'" VALUES ('it''s', 1)""",
        """UPDATE "a ""b"" 'c'" SET "x y" = 'a''b' || char(0) || 'c';
        INSERT INTO "a ""b"" 'c'" VALUES ('', x'00ff')""",
    ),
    "values that change places under a unique index": (
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE); INSERT INTO t VALUES (1, 'x'), (2, 'y')",
        "UPDATE t SET a = 'q' WHERE id = 1; UPDATE t SET a = 'x' WHERE id = 2; UPDATE t SET a = 'y' WHERE id = 1",
    ),
    "a trigger that would fire again": (
        (
            "CREATE TABLE t(id INTEGER PRIMARY KEY, a); CREATE TABLE log(what);"
            "CREATE TRIGGER g AFTER INSERT ON t BEGIN INSERT INTO log VALUES (new.a); END"
        ),
        "INSERT INTO t VALUES (1, 'x')",
    ),
    "foreign keys that cascade": (
        (
            "CREATE TABLE p(id INTEGER PRIMARY KEY);"
            "CREATE TABLE c(id INTEGER PRIMARY KEY, p REFERENCES p ON DELETE CASCADE);"
            "INSERT INTO p VALUES (1), (2); INSERT INTO c VALUES (1, 1), (2, 2)"
        ),
        "DELETE FROM c WHERE id = 1; ALTER TABLE p ADD COLUMN x; UPDATE p SET x = 1",
    ),
    "generated columns": (
        """CREATE TABLE t(id INTEGER PRIMARY KEY, a, b AS (a + 1), c AS (a + 2) STORED);
        INSERT INTO t(id, a) VALUES (1, 1)""",
        "UPDATE t SET a = 5; INSERT INTO t(id, a) VALUES (2, 9)",
    ),
    "AUTOINCREMENT": (
        "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, a); INSERT INTO t(a) VALUES (1), (2)",
        "INSERT INTO t(a) VALUES (3), (4); DELETE FROM t WHERE id > 2",
    ),
    "the first AUTOINCREMENT": (
        "CREATE TABLE t(a)",
        "CREATE TABLE u(id INTEGER PRIMARY KEY AUTOINCREMENT, a); INSERT INTO u(id, a) VALUES (50, 4); DELETE FROM u",
    ),
    "views, indexes and versions of an application": (
        "CREATE TABLE t(a); CREATE VIEW v AS SELECT a FROM t; CREATE INDEX i ON t(a); PRAGMA user_version = 3",
        (
            "DROP VIEW v; CREATE VIEW v AS SELECT a + 1 FROM t; DROP INDEX i; CREATE UNIQUE INDEX j ON t(a);"
            "PRAGMA user_version = 4"
        ),
    ),
    "rows that are equal": (
        "CREATE TABLE t(a); INSERT INTO t VALUES (1), (1), (2)",
        "DELETE FROM t WHERE rowid = 1; INSERT INTO t VALUES (1.0)",
    ),
    "two keys that are NULL": (
        "CREATE TABLE t(k TEXT PRIMARY KEY, a); INSERT INTO t VALUES (NULL, 1), (NULL, 2), ('x', 3)",
        "DELETE FROM t WHERE a = 1; UPDATE t SET a = 4 WHERE a = 2",
    ),
    "full text": (
        "CREATE VIRTUAL TABLE s USING fts5(body); INSERT INTO s VALUES ('one two'), ('three')",
        "UPDATE s SET body = 'four' WHERE rowid = 1; CREATE VIRTUAL TABLE r USING fts5(x); INSERT INTO r VALUES ('y')",
    ),
}


@pytest.mark.parametrize("way", SCHEMAS)
@pytest.mark.parametrize("backwards", [False, True])
def test_a_schema_that_changes(volumes, way, backwards):
    replica, first, second = two_versions(volumes, *SCHEMAS[way])
    sides = (second, first) if backwards else (first, second)
    with open_replica(replica.path) as replica, compare(replica, *sides) as difference:
        copy = assert_turned(difference)
        after = plain(difference.after.connection)
        assert copy.pragma("user_version") == after.pragma("user_version")
        if ("sqlite_sequence",) in after.execute("SELECT name FROM sqlite_schema").fetchall():
            counters = "SELECT name, seq FROM sqlite_sequence ORDER BY name"
            assert copy.execute(counters).fetchall() == after.execute(counters).fetchall()


def test_nothing_to_do_is_no_statement(volumes):
    replica, first, _ = two_versions(volumes, "CREATE TABLE t(a)", "INSERT INTO t VALUES (1)")
    with open_replica(replica.path) as replica, compare(replica, first, first) as difference:
        assert list(statements(difference)) == []
        assert b"".join(changeset(difference)) == b""


def test_one_table_alone(volumes):
    replica, first, second = two_versions(
        volumes,
        "CREATE TABLE t(id INTEGER PRIMARY KEY); CREATE TABLE u(id INTEGER PRIMARY KEY)",
        "INSERT INTO t VALUES (1); INSERT INTO u VALUES (2); CREATE INDEX i ON u(id)",
    )
    with open_replica(replica.path) as replica, compare(replica, first, second) as difference:
        copy = applied(difference, ["T"])
        assert copy.execute("SELECT id FROM t").fetchall() == [(1,)]
        assert copy.execute("SELECT id FROM u").fetchall() == []
        assert [change.name for change in apsw.Changeset.iter(b"".join(changeset(difference, ["u"])))] == ["u"]
        with pytest.raises(BadRequest, match="no table nope"):
            list(statements(difference, ["nope"]))


def test_a_changeset_says_what_sqlite_would_have_recorded(volumes):
    start = """CREATE TABLE t(id INTEGER PRIMARY KEY, a, b TEXT, c REAL);
    INSERT INTO t VALUES (1, 2, 'x', 1.5), (2, 0, 'y', 0)"""
    change = """UPDATE t SET a = x'0102', c = NULL WHERE id = 1; DELETE FROM t WHERE id = 2;
    INSERT INTO t VALUES (3, -1, 'é', 2)"""
    replica, first, second = two_versions(volumes, start, change)
    recorder = apsw.Connection(":memory:")
    recorder.execute(start)
    session = apsw.Session(recorder, "main")
    session.attach()
    recorder.execute(change)

    def said(content):
        return sorted((item.name, item.op, repr(item.old), repr(item.new)) for item in apsw.Changeset.iter(content))

    with open_replica(replica.path) as replica, compare(replica, first, second) as difference:
        assert said(b"".join(changeset(difference))) == said(session.changeset())
        assert said(b"".join(changeset(difference, as_patchset=True))) == said(session.patchset())


def test_a_changeset_cannot_say_that_columns_changed(volumes):
    replica, first, second = two_versions(volumes, *SCHEMAS["a column more"])
    with (
        open_replica(replica.path) as replica,
        compare(replica, first, second) as difference,
        pytest.raises(BadRequest, match="table t: its columns differ"),
    ):
        b"".join(changeset(difference))
