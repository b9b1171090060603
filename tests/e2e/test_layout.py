"""What a cold reader requests after an import of a table and an index: a leaf; the commit has the interior pages."""

import random

import pytest

from graft.operations.verify import verify
from graft.replica.opening import open_replica
from graft.settings import Settings
from graft.sync.clone import clone, init
from graft.sync.push import push
from graft_sqlite_vfs.btree.layout import btree_layout
from graft_sqlite_vfs.connection import connect
from graft_sqlite_vfs.importing import import_database
from pagestore.stores.memory import MemoryStore
from pagestore.stores.metered import MeteredStore
from testbed.messages import LOOKUP, RANGE, message_database, row_count

SIZE = 8 * 1024 * 1024
ROWS = row_count(SIZE)


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    """A volume of 8 MiB, pushed by the import of a plain file; its store and how many bytes the segment has."""
    directory = tmp_path_factory.mktemp("layout")
    path = message_database(directory, SIZE)
    store = MemoryStore("layout")
    with init(directory / "writer", f"{store.url}#big", store=store) as writer:
        import_database(writer, path)
        push(writer, layout=btree_layout)
        assert not verify(writer).problems
    (segment,) = store.list("segments/")
    return store, segment.size, path.stat().st_size


class Reader:
    """A replica that has nothing, a connection to it, and what it asked for since it was cloned or the last look."""

    def __init__(self, path, store, opened=clone):
        self.store = MeteredStore(store)
        self.replica = opened(path, f"{store.url}#big", store=self.store)
        self.before = self.store.snapshot()
        self.connection = connect(self.replica.path)

    def asked(self, statement, *values):
        self.connection.execute(statement, values).fetchall()
        now = self.store.snapshot()
        spent, self.before = now - self.before, now
        return spent

    def close(self):
        self.connection.close()
        self.replica.close()


@pytest.fixture
def reader(tmp_path, volume):
    found = Reader(tmp_path / "reader", volume[0])
    yield found
    found.close()


def test_a_first_row_takes_four_round_trips(tmp_path, volume):
    store = MeteredStore(volume[0])
    reader = Reader(tmp_path / "reader", store)
    opened = store.snapshot()
    assert (opened.lists, opened.requests) == (1, 3), "name, head, commit: each names the next"
    assert opened.bytes_down <= 40_000  # 32 KB of it are the entry frame
    spent = reader.asked(LOOKUP, ROWS // 3)
    assert (spent.requests, reader.replica.counts.snapshot().fetches) == (2, 1), "the dictionary, beside the leaf"
    reader.close()


def test_a_lookup_takes_one_request_for_the_leaf(reader):
    spent = reader.asked(LOOKUP, ROWS // 3)
    assert (spent.range_gets, spent.requests) == (2, 2)
    assert spent.bytes_down <= 75_000  # 50 KB of them are the dictionary of the segment
    spent = reader.asked(LOOKUP, ROWS // 2)
    assert (spent.range_gets, spent.requests) == (1, 1)
    assert spent.bytes_down <= 24_000


def test_a_lookup_by_the_index_takes_a_leaf_of_the_index_and_a_leaf_of_the_table(reader):
    reader.asked(LOOKUP, 1)
    (sent,) = reader.connection.execute("SELECT sent FROM messages WHERE id = ?", (ROWS // 2,)).fetchone()
    reader.asked("SELECT 1")
    spent = reader.asked("SELECT subject FROM messages WHERE sent = ?", sent)
    assert spent.requests == 1, "the leaf of the table is here already"


def test_the_schema_alone_takes_no_request(reader):
    assert reader.asked("SELECT name FROM sqlite_schema").requests == 0


def test_a_hundred_lookups_take_a_hundred_requests(reader):
    reader.asked(LOOKUP, 1)
    rng = random.Random(5)
    wanted = [rng.randrange(ROWS) + 1 for _ in range(100)]
    spent = [reader.asked(LOOKUP, row) for row in wanted]
    assert sum(each.requests for each in spent) <= 100
    assert sum(each.bytes_down for each in spent) <= 2_100_000


def test_a_range_of_the_index_takes_few_requests(reader):
    reader.asked(LOOKUP, 1)
    first, last = (
        reader.connection.execute("SELECT sent FROM messages WHERE id = ?", (row,)).get
        for row in (ROWS // 2, ROWS // 2 + ROWS // 100)
    )
    reader.asked("SELECT 1")
    assert reader.asked(RANGE, first, last).requests <= 8


def test_text_takes_little_room(volume):
    _, stored, size = volume
    assert stored < 0.3 * size


def test_a_reader_that_opens_again_asks_for_no_dictionary(tmp_path, volume):
    first = Reader(tmp_path / "reader", volume[0])
    first.asked(LOOKUP, 1)
    first.close()
    again = Reader(tmp_path / "reader", volume[0], lambda path, _, store: open_replica(path, store=store))
    spent = again.asked(LOOKUP, ROWS // 2)
    assert (spent.requests, spent.bytes_down <= 24_000) == (1, True)
    again.close()


@pytest.mark.parametrize("codec", ["lz4", "raw"])
def test_other_codecs_lay_out_the_same_way(tmp_path, volume, codec):
    store = MemoryStore(f"layout-{codec}")
    path = message_database(tmp_path, 2 * 1024 * 1024)
    with init(tmp_path / "writer", f"{store.url}#big", store=store, settings=Settings(codec=codec)) as writer:
        import_database(writer, path)
        push(writer, layout=btree_layout)
        assert not verify(writer).problems
    reader = Reader(tmp_path / "reader", store)
    assert reader.asked(LOOKUP, 77).requests == 1
    reader.close()
