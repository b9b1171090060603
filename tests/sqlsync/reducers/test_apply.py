"""Applying a batch: each mutation whole or not at all, neighbours unharmed, the same at every replay."""

import datetime as dt

import apsw
import pytest

from graft.errors import RemoteUnavailable
from sqlsync import tables
from sqlsync.envelope import Mutation, Named
from sqlsync.errors import MigrationFailed, MutationRejected, ReducerFailed, ReducerTooOld
from sqlsync.ids import TimelineId
from sqlsync.reducers.apply import Applied, Rejected, apply_batch
from sqlsync.reducers.sandbox import SAVEPOINT, Limits, Sandbox

ANN, BOB = TimelineId(b"a" * 16), TimelineId(b"b" * 16)
NOON_US = 1_700_000_000_123_456


class Logic:
    """A reducer that runs the SQL that a mutation brings, or the function that it is made with."""

    digest = None

    def __init__(self, run=None, version=1):
        self.run, self.version = run, version

    def migrate(self, context, version):
        if version == 1:
            context.execute(
                "CREATE TABLE t (id INTEGER PRIMARY KEY, x UNIQUE, at TEXT DEFAULT CURRENT_TIMESTAMP);"
                "CREATE TABLE child (t INTEGER REFERENCES t DEFERRABLE INITIALLY DEFERRED);"
                "CREATE TABLE strict_child (t INTEGER REFERENCES t)"
            )
        else:
            context.execute(f"ALTER TABLE t ADD COLUMN v{version} DEFAULT '{context.now:%H:%M}'")

    def apply(self, context):
        if self.run is not None:
            return self.run(context)
        return context.execute(context.mutation.body.arguments["sql"])


@pytest.fixture
def sandbox():
    connection = apsw.Connection(":memory:")
    yield Sandbox(connection)
    connection.close()


def call(sql="", lsn=0, timeline=ANN, **said):
    return Mutation(timeline, lsn, Named("run", {"sql": sql}), said.get("actor", ""), NOON_US, said.get("seed", 7))


def run(sandbox, mutations, reducer=None, **options):
    sandbox.begin()
    try:
        outcomes = apply_batch(sandbox, reducer or Logic(), mutations, **options)
        sandbox.connection.execute("COMMIT")
    except BaseException:
        if sandbox.connection.in_transaction:
            sandbox.connection.execute("ROLLBACK")
        raise
    return outcomes


def reason(sandbox, sql, **options):
    """Why ``sql`` is rejected, between two neighbours that are not."""
    batch = [call("INSERT INTO t (id) VALUES (100)"), call(sql, 1), call("INSERT INTO t (id) VALUES (101)", 2)]
    first, outcome, last = run(sandbox, batch, used_us=0, **options)
    assert (first, last) == (Applied(), Applied())
    assert rows(sandbox, "SELECT count(*) FROM t WHERE id IN (100, 101)") == [(2,)]
    assert not sandbox.connection.in_transaction
    run(sandbox, [call("DELETE FROM t WHERE id IN (100, 101)", 3)], **options)
    assert isinstance(outcome, Rejected)
    return outcome.reason


def rows(sandbox, sql):
    return sandbox.connection.execute(sql).fetchall()


def test_positions_and_rejections_are_in_the_volume(sandbox):
    batch = [call("INSERT INTO t VALUES (1, 1, 1)"), call("nonsense", 1), call("SELECT 1", 0, BOB), call("SELECT 2", 2)]
    outcomes = run(sandbox, batch, used_us=5)
    assert outcomes == [
        Applied(),
        Rejected('SQLError: near "nonsense": syntax error', failed=True),
        Applied(),
        Applied(),
    ]
    assert tables.positions(sandbox.connection) == {ANN: 2, BOB: 0}
    assert tables.applied(sandbox.connection, ANN) == 2
    (row,) = tables.rejections(sandbox.connection, ANN)
    assert (row.lsn, row.reason) == (1, outcomes[1].reason)
    tables.forget_rejections(sandbox.connection, ANN, 0)
    assert set(tables.rejected(sandbox.connection)) == {ANN}
    tables.forget_rejections(sandbox.connection, ANN, 1)
    assert tables.rejections(sandbox.connection, ANN) == []


