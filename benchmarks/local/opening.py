"""`open`: open an existing database and run one query, in a process that has opened others before."""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.local.dataset import LOOKUP, random_ids
from benchmarks.local.scenario import Place
from benchmarks.local.systems import READERS
from benchmarks.rows import Reading, latencies
from benchmarks.scenario import timed


class Open:
    """Variants ``/table`` (100 MB) and ``/large`` (1 GB): one connection after the other."""

    name = "open"
    systems = READERS

    def prepare(self, place: Place) -> None:
        """Load three databases; the smallest one warms the process up."""
        sizes = place.sizes
        for variant, size in (("warm", 1_000_000), ("table", sizes.table_bytes), ("large", sizes.large_bytes)):
            place.system.load(place.directory / variant, place.source(size))

    def run(self, place: Place) -> Iterator[Reading]:
        """Open each many times and look up another row each time."""
        sizes = place.sizes
        _open_and_look(place, place.directory / "warm", 1)
        for variant, size in (("table", sizes.table_bytes), ("large", sizes.large_bytes)):
            path = place.directory / variant
            seconds = [
                timed(lambda: _open_and_look(place, path, wanted))  # noqa: B023 - called at once
                for wanted in random_ids(size, sizes.opens, seed=3)
            ]
            yield Reading(f"open/{variant}-first", "seconds", seconds[0])
            yield from latencies(f"open/{variant}", seconds)


def _open_and_look(place: Place, path: Path, wanted: int) -> None:
    database = place.system.open(path)
    assert database.execute(LOOKUP, (wanted,)).fetchall(), "BUG: a row is missing"
    database.close()
