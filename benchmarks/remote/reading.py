"""`cold_lookup`, `cold_range`, `cold_scan`, `hydrate`: a reader with an empty cache."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

from benchmarks.database import Database
from benchmarks.remote.scenario import OfImportedTable, Place, warm_up
from benchmarks.remote.systems import BOTH, FAST
from benchmarks.rows import Reading
from graft.operations.hydrate import hydrate
from graft.replica.opening import open_replica
from graft_sqlite_vfs.connection import connect
from testbed.messages import LOOKUP, RANGE, SCAN, random_ids, sent_between

Reader = Callable[[Place, Database], None]


@dataclass(frozen=True, slots=True)
class ColdRead(OfImportedTable):
    """A reader that has read one row reads more."""

    name: str
    systems: tuple[str, ...]
    read: Reader

    def run(self, place: Place) -> Iterator[Reading]:
        """Clone, read a row, then measure."""
        url = place.volume(place.sizes.table_bytes, 0)
        warm_up(place)
        with closing(connect(place.clone("reader", url))) as database:
            database.execute(LOOKUP, (1,)).fetchall()
            yield from place.measure(self.name, lambda: self.read(place, database), remote=url)


class Hydrate(OfImportedTable):
    """Fetch the whole volume."""

    name = "hydrate"
    systems = BOTH

    def run(self, place: Place) -> Iterator[Reading]:
        """Clone, then measure."""
        url = place.volume(place.sizes.table_bytes, 0)
        warm_up(place)
        with open_replica(place.clone("reader", url)) as replica:
            yield from place.measure(self.name, lambda: hydrate(replica), remote=url)


def look_up(database: Database, ids: list[int]) -> None:
    """Read rows, each in its own transaction."""
    for wanted in ids:
        assert database.execute(LOOKUP, (wanted,)).fetchall(), "BUG: no such row"


def scan(database: Database) -> None:
    """Read all rows."""
    assert database.execute(SCAN).fetchall()[0][0], "BUG: an empty table"


def _look_up(place: Place, database: Database) -> None:
    look_up(database, random_ids(place.sizes.table_bytes, place.sizes.lookups, seed=5))


def _range(place: Place, database: Database) -> None:
    found = database.execute(RANGE, sent_between(place.sizes.table_bytes, 0.01, seed=6)).fetchall()
    assert found[0][0], "BUG: an empty range"


def _scan(_place: Place, database: Database) -> None:
    scan(database)


COLD_LOOKUP = ColdRead("cold_lookup", FAST, _look_up)
COLD_RANGE = ColdRead("cold_range", FAST, _range)
COLD_SCAN = ColdRead("cold_scan", BOTH, _scan)
