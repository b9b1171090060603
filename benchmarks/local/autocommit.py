"""`autocommit`: one-row INSERT transactions, one after the other, at every durability."""

import time
from collections.abc import Iterator

from benchmarks.local.scenario import Place
from benchmarks.local.systems import WRITERS
from benchmarks.rows import Reading, latencies


class Autocommit:
    """Duration of single transactions on a new database."""

    name = "autocommit"
    systems = (*WRITERS, "graft-remote")

    def prepare(self, place: Place) -> None:
        """Nothing: each run begins with an empty database."""

    def run(self, place: Place) -> Iterator[Reading]:
        """Insert rows of about 100 bytes."""
        place.system.create(place.database)
        database = place.system.open(place.database)
        database.execute("CREATE TABLE log(id INTEGER PRIMARY KEY, body TEXT NOT NULL)")
        sizes = place.sizes
        count = sizes.remote_transactions if place.system.name == "graft-remote" else sizes.transactions
        seconds = []
        for number in range(count):
            row = (f"{number:0100d}",)
            start = time.perf_counter()
            database.execute("INSERT INTO log(body) VALUES (?)", row)
            seconds.append(time.perf_counter() - start)
        database.close()
        yield from latencies(self.name, seconds)
        yield Reading(self.name, "seconds", sum(seconds))
