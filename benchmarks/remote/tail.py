"""`tail`: single reads where 2 % of them are slow, with second requests for late reads and without."""

import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial

from benchmarks.remote.scenario import Place, warm_up
from benchmarks.remote.systems import FAST
from benchmarks.rows import Reading, latencies
from pagestore.objectstore import ObjectStore
from pagestore.urls import open_store

_LEARNED = 100
"""Reads before the measured ones, from which the store learns when a read is late."""
_READS_EACH = 6
"""Reads for each lookup of other scenarios."""
_SLOW_EVERY = 50
_SLOW_MS = 500.0
_BYTES = 16 * 1024


class Tail:
    """Ranged reads one after the other; every fiftieth is slow."""

    name = "tail"
    systems = FAST

    def prepare(self, place: Place) -> None:
        """Put an object into the bucket."""
        with closing(open_store(place.url("tail"))) as store:
            store.put("segments/tail", bytes(_BYTES * 64))

    def run(self, place: Place) -> Iterator[Reading]:
        """Read as often with hedging and without."""
        warm_up(place)
        for name, options in (("hedged", ""), ("unhedged", "?hedge_budget=0")):
            with closing(open_store(place.url("tail") + options)) as store:
                place.control.begin(place.sizes.latency_ms)
                for _ in range(_LEARNED):
                    store.get_range("segments/tail", 0, _BYTES)
                seconds: list[float] = []
                yield from place.measure(
                    f"{self.name}/{name}", partial(_read, store, place.sizes.lookups * _READS_EACH, seconds),
                    slow_every=_SLOW_EVERY, slow_ms=_SLOW_MS,
                )  # fmt: skip
            yield from latencies(f"{self.name}/{name}", seconds)


def _read(store: ObjectStore, reads: int, seconds: list[float]) -> None:
    for number in range(reads):
        begun_s = time.perf_counter()
        store.get_range("segments/tail", number % 64 * _BYTES, _BYTES)
        seconds.append(time.perf_counter() - begun_s)
