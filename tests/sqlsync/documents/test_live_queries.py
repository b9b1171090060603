"""Live queries: told when the result is another one, and only then; asked again only when what they read changed."""

import asyncio
import logging
import threading

import apsw
import pytest

from graft.errors import RemoteUnavailable
from sqlsync.errors import MutationRejected, SqlSyncError
from sqlsync.queries.row_diff import RowChange
from testbed.patience import PATIENCE_S
from tests.graft.support import fast_directory
from tests.sqlsync.support import Stage

TABLES = 20
SCHEMA = """
    CREATE TABLE notes (id INTEGER PRIMARY KEY, title TEXT, folder INTEGER);
    CREATE INDEX notes_folder ON notes (folder);
    CREATE TABLE folders (id INTEGER PRIMARY KEY, name TEXT);
    CREATE TABLE other (x);
    CREATE VIEW titles AS SELECT notes.id AS note, title, name FROM notes LEFT JOIN folders ON folders.id = folder;
    CREATE VIRTUAL TABLE search USING fts5 (title, content = 'notes', content_rowid = 'id');
    CREATE VIRTUAL TABLE diary USING fts5 (text);
    CREATE VIRTUAL TABLE boxes USING rtree (id, x0, x1);
"""
WAIT_S = PATIENCE_S


class Anything:
    """A reducer that runs the SQL that a mutation brings."""

    version = 1
    digest = None

    def migrate(self, context, version):
        context.execute(SCHEMA)
        context.execute("".join(f"CREATE TABLE t{number} (x);" for number in range(TABLES)))

    def check(self, mutation):
        pass

    def apply(self, context):
        context.execute(context.mutation.body.arguments["sql"])


@pytest.fixture
def stage():
    with fast_directory() as directory:
        stage = Stage(directory, reducer=Anything)
        yield stage
        stage.close()


@pytest.fixture
def ann(stage):
    ann = stage.client("ann", stage.coordinator())
    run(ann, "INSERT INTO folders VALUES (1, 'home'), (2, 'work'); INSERT INTO notes VALUES (1, 'milk', 1)")
    return ann


def run(document, sql):
    document.mutate("run", sql=sql)
    assert document._live.settle(WAIT_S)


def first(subscription):
    return subscription.wait(WAIT_S).rows


def told(subscription):
    change = subscription.take()
    return change and (change.added, change.removed, change.changed)


def test_a_change_is_told_with_its_rows(ann):
    with ann.subscribe("SELECT id, title FROM notes WHERE folder = ?", (1,)) as live:
        change = live.wait(WAIT_S)
        assert (change.columns, change.rows, change.added) == (("id", "title"), ((1, "milk"),), ((1, "milk"),))
        run(ann, "INSERT INTO notes VALUES (2, 'tea', 1)")
        assert told(live) == (((2, "tea"),), (), ())
        run(ann, "UPDATE notes SET title = 'Tea' WHERE id = 2; DELETE FROM notes WHERE id = 1")
        assert told(live) == ((), ((1, "milk"),), (RowChange((2, "tea"), (2, "Tea")),))
        assert live.rows == ((2, "Tea"),)


def test_what_leaves_the_result_as_it_was_is_not_told(ann):
    with ann.subscribe("SELECT id, title FROM notes WHERE folder = 1") as live:
        first(live)
        run(ann, "INSERT INTO notes VALUES (2, 'elsewhere', 2)")
        assert (live.take(), ann._live.reruns) == (None, 1)
        run(ann, "UPDATE notes SET title = title")
        assert live.take() is None
        with pytest.raises(TimeoutError):
            live.wait(0)