def test_the_table_of_positions_is_that_of_sqlsync(sandbox):
    run(sandbox, [call("SELECT 1")], used_us=0)
    (sql,) = rows(sandbox, "SELECT sql FROM sqlite_schema WHERE name = '__sqlsync_timelines'")
    assert sql == ("CREATE TABLE __sqlsync_timelines (id BLOB PRIMARY KEY, lsn INTEGER) STRICT",)


def test_an_empty_volume_knows_nobody(sandbox):
    assert tables.applied(sandbox.connection, ANN) is None
    assert tables.positions(sandbox.connection) == {}
    assert tables.rejections(sandbox.connection, ANN) == []
    assert tables.version(sandbox.connection) == 0


def test_without_recording_nothing_of_ours_but_the_version_is_written(sandbox):
    run(sandbox, [call("SELECT 1"), call("nonsense", 1)])
    assert tables.positions(sandbox.connection) == {}
    assert tables.rejections(sandbox.connection, ANN) == []


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("COMMIT", "may not begin or end transactions"),
        ("BEGIN", "may not begin or end transactions"),
        ("END", "may not begin or end transactions"),
        ("ROLLBACK", "may not begin or end transactions"),
        (f"SAVEPOINT {SAVEPOINT}", "may not use names"),
        (f"RELEASE {SAVEPOINT.upper()}", "may not use names"),
        (f"ROLLBACK TO {SAVEPOINT}", "may not use names"),
        ("ATTACH ':memory:' AS other", "may not attach"),
        ("DETACH main", "may not attach"),
        ("PRAGMA foreign_keys = 0", "may not use PRAGMA foreign_keys = 0"),
        ("PRAGMA user_version = 3", "may not use PRAGMA user_version"),
        ("PRAGMA writable_schema = 1", "may not use PRAGMA writable_schema"),
        ("PRAGMA graft_push", "may not use PRAGMA graft_push"),
        ("PRAGMA graft_pull = 'discard'", "may not use PRAGMA graft_pull"),
        ("PRAGMA defer_foreign_keys = 1", "may not use PRAGMA defer_foreign_keys"),
        ("CREATE TEMP TABLE u (x)", "may not create temporary"),
        ("CREATE TEMP TRIGGER r AFTER INSERT ON t BEGIN SELECT 1; END", "may not create temporary"),
        ("SELECT load_extension('x')", "may not call load_extension"),
        ("UPDATE __sqlsync_timelines SET lsn = 0", "may not use names"),
        ("SELECT * FROM __SQLSYNC_TIMELINES", "may not use names"),
        ("DELETE FROM __sqlsync_rejections", "may not use names"),
        ("DROP TABLE __sqlsync_meta", "may not use names"),
        ("ALTER TABLE __sqlsync_meta RENAME TO mine", "may not use names"),
        ("CREATE TABLE __sqlsync_mine (x)", "may not use names"),
        ("CREATE INDEX i ON __sqlsync_timelines (lsn)", "may not use names"),
        ("CREATE TRIGGER r AFTER UPDATE ON __sqlsync_timelines BEGIN SELECT 1; END", "may not use names"),
        ("CREATE VIEW w AS SELECT * FROM __sqlsync_timelines; SELECT * FROM w", "may not use names"),
        ("VACUUM", "cannot VACUUM"),
        ("SELECT datetime('now', 'localtime')", "time zone"),
        ("SELECT strftime('%s', 'now', 'UTC')", "time zone"),
        ("INSERT INTO t (id, x) VALUES (1, 5), (2, 5)", "UNIQUE constraint failed: t.x"),
        ("INSERT INTO child VALUES (77)", "FOREIGN KEY constraint failed"),
        ("INSERT INTO strict_child VALUES (77)", "FOREIGN KEY constraint failed"),
        ("INSERT INTO t (id) VALUES (9); INSERT OR ROLLBACK INTO t (id) VALUES (9)", "UNIQUE constraint failed: t.id"),
        (
            (
                "CREATE TRIGGER r BEFORE INSERT ON t BEGIN SELECT RAISE(ROLLBACK, 'not here'); END; "
                "INSERT INTO t DEFAULT VALUES"
            ),
            "not here",
        ),
        ("SELECT zeroblob(200000000)", "too big"),
        ("SELECT randomblob(200000000)", "too big"),
        ("SELECT 1; SELECT nonsense", "no such column"),
        ("SELECT ?1", "Incorrect number of bindings"),
    ],
)
def test_what_a_reducer_may_not_do_rejects_its_mutation_alone(sandbox, sql, why):
    run(sandbox, [call("SELECT 1")], used_us=0)  # so that our tables are there
    assert why in reason(sandbox, sql)


