"""`bulk`: many rows in one transaction. `memory`: one huge transaction, and the disk space it takes."""

from collections.abc import Iterator

from benchmarks.database import Database
from benchmarks.local.scenario import Place
from benchmarks.local.systems import WRITERS, disk_bytes, is_graft
from benchmarks.rows import Reading
from benchmarks.scenario import timed

_BLOB_BYTES = 100_000


class Bulk:
    """100,000 rows of about 100 bytes."""

    name = "bulk"
    systems = WRITERS

    def prepare(self, place: Place) -> None:
        """Nothing: each run begins with an empty database."""

    def run(self, place: Place) -> Iterator[Reading]:
        """Insert, COMMIT included."""
        place.system.create(place.database)
        database = place.system.open(place.database)
        database.execute("CREATE TABLE log(id INTEGER PRIMARY KEY, body TEXT NOT NULL)")
        rows = [(f"{number:0100d}",) for number in range(place.sizes.bulk_rows)]
        yield Reading(self.name, "seconds", timed(lambda: _insert(database, rows)))
        database.close()


class Memory:
    """One transaction of `large_bytes`; for volumes, also the disk space after the push."""

    name = "memory"
    systems = ("graft", "sqlite-wal-normal")

    def prepare(self, place: Place) -> None:
        """Nothing: each run begins with an empty database."""

    def run(self, place: Place) -> Iterator[Reading]:
        """Insert large random values."""
        place.system.create(place.database)
        database = place.system.open(place.database)
        database.execute("CREATE TABLE files(id INTEGER PRIMARY KEY, body BLOB NOT NULL)")
        count = place.sizes.large_bytes // _BLOB_BYTES
        yield Reading(self.name, "seconds", timed(lambda: _insert_blobs(database, count)))
        if is_graft(place.system):
            database.execute("PRAGMA graft_push").fetchall()
            pages = database.execute("PRAGMA page_count").fetchall()[0][0]
            size = database.execute("PRAGMA page_size").fetchall()[0][0]
            yield Reading(self.name, "live_bytes", pages * size)
        database.close()
        if is_graft(place.system):
            yield Reading(self.name, "disk_bytes", disk_bytes(place.database))


def _insert(database: Database, rows: list[tuple[str]]) -> None:
    database.execute("BEGIN")
    database.executemany("INSERT INTO log(body) VALUES (?)", rows)
    database.execute("COMMIT")


def _insert_blobs(database: Database, count: int) -> None:
    database.execute("BEGIN")
    for _ in range(count):
        database.execute("INSERT INTO files(body) VALUES (randomblob(?))", (_BLOB_BYTES,))
    database.execute("COMMIT")