QUERIES = {
    "SELECT count(*) FROM notes": "INSERT INTO notes VALUES (9, 'x', 1)",
    "SELECT folder FROM notes INDEXED BY notes_folder WHERE folder > 0": "UPDATE notes SET folder = 2",
    "SELECT title, name FROM notes JOIN folders f ON f.id = folder": "UPDATE folders SET name = 'house' WHERE id = 1",
    "SELECT * FROM titles": "UPDATE folders SET name = 'house' WHERE id = 1",
    "WITH f AS (SELECT * FROM folders) SELECT name FROM f WHERE id IN (SELECT folder FROM notes)":
        "UPDATE notes SET folder = 2",
    "SELECT (SELECT max(id) FROM notes)": "INSERT INTO notes VALUES (9, 'x', 1)",
    "SELECT rowid FROM search WHERE search MATCH 'milk'": "INSERT INTO search (rowid, title) VALUES (1, 'milk')",
    "SELECT rowid, title FROM search": "UPDATE notes SET title = 'oats'",
    "SELECT text FROM diary WHERE diary MATCH 'rain'": "INSERT INTO diary VALUES ('rain again')",
    "SELECT id FROM boxes WHERE x0 > 1": "INSERT INTO boxes VALUES (1, 2, 3)",
    "SELECT value FROM folders, json_each('[1]')": "DELETE FROM folders",
    "SELECT name FROM sqlite_schema WHERE name = 'late'": "CREATE TABLE late (x)",
    "SELECT name FROM pragma_table_info('folders')": "ALTER TABLE folders ADD COLUMN colour",
    "SELECT count(*) FROM dbstat": "INSERT INTO other VALUES (zeroblob(100000))",
    "WITH RECURSIVE up(id) AS (SELECT 1 UNION ALL SELECT folders.id FROM up JOIN folders ON folders.id = up.id + 1) "
    "SELECT count(*) FROM up": "INSERT INTO folders VALUES (3, 'deep')",
}  # fmt: skip


@pytest.mark.parametrize(("sql", "mutation"), QUERIES.items())
def test_all_that_a_query_reads_counts(ann, sql, mutation):
    live = ann.subscribe(sql)
    first(live)
    run(ann, mutation)
    change = live.take()
    assert change is not None
    assert change.rows == tuple(ann.query(sql))


@pytest.mark.parametrize("sql", [sql for sql in QUERIES if "dbstat" not in sql and "pragma_" not in sql])
def test_what_a_query_does_not_read_does_not_count(ann, sql):
    live = ann.subscribe(sql)
    first(live)
    run(ann, "INSERT INTO other VALUES (zeroblob(100000))")
    assert (live.take(), ann._live.reruns) == (None, 0)


def test_of_a_thousand_those_run_again_that_read_what_changed(ann):
    lives = [ann.subscribe(f"SELECT x + ? FROM t{number % TABLES}", (number,)) for number in range(1000)]
    for live in lives:
        first(live)
    run(ann, "INSERT INTO t7 VALUES (1)")
    assert ann._live.reruns == 1000 // TABLES
    assert {number: change.added for number, live in enumerate(lives) if (change := live.take())} == {
        number: ((1 + number,),) for number in range(7, 1000, TABLES)
    }
    run(ann, "CREATE TABLE late (x)")
    assert ann._live.reruns == 1000 // TABLES + 1000


def test_pulled_commits_count_and_confirmations_do_not(stage, ann):
    coordinator = stage.open[0]
    bob = stage.client("bob", coordinator)
    ann.sync()
    coordinator.step()
    bob.sync()
    live, other = bob.subscribe("SELECT id, title FROM notes"), bob.subscribe("SELECT x FROM other")
    assert (first(live), first(other)) == (((1, "milk"),), ())
    run(ann, "INSERT INTO notes VALUES (2, 'tea', 1)")
    ann.sync()
    coordinator.step()
    bob.sync()
    assert bob._live.settle(WAIT_S)
    assert told(live) == (((2, "tea"),), (), ())
    run(bob, "INSERT INTO notes VALUES (3, 'rum', 1)")
    assert told(live) == (((3, "rum"),), (), ())
    bob.sync()
    coordinator.step()
    bob.sync()
    assert bob._live.settle(WAIT_S)
    assert (told(live), told(other), bob.pending()) == (None, None, [])