def test_a_refused_statement_is_refused_again_though_others_may_run_it(sandbox):
    sql = f"RELEASE {SAVEPOINT}"
    for _ in range(3):
        assert "may not use names" in reason(sandbox, sql)
    sandbox.connection.execute(f"SAVEPOINT {SAVEPOINT}")
    sandbox.connection.execute(sql)  # ours, and it is cached now
    assert "may not use names" in reason(sandbox, sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SAVEPOINT mine; INSERT INTO t (id) VALUES (1); ROLLBACK TO mine; RELEASE mine",
        "SAVEPOINT left_open",
        "PRAGMA table_info(t)",
        "SELECT * FROM pragma_table_info('t')",
        "CREATE VIRTUAL TABLE words USING fts5(body); INSERT INTO words VALUES ('a b'); SELECT * FROM words('a')",
        "CREATE VIRTUAL TABLE boxes USING rtree(id, x0, x1); INSERT INTO boxes VALUES (1, 2, 3)",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9) INSERT INTO t (x) SELECT i FROM n",
        "ANALYZE",
        "CREATE TABLE s (x INTEGER) STRICT; ALTER TABLE s ADD COLUMN y TEXT NOT NULL DEFAULT 'y'",
        (
            "CREATE TABLE a (x); ALTER TABLE a RENAME COLUMN x TO y; ALTER TABLE a RENAME TO b; ALTER TABLE b ADD z; "
            "ALTER TABLE b DROP COLUMN y"
        ),
    ],
)
def test_what_a_reducer_may_do(sandbox, sql):
    assert run(sandbox, [call(sql), call("INSERT INTO t (id) VALUES (50)", 1)]) == [Applied(), Applied()]
    assert rows(sandbox, "SELECT 1 FROM t WHERE id = 50") == [(1,)]


CLOCK_SQL = """SELECT CURRENT_TIMESTAMP, CURRENT_DATE, CURRENT_TIME, datetime(), datetime('NOW', '+1 day'), date('now'),
    time(), julianday('now') = julianday('2023-11-14 22:13:20.123'), unixepoch(), unixepoch('subsec'), strftime('%H'),
    strftime('%Y now', 'now'), timediff('now', '2023-11-14'), datetime(0, 'unixepoch'), date('2020-02-30')"""


def test_the_clock_of_sql_is_the_moment_of_the_call(sandbox):
    seen = []
    run(sandbox, [call()], Logic(lambda context: seen.extend(context.query(CLOCK_SQL))))
    assert seen == [
        (
            "2023-11-14 22:13:20", "2023-11-14", "22:13:20", "2023-11-14 22:13:20", "2023-11-15 22:13:20", "2023-11-14",
            "22:13:20", 1, 1700000000, 1700000000.123, "22", "2023 now", "+0000-00-00 22:13:20.123",
            "1970-01-01 00:00:00", "2020-03-01",
        )
    ]  # fmt: skip
    run(sandbox, [call("INSERT INTO t (id) VALUES (1)")])
    assert rows(sandbox, "SELECT at FROM t") == [("2023-11-14 22:13:20",)]


def test_chance_is_the_seed_at_every_replay_and_another_for_another_seed(sandbox):
    def drawn(seed):
        seen = []

        def draw(context):
            sql = list(context.query("SELECT random(), hex(randomblob(8)), abs(random() % 6)"))
            seen.append((sql, context.random.random(), context.now, context.actor))

        run(sandbox, [call(seed=seed, actor="ann"), call(lsn=1, seed=seed, actor="ann")], Logic(draw))
        assert seen[0] == seen[1]
        return seen[0]

    assert drawn(1) == drawn(1)
    assert drawn(1)[:2] != drawn(2)[:2]
    assert drawn(1)[2:] == (dt.datetime(2023, 11, 14, 22, 13, 20, 123456, dt.UTC), "ann")


