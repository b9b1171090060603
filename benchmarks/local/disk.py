"""`disk`: the local disk space of a volume after many small pushes, and the cost of keeping it small."""

from collections.abc import Iterator

from benchmarks.database import Database
from benchmarks.local.dataset import TOUCH, random_ids
from benchmarks.local.scenario import Place
from benchmarks.local.systems import disk_bytes
from benchmarks.rows import Reading, latencies
from benchmarks.scenario import timed


class Disk:
    """A table of `pushed_bytes`, with `pushes` changes of one random row, each pushed separately."""

    name = "disk"
    systems = ("graft",)

    def prepare(self, place: Place) -> None:
        """Nothing: each run begins with a volume that was just imported."""

    def run(self, place: Place) -> Iterator[Reading]:
        """Push, then close; ``/pushing`` is measured before closing, ``/closed`` after it."""
        sizes = place.sizes
        place.system.load(place.database, place.source(sizes.pushed_bytes))
        database = place.system.open(place.database)
        seconds = [
            timed(lambda: _push_one(database, wanted))  # noqa: B023 - called at once
            for wanted in random_ids(sizes.pushed_bytes, sizes.pushes, seed=4)
        ]
        (pages,), (size,) = (database.execute(f"PRAGMA page_{what}").fetchall()[0] for what in ("count", "size"))
        yield from latencies(f"{self.name}/pushing", seconds)
        yield Reading(f"{self.name}/pushing", "disk_bytes", disk_bytes(place.database))
        yield Reading(f"{self.name}/pushing", "live_bytes", pages * size)
        yield Reading(f"{self.name}/closed", "seconds", timed(database.close))
        yield Reading(f"{self.name}/closed", "disk_bytes", disk_bytes(place.database))
        yield Reading(f"{self.name}/closed", "live_bytes", pages * size)


def _push_one(database: Database, row: int) -> None:
    database.execute(TOUCH, (f"pushed {row}", row))
    database.execute("PRAGMA graft_push").fetchall()
