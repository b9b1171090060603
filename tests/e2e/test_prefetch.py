"""What reading ahead wastes and saves, with SQLite on top: a cold reader of a laid-out and of a scattered volume.

Bytes are those of frames as stored; wasted are those that nobody asked for: frames read ahead in vain, and gaps.
"""

import random
import sqlite3
from dataclasses import dataclass

import pytest

from graft.operations.status import status
from graft.settings import Settings
from graft.sync.clone import clone, init
from graft.sync.push import push
from graft_sqlite_vfs.btree.layout import btree_layout
from graft_sqlite_vfs.connection import connect
from graft_sqlite_vfs.importing import import_database
from pagestore.stores.metered import MeteredStore
from pagestore.urls import open_store

ROWS = 120_000
_WORDS = [f"{random.Random(5).getrandbits(40):010x}{n:04x}" for n in range(4096)]


@dataclass(frozen=True)
class Cost:
    """Of some statements on a replica that has read one row."""

    requests: int
    fetches: int
    """Times that the reader asked for something and waited."""
    fetched: int
    unread: int
    """In frames that were fetched ahead and never asked for."""
    gaps: int
    """Between frames that share a request, each gap cheaper than a request of its own (`fetch_gap_bytes_max`)."""

    @property
    def wasted_part(self):
        return (self.unread + self.gaps) / max(self.fetched, 1)

    @property
    def unread_part(self):
        """Of the bytes in frames."""
        return self.unread / max(self.fetched - self.gaps, 1)


def build(path):
    """A table of 24 MiB whose rows were made in random order of their index."""
    chance = random.Random(7)
    database = sqlite3.connect(path)
    database.executescript(
        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
        "CREATE TABLE people(id INTEGER PRIMARY KEY, name TEXT, text TEXT); CREATE INDEX by_name ON people(name, id);"
    )
    database.executemany(
        "INSERT INTO people VALUES (?, ?, ?)",
        ((n, f"{chance.getrandbits(40):010x}", " ".join(chance.choices(_WORDS, k=10))) for n in range(1, ROWS + 1)),
    )
    database.commit()
    names = [row[0] for row in database.execute("SELECT name FROM people ORDER BY name")]
    database.close()
    return names


@pytest.fixture(scope="module", params=["laid out", pytest.param("as it grew", marks=pytest.mark.long)])
def volume(request, tmp_path_factory):
    """The volume's address, and the names in order."""
    directory = tmp_path_factory.mktemp("prefetch")
    names = build(directory / "people.db")
    remote = str(directory / "remote")
    with init(directory / "writer", f"{remote}#people") as writer:
        import_database(writer, directory / "people.db")
        push(writer, layout=btree_layout if request.param == "laid out" else None)
    return f"{remote}#people", names, request.param


@pytest.fixture
def cost(volume, tmp_path):
    """Run statements on a cold reader and return what they cost."""
    address, _, _ = volume
    opened = []

    def run(*statements, **settings):
        store = MeteredStore(open_store(address.partition("#")[0]))
        reader = clone(tmp_path / f"reader-{len(opened)}", address, store=store, settings=Settings(**settings))
        connection = connect(reader.path)
        opened.extend([connection, reader, store])
        connection.execute("SELECT name FROM people WHERE id = 1").fetchall()
        before, counted = store.snapshot(), reader.counts.snapshot()
        for statement in statements:
            connection.execute(statement).fetchall()
        reader.bodies.wait_for_background()
        spent, counts = store.snapshot() - before, reader.counts.snapshot()
        assert status(reader).wasted_bytes == counts.wasted_bytes
        assert spent.bytes_down == counts.fetched_bytes - counted.fetched_bytes + counts.gap_bytes - counted.gap_bytes
        gaps = counts.gap_bytes - counted.gap_bytes
        unread = counts.wasted_bytes - counted.wasted_bytes - gaps
        return Cost(spent.requests, counts.fetches - counted.fetches, spent.bytes_down, unread, gaps)

    yield run
    for each in opened:
        each.close()


def test_random_table_lookups(cost):
    chance = random.Random(11)
    spent = cost(*(f"SELECT text FROM people WHERE id = {chance.randint(1, ROWS)}" for _ in range(100)))
    assert spent.wasted_part <= 0.1
    assert spent.requests <= 100 + 12


def test_random_index_lookups(cost, volume):
    chance = random.Random(12)
    names = chance.sample(volume[1], 60)
    spent = cost(*(f"SELECT text FROM people WHERE name = '{name}'" for name in names))
    assert spent.wasted_part <= 0.1
    assert spent.requests <= 2 * 60 + 12


@pytest.mark.parametrize("order", ["id", "id DESC"])
def test_scans_of_the_table(cost, order, volume):
    spent = cost(f"SELECT text FROM people ORDER BY {order}")
    assert spent.wasted_part <= 0.1
    assert spent.requests <= (30 if volume[2] == "laid out" else 75)
    # Once it is clear where a scan goes, all that follows is fetched in the background.
    assert spent.fetches <= (3 if volume[2] == "laid out" else 20)


@pytest.mark.parametrize("order", ["name", "name DESC"])
def test_scans_of_the_index(cost, order, volume):
    spent = cost(f"SELECT name, id FROM people INDEXED BY by_name ORDER BY {order}")
    assert spent.unread_part <= 0.02
    # Where the index lies scattered among the table's pages, a window is many ranges, asked for at once, and the
    # pages between two of them are fetched where that saves a request.
    assert spent.wasted_part <= (0.1 if volume[2] == "laid out" else 0.2)
    assert spent.requests <= (20 if volume[2] == "laid out" else 290)
    assert spent.fetches <= (3 if volume[2] == "laid out" else 10)


def test_index_ranges(cost, volume):
    names = volume[1]
    low, high = names[ROWS // 3], names[ROWS // 3 + ROWS // 10]
    spent = cost(f"SELECT name, id FROM people WHERE name BETWEEN '{low}' AND '{high}'")
    # Nobody knows where a range ends: once it has come to 16 frames, twice as many as it used may be ahead of it.
    assert spent.unread_part <= (0.5 if volume[2] == "laid out" else 2 / 3)
    assert spent.gaps / spent.fetched <= 0.2
    assert spent.requests <= (12 if volume[2] == "laid out" else 150)


def test_an_index_range_with_the_rows_behind_it(cost, volume):
    names = volume[1]
    low, high = names[ROWS // 2], names[ROWS // 2 + ROWS // 200]
    spent = cost(f"SELECT text FROM people WHERE name BETWEEN '{low}' AND '{high}'")
    assert spent.wasted_part <= 0.1


@pytest.mark.parametrize("step", [1000, -1000])
def test_strided_access(cost, step, volume):
    ids = list(range(1, ROWS, abs(step)))[:: 1 if step > 0 else -1]
    spent = cost(*(f"SELECT text FROM people WHERE id = {each}" for each in ids))
    assert spent.wasted_part <= 0.1
    assert spent.requests <= len(ids) * 1.15
    assert spent.fetches <= len(ids) * (0.5 if volume[2] == "laid out" else 0.85)


def test_nothing_ahead(cost):
    spent = cost("SELECT text FROM people", readahead_bytes_max=0)
    assert spent.unread == spent.gaps == 0
    assert spent.requests > 200