def test_counters_of_sql_begin_anew_with_each_mutation(sandbox):
    seen = []

    def count(context):
        sql = "SELECT changes(), total_changes(), last_insert_rowid()"
        before = list(context.query(sql))
        changed = context.execute(
            "INSERT INTO t (x) VALUES (?); INSERT INTO t (x) VALUES (?), (?); SELECT 1", (1, 2, 3)
        )
        seen.append((before, changed, list(context.query(sql))))
        context.execute("DELETE FROM t")

    run(sandbox, [call(), call(lsn=1)], Logic(count))
    assert seen == [([(0, 0, 0)], 3, [(2, 3, 3)])] * 2


def test_columns_have_names_though_there_are_no_rows(sandbox):
    seen = []

    def ask(context):
        seen.append(context.query_columns("SELECT id AS a, x FROM t WHERE 0"))
        seen.append(context.query_columns("DELETE FROM t"))
        context.query_columns("SELECT 1; SELECT 2")

    (outcome,) = run(sandbox, [call()], Logic(ask))
    assert seen == [(("a", "x"), []), ((), [])]
    assert "2 statements of one query have rows" in outcome.reason


def test_a_reducer_may_handle_a_constraint_and_go_on(sandbox):
    def handle(context):
        context.execute("INSERT INTO t (id) VALUES (1)")
        with pytest.raises(apsw.ConstraintError):
            context.execute("INSERT INTO t (id) VALUES (1)")
        context.execute("INSERT INTO t (id) VALUES (2)")

    assert run(sandbox, [call()], Logic(handle)) == [Applied()]
    assert rows(sandbox, "SELECT id FROM t") == [(1,), (2,)]


def test_a_reducer_that_hides_a_lost_transaction_goes_no_further(sandbox):
    def hide(context):
        for sql in ("INSERT INTO t (id) VALUES (7)", "INSERT OR ROLLBACK INTO t (id) VALUES (7)", "DELETE FROM t"):
            try:
                context.execute(sql)
            except apsw.Error:
                continue

    run(sandbox, [call("INSERT INTO t (id) VALUES (1)")])
    batch = [call("INSERT INTO t (id) VALUES (2)", 1), call(lsn=2), call("INSERT INTO t (id) VALUES (3)", 3)]
    reducer = Logic(lambda context: hide(context) if context.mutation.lsn == 2 else Logic().apply(context))
    outcomes = run(sandbox, batch, reducer, used_us=0)
    assert outcomes == [Applied(), Rejected("UNIQUE constraint failed: t.id"), Applied()]
    assert rows(sandbox, "SELECT id FROM t") == [(1,), (2,), (3,)]


def test_an_error_of_the_environment_decides_nothing_however_the_reducer_takes_it(sandbox):
    def unreachable():
        raise apsw.IOError("disk I/O error") from RemoteUnavailable("no route to host")

    def hide(context):
        for _ in range(2):
            try:
                context.execute("SELECT unreachable()")
            except apsw.Error:
                continue

    sandbox.connection.create_scalar_function("unreachable", unreachable)
    for reducer in (Logic(hide), Logic(lambda context: context.execute("SELECT unreachable()"))):
        with pytest.raises(apsw.IOError) as caught:
            run(sandbox, [call()], reducer, used_us=0)
        assert isinstance(caught.value.__cause__, RemoteUnavailable)
    assert tables.positions(sandbox.connection) == {}


def test_full_by_rowids_is_the_mutations_fault(sandbox):
    setup = "CREATE TABLE n (id INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO n VALUES (9223372036854775807)"
    run(sandbox, [call(setup)])
    assert "full" in reason(sandbox, "INSERT INTO n DEFAULT VALUES")


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"


def test_endless_sql_is_stopped_and_its_neighbours_stay():
    connection = apsw.Connection(":memory:")
    sandbox = Sandbox(connection, limits=Limits(seconds=0.05, statements=100))
    assert "took too long" in reason(sandbox, ENDLESS)
    assert "took too long" in reason(sandbox, f"INSERT INTO t (id) {ENDLESS}")
    assert "too many statements" in reason(sandbox, "SELECT 1;" * 101)
    connection.close()