def test_what_a_rebase_takes_back_is_told(stage, ann):
    """Two take one number: who comes second sees the own row turn into the other's."""
    coordinator = stage.open[0]
    bob = stage.client("bob", coordinator)
    ann.sync()
    coordinator.step()
    bob.sync()
    live = bob.subscribe("SELECT id, title FROM notes WHERE id = 5")
    first(live)
    run(bob, "INSERT INTO notes VALUES (5, 'of bob', 1)")
    assert told(live) == (((5, "of bob"),), (), ())
    run(ann, "INSERT INTO notes VALUES (5, 'of ann', 1)")
    ann.sync()
    coordinator.step()
    bob.sync()
    assert bob._live.settle(WAIT_S)
    assert told(live) == ((), (), (RowChange((5, "of bob"), (5, "of ann")),))


def test_nothing_is_missed_when_a_rebase_fails_on_its_way(stage, ann, monkeypatch):
    coordinator = stage.open[0]
    bob = stage.client("bob", coordinator)
    ann.sync()
    coordinator.step()
    bob.sync()
    live = bob.subscribe("SELECT title FROM notes")
    first(live)
    run(ann, "INSERT INTO notes VALUES (2, 'tea', 1)")
    ann.sync()
    coordinator.step()
    with monkeypatch.context() as patch:
        patch.setattr(bob._client.view, "replay", raising(RemoteUnavailable("gone")))
        with pytest.raises(RemoteUnavailable):
            bob.sync()
    assert (bob._live.settle(WAIT_S), live.take()) == (True, None)
    with pytest.raises(apsw.SQLError), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Anything, "check", raising(apsw.SQLError("no")))
        bob.mutate("run", sql="")
    assert bob._live.settle(WAIT_S)
    assert told(live) == ((("tea",),), (), ())


def raising(error):
    def fail(*_):
        raise error

    return fail


def test_a_rejected_mutation_is_not_told(ann):
    live = ann.subscribe("SELECT * FROM notes")
    first(live)
    with pytest.raises(MutationRejected):
        ann.mutate("run", sql="INSERT INTO notes VALUES (2, 'x', 1); INSERT INTO notes VALUES (2, 'y', 1)")
    assert (ann._live.settle(WAIT_S), live.take()) == (True, None)


def test_a_query_that_fails_says_so_and_recovers(ann):
    live = ann.subscribe("SELECT x FROM other")
    first(live)
    run(ann, "ALTER TABLE other RENAME TO another")
    with pytest.raises(apsw.SQLError, match="no such table: other"):
        live.take()
    run(ann, "CREATE TABLE other (x); INSERT INTO other VALUES (1)")
    assert told(live) == (((1,),), (), ())


def test_a_slow_and_a_raising_subscriber_harm_nobody(ann, caplog):
    release, entered = threading.Event(), threading.Event()
    seen = []

    def slow(change):
        entered.set()
        assert release.wait(WAIT_S)
        seen.append(change.rows)

    with caplog.at_level(logging.ERROR, "sqlsync.queries.subscription"):
        ann.subscribe("SELECT count(*) FROM notes", callback=slow)
        ann.subscribe("SELECT count(*) FROM notes", callback=raising(ValueError("of the application")))
        well = ann.subscribe("SELECT count(*) FROM notes")
        assert first(well) == ((1,),)
        assert entered.wait(WAIT_S)
        for number in range(2, 5):
            run(ann, f"INSERT INTO notes VALUES ({number}, 'x', 1)")
            assert first(well) == ((number,),)
        release.set()
        join_subscribers()
    assert ((1,),) in seen
    assert ((4,),) in seen
    assert ((2,),) not in seen  # what came while it was busy was told together
    assert "of the application" in caplog.text


def join_subscribers():
    """Wait until all subscribers were called for all that there is."""
    for thread in threading.enumerate():
        if thread.name == "sqlsync-subscriber":
            thread.join(WAIT_S)


