"""`convoy`: one query while another Python thread of the process computes and competes for the interpreter."""

import threading
from collections.abc import Iterator

from benchmarks.database import Database
from benchmarks.local.dataset import random_ids
from benchmarks.local.scenario import Place, opened_small_cache
from benchmarks.local.systems import READERS
from benchmarks.rows import Reading
from benchmarks.scenario import timed

_QUERY = "SELECT count(*), sum(length(items.body)) FROM wanted JOIN items ON items.id = wanted.id"
_REPEATS = 3


class Convoy:
    """1,000 lookups in one statement; ``/alone`` is the same without the busy thread."""

    name = "convoy"
    systems = READERS

    def prepare(self, place: Place) -> None:
        """Load the table."""
        place.system.load(place.database, place.source(place.sizes.table_bytes))

    def run(self, place: Place) -> Iterator[Reading]:
        """Query alone, then beside the busy thread."""
        database = opened_small_cache(place)
        database.execute("PRAGMA temp_store = memory")
        database.execute("CREATE TEMP TABLE wanted(id INTEGER NOT NULL)")
        ids = random_ids(place.sizes.table_bytes, place.sizes.convoy_lookups, seed=4)
        database.execute("BEGIN")
        database.executemany("INSERT INTO wanted VALUES (?)", [(wanted,) for wanted in ids])
        database.execute("COMMIT")
        _query(database)
        yield Reading("convoy/alone", "seconds", min(timed(lambda: _query(database)) for _ in range(_REPEATS)))
        busy = _Busy()
        busy.start()
        yield Reading("convoy", "seconds", min(timed(lambda: _query(database)) for _ in range(_REPEATS)))
        busy.stop()
        database.close()


class _Busy(threading.Thread):
    """Computes until it is stopped."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._stopped = False

    def run(self) -> None:
        number = 0
        while not self._stopped:
            number = (number * 1_103_515_245 + 12_345) % 2_147_483_648

    def stop(self) -> None:
        self._stopped = True
        self.join()


def _query(database: Database) -> None:
    assert database.execute(_QUERY).fetchall()[0][0], "BUG: an empty table"