@pytest.mark.parametrize("hides", [False, True])
@pytest.mark.parametrize("column", ["step(i)", "step(i), 'x', x'00', 1.5, NULL", "step(i) || hex(zeroblob(500))"])
def test_rows_are_counted_while_they_are_fetched(column, hides):
    connection = apsw.Connection(":memory:")
    sandbox = Sandbox(connection, limits=Limits(rows_bytes=100_000))
    steps = []
    connection.create_scalar_function("step", lambda number: steps.append(number) or number)
    sql = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT {column} FROM n"

    def ask(context):
        context.execute("INSERT INTO t (id) VALUES (1)")
        try:
            context.query(sql)
        except ReducerFailed:
            if not hides:
                raise

    batch = [call("INSERT INTO t (id) VALUES (7)"), call(lsn=1), call("INSERT INTO t (id) VALUES (8)", 2)]
    reducer = Logic(lambda context: ask(context) if context.mutation.lsn == 1 else Logic().apply(context))
    first, second, third = run(sandbox, batch, reducer)
    assert (first, third) == (Applied(), Applied())
    assert "the rows of a query exceed the limit of 100000 bytes" in second.reason
    assert len(steps) <= 100_000 / 80 + 2
    assert rows(sandbox, "SELECT id FROM t") == [(7,), (8,)]
    connection.close()


def test_rows_that_a_statement_returns_are_counted_too():
    connection = apsw.Connection(":memory:")
    sandbox = Sandbox(connection, limits=Limits(rows_bytes=10_000))
    numbers = "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000) SELECT i + 200 FROM n"
    assert "exceed the limit" in reason(sandbox, f"INSERT INTO t (id) {numbers} RETURNING id")
    assert rows(sandbox, "SELECT id FROM t") == []
    connection.close()


def test_what_is_said_no_to_and_what_breaks_are_told_apart(sandbox):
    def no(context):
        context.reject("taken\ud800")

    def broken(context):
        raise KeyError("x" * 5000)

    assert run(sandbox, [call()], Logic(no)) == [Rejected("taken?")]
    (outcome,) = run(sandbox, [call()], Logic(broken))
    assert outcome.failed
    assert len(outcome.reason) == 1000


def test_a_context_ends_with_its_mutation(sandbox):
    kept = []
    run(sandbox, [call()], Logic(kept.append))
    with pytest.raises(MutationRejected, match="had ended"):
        kept[0].execute("DELETE FROM t")


def test_migrations_run_once_in_order_and_see_the_mutation(sandbox):
    run(sandbox, [call("INSERT INTO t (id) VALUES (1)")])
    run(sandbox, [call("SELECT 1")], Logic(version=3))
    run(sandbox, [call("INSERT INTO t (id) VALUES (2)")], Logic(version=3))
    assert rows(sandbox, "SELECT id, v2, v3 FROM t") == [(1, "22:13", "22:13"), (2, "22:13", "22:13")]
    assert tables.version(sandbox.connection) == 3
    with pytest.raises(ReducerTooOld, match="version 3, and this application knows version 2"):
        run(sandbox, [call("SELECT 1")], Logic(version=2))


def test_a_migration_that_fails_leaves_the_document_as_it_was(sandbox):
    class Broken(Logic):
        def migrate(self, context, version):
            super().migrate(context, version)
            if version == 3:
                context.execute("nonsense")

    run(sandbox, [call("INSERT INTO t (id) VALUES (1)")])
    with pytest.raises(MigrationFailed, match="version 3 failed: SQLError"):
        run(sandbox, [call("SELECT 1")], Broken(version=3))
    assert tables.version(sandbox.connection) == 1
    assert rows(sandbox, "SELECT count(*) FROM pragma_table_info('t')") == [(3,)]


def test_a_migration_may_break_foreign_keys_for_a_while_only(sandbox):
    class Rebuilding(Logic):
        def migrate(self, context, version):
            super().migrate(context, version)
            if version == 2:
                context.execute("PRAGMA defer_foreign_keys = 1; INSERT INTO strict_child VALUES (5)")
                if not context.mutation.actor:
                    context.execute("INSERT INTO t (id) VALUES (5)")

    with pytest.raises(MigrationFailed, match="foreign keys"):
        run(sandbox, [call("SELECT 1", actor="ann")], Rebuilding(version=2))
    run(sandbox, [call("SELECT 1")], Rebuilding(version=2))
    assert "FOREIGN KEY" in reason(sandbox, "INSERT INTO strict_child VALUES (6)", reducer=Logic(version=2))