def test_unsubscribing(ann):
    calls = []

    def once(change):
        calls.append(change.rows)
        mine.close()

    ready = threading.Event()
    mine = ann.subscribe("SELECT count(*) FROM other", callback=lambda change: ready.wait(WAIT_S) and once(change))
    ready.set()
    join_subscribers()
    live = ann.subscribe("SELECT count(*) FROM other")
    first(live)
    live.close()
    live.close()
    run(ann, "INSERT INTO other VALUES (1)")
    assert (calls, mine.closed, live.closed, live.take(), ann._live.reruns) == ([((0,),)], True, True, None, 0)
    with pytest.raises(EOFError):
        live.wait(WAIT_S)


def test_closing_the_document_ends_who_waits(stage):
    document = stage.client("eve", stage.coordinator("another"))
    run(document, "INSERT INTO other VALUES (1)")
    live = document.subscribe("SELECT x FROM other")
    found = []
    thread = threading.Thread(target=lambda: found.extend(change.rows for change in live))
    thread.start()
    while not found:
        assert thread.is_alive()
    document.close()
    thread.join(WAIT_S)
    assert (found, thread.is_alive(), live.closed) == ([((1,),)], False, True)
    with pytest.raises(SqlSyncError, match="closed"):
        document.subscribe("SELECT 1")


def test_subscriptions_are_of_one_document(stage, ann):
    bob = stage.client("bob")
    run(bob, "INSERT INTO other VALUES ('of bob')")
    live = ann.subscribe("SELECT x FROM other")
    first(live)
    run(bob, "INSERT INTO other VALUES ('more')")
    assert (live.take(), ann._live.reruns) == (None, 0)


def test_keys(ann):
    run(ann, "INSERT INTO notes VALUES (2, 'tea', 2)")
    chosen = ann.subscribe("SELECT title, folder FROM notes", key=["title"])
    joined = ann.subscribe("SELECT n.id, f.id, title, name FROM notes n JOIN folders f ON f.id = folder")
    none = ann.subscribe("SELECT title, folder FROM notes")
    for live in (chosen, joined, none):
        first(live)
    run(ann, "UPDATE notes SET folder = 1 WHERE id = 2")
    assert told(chosen) == ((), (), (RowChange(("tea", 2), ("tea", 1)),))
    assert told(joined) == (((2, 1, "tea", "home"),), ((2, 2, "tea", "work"),), ())
    assert told(none) == ((("tea", 1),), (("tea", 2),), ())
    run(ann, "UPDATE folders SET name = 'house' WHERE id = 1")
    assert [len(change) for change in told(joined)] == [0, 0, 2]
    with pytest.raises(ValueError, match="no column nothing; it has title"):
        ann.subscribe("SELECT title FROM notes", key=["nothing"])


@pytest.mark.parametrize("sql", ["SELECT 1; SELECT 2", ""])
def test_a_live_query_is_one_statement(ann, sql):
    with pytest.raises(ValueError, match="one statement"):
        ann.subscribe(sql)
    with pytest.raises(apsw.SQLError):
        ann.subscribe("SELECT nothing FROM nowhere")
    assert not ann._live._reads


def test_asyncio(ann):
    async def main():
        live, seen = ann.subscribe("SELECT count(*) FROM other"), []
        async with asyncio.timeout(WAIT_S):
            async for change in live:
                seen.append(change.rows[0][0])
                if seen[-1] == 3:
                    live.close()
                else:
                    await asyncio.to_thread(run, ann, "INSERT INTO other VALUES (1)")
        return seen

    assert asyncio.run(main()) == [0, 1, 2, 3]


def test_threads_change_and_subscribe_at_once(ann):
    failures = []

    def work(name):
        try:
            for number in range(10):
                live = ann.subscribe("SELECT count(*) FROM other WHERE x = ?", (name,))
                assert first(live) == ((number,),)
                ann.mutate("run", sql=f"INSERT INTO other VALUES ('{name}')")
                assert first(live) == ((number + 1,),)
                live.close()
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert not ann._live._reads
