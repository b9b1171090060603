"""The requests and bytes of each scenario of `python -m benchmarks remote`: budgets that do not depend on any clock.

On a smaller table than the benchmark's, so that a request more shows.
"""

import math
from contextlib import closing

import pytest

from graft.operations.hydrate import hydrate
from graft.sync.clone import clone, init
from graft.sync.pull import pull
from graft.sync.push import push
from graft_sqlite_vfs.btree.layout import btree_layout
from graft_sqlite_vfs.connection import connect
from graft_sqlite_vfs.importing import import_database
from pagestore.stores.memory import MemoryStore
from pagestore.stores.metered import MeteredStore
from testbed.messages import LOOKUP, RANGE, SCAN, TOUCH, message_database, random_ids, sent_between

SIZE = 4_000_000
PUSHES = 130


class Spent:
    """What was asked of the store since the last look."""

    def __init__(self, store):
        self._store = store
        self._before = store.snapshot()

    def look(self):
        now = self._store.snapshot()
        since, self._before = now - self._before, now
        return since


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return message_database(tmp_path_factory.mktemp("source"), SIZE)


@pytest.fixture(scope="module")
def store():
    return MeteredStore(MemoryStore("budgets"))


@pytest.fixture(scope="module")
def imported(store, source, tmp_path_factory):
    """The volume after one push of everything, and what that cost."""
    replica = init(tmp_path_factory.mktemp("replicas") / "writer", f"{store.url}#messages", store=store)
    import_database(replica, source)
    spent = Spent(store)
    push(replica, layout=btree_layout)
    yield replica, spent.look()
    replica.close()


@pytest.fixture
def spent(store, imported):
    return Spent(store)


@pytest.fixture
def reader(store, imported, tmp_path):
    """A replica of the volume that has nothing but its page lists, and a connection to it."""
    replica = clone(tmp_path / "reader", f"{store.url}#messages", store=store)
    with closing(connect(replica.path)) as database:
        yield replica, database
    replica.close()


def touch(replica, count, *, seed=1, between=lambda: None):
    with closing(connect(replica.path, durability="relaxed")) as database:
        for number, wanted in enumerate(random_ids(SIZE, count, seed)):
            database.execute(TOUCH, (f"s{number}", wanted))
            between()


def test_push_bulk(imported, source):
    _, cost = imported
    assert (cost.stream_puts, cost.conditional_puts, cost.requests) == (1, 1, 2)
    assert cost.bytes_up <= 0.30 * source.stat().st_size


def test_cold_open(store, imported, spent, tmp_path):
    replica = clone(tmp_path / "reader", f"{store.url}#messages", store=store)
    with closing(connect(replica.path)) as database:
        assert database.execute(LOOKUP, (1000,)).fetchall()
    cost = spent.look()
    assert cost.requests <= 5  # name, head, commit with the entry frame, the dictionary beside the leaf
    assert cost.bytes_down <= 120_000
    assert replica.counts.snapshot().fetches == 1, "four round trips"
    replica.close()


def test_cold_lookup(reader, spent):
    _, database = reader
    database.execute(LOOKUP, (1,)).fetchall()
    spent.look()
    for wanted in random_ids(SIZE, 50, seed=5):
        assert database.execute(LOOKUP, (wanted,)).fetchall()
    cost = spent.look()
    assert cost.requests <= 50
    assert cost.bytes_down <= 50 * 20_000


def test_cold_range(reader, spent):
    _, database = reader
    database.execute(LOOKUP, (1,)).fetchall()
    spent.look()
    assert database.execute(RANGE, sent_between(SIZE, 0.05, seed=6)).fetchall()[0][0]
    assert spent.look().requests <= 5


def test_cold_scan(reader, spent):
    replica, database = reader
    database.execute(LOOKUP, (1,)).fetchall()
    spent.look()
    fetches = replica.counts.snapshot().fetches
    assert database.execute(SCAN).fetchall()[0][0]
    replica.bodies.wait_for_background()
    # More than the six that were waited for once: the first windows are smaller, and the reader waits for two requests.
    assert spent.look().requests <= 10
    assert replica.counts.snapshot().fetches - fetches <= 2


def test_hydrate(reader, spent, source):
    replica, database = reader
    hydrate(replica)
    cost = spent.look()
    assert cost.requests <= 2
    assert cost.bytes_down <= 0.31 * source.stat().st_size
    database.execute(SCAN).fetchall()
    assert spent.look().requests == 0


def test_push_and_pull_of_rows(store, imported, spent, tmp_path):
    """`push_small`, `push_rollup`, `pull_noop` and `pull_one`."""
    writer, _ = imported
    reader = clone(tmp_path / "reader", f"{store.url}#messages", store=store)
    with closing(connect(reader.path)) as database:
        for number in range(1, 20):
            touch(writer, 1, seed=number)
            spent.look()
            push(writer)
            assert spent.look().requests == 1
            pull(reader)
            assert spent.look().requests == 2
            [wanted] = random_ids(SIZE, 1, seed=number)
            assert database.execute("SELECT status FROM messages WHERE id = ?", (wanted,)).fetchall() == [("s0",)]
            # The entry frame is fetched once; the row came with its commit.
            assert spent.look().requests <= (2 if number == 1 else 0)
            pull(reader)
            assert spent.look().requests == 1
    reader.close()
    touch(writer, 100, seed=20)
    spent.look()
    push(writer)
    cost = spent.look()
    assert cost.requests == 1  # as differences to the import: whole, these pages take 100 KB and more
    assert cost.bytes_up <= 33_000
    cold = clone(tmp_path / "cold", f"{store.url}#messages", store=store)
    with closing(connect(cold.path)) as database:
        database.execute(LOOKUP, (1,)).fetchall()
        touched = {wanted: f"s{number}" for number, wanted in enumerate(random_ids(SIZE, 100, seed=20))}
        for wanted, status in list(touched.items())[:5]:
            spent.look()
            assert database.execute("SELECT status FROM messages WHERE id = ?", (wanted,)).fetchall() == [(status,)]
            assert spent.look().requests <= 3  # the page, its base, and once the dictionary of that one's segment
    cold.close()


def test_after_many_pushes(store, imported, spent, tmp_path):
    """`clone_after_pushes`, `pull_after_pushes`, `time_travel_open`, `scan_fragmented` and `warm`."""
    writer, _ = imported
    behind = clone(tmp_path / "behind", f"{store.url}#messages", store=store)
    before = behind.view().state.lsn

    def push_one():
        spent.look()
        push(writer)
        assert spent.look().requests == 1

    touch(writer, PUSHES, seed=30, between=push_one)
    head = writer.view().state.lsn
    assert head == before + PUSHES
    spent.look()
    pull(behind)
    assert spent.look().requests <= 1 + math.log2(head)
    behind.close()
    fresh = clone(tmp_path / "fresh", f"{store.url}#messages", store=store)
    assert spent.look().requests <= 3 + math.log2(head)
    with closing(connect(fresh.path)) as database:
        database.execute(LOOKUP, (1,)).fetchall()
        spent.look()
        database.execute(SCAN).fetchall()
        fresh.bodies.wait_for_background()
        assert spent.look().requests <= 36  # 130 objects without carrying
        database.execute(SCAN).fetchall()
        assert spent.look().requests == 0
    with closing(connect(fresh.path, at=before + PUSHES // 2)) as past:
        past.execute(LOOKUP, (1,)).fetchall()
        assert spent.look().requests <= math.log2(head)
    fresh.close()
