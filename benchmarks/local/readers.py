"""`readers`: threads or processes that scan a table again and again, beside a process that writes to it.

``readers/threads-2`` is how long two threads of one process take, each with a connection of its own and each with the
same work; perfect scaling leaves the duration of ``readers/threads-1`` unchanged as long as there are processors.
Each variant runs in new processes, so that its memory is its own; that of ``processes`` is the largest one's.
"""

import multiprocessing
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Barrier, Event
from typing import TYPE_CHECKING

from benchmarks.local.dataset import SCAN, TOUCH
from benchmarks.local.scenario import Place, opened_small_cache
from benchmarks.local.systems import READERS
from benchmarks.rows import Reading
from testbed.memory import rss_peak_bytes

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue

_COUNTS = (1, 2, 4)
_WRITES_PER_S = 20
_SPAWN = multiprocessing.get_context("spawn")


class Readers:
    """1, 2 and 4 threads, then as many processes, beside one writer of 20 one-row commits a second."""

    name = "readers"
    systems = READERS

    def prepare(self, place: Place) -> None:
        """Load the table."""
        place.system.load(place.database, place.source(place.sizes.table_bytes))

    def run(self, place: Place) -> Iterator[Reading]:
        """Time each number of readers."""
        stop, started = _SPAWN.Event(), _SPAWN.Event()
        writer = _SPAWN.Process(target=_write, args=(place, started, stop))
        writer.start()
        started.wait()
        try:
            for kind, measured in (("threads", _with_threads), ("processes", _with_processes)):
                for count in _COUNTS:
                    seconds, rss = measured(place, count)
                    yield Reading(f"readers/{kind}-{count}", "seconds", seconds)
                    yield Reading(f"readers/{kind}-{count}", "rss_bytes", rss)
        finally:
            stop.set()
            writer.join()


def _with_threads(place: Place, count: int) -> tuple[float, int]:
    """Return the duration, and the peak memory of the process that the threads are in."""
    with ProcessPoolExecutor(1, mp_context=_SPAWN) as pool:
        return pool.submit(_time_threads, place, count).result()


def _time_threads(place: Place, count: int) -> tuple[float, int]:
    barrier = threading.Barrier(count + 1)
    threads = [threading.Thread(target=_read, args=(place, barrier)) for _ in range(count)]
    for thread in threads:
        thread.start()
    barrier.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start, rss_peak_bytes()


def _with_processes(place: Place, count: int) -> tuple[float, int]:
    """Return the duration, and the peak memory of the largest process."""
    barrier = _SPAWN.Barrier(count + 1)
    peaks: SimpleQueue[int] = _SPAWN.SimpleQueue()
    processes = [_SPAWN.Process(target=_read_and_tell, args=(place, barrier, peaks)) for _ in range(count)]
    for process in processes:
        process.start()
    barrier.wait()
    start = time.perf_counter()
    found = [peaks.get() for _ in processes]
    seconds = time.perf_counter() - start
    for process in processes:
        process.join()
    return seconds, max(found)


def _read(place: Place, barrier: threading.Barrier | Barrier) -> None:
    database = opened_small_cache(place)
    database.execute(SCAN).fetchall()
    barrier.wait()
    for _ in range(place.sizes.reader_scans):
        database.execute(SCAN).fetchall()
    database.close()


def _read_and_tell(place: Place, barrier: Barrier, peaks: "SimpleQueue[int]") -> None:
    _read(place, barrier)
    peaks.put(rss_peak_bytes())


def _write(place: Place, started: Event, stop: Event) -> None:
    database = place.system.open(place.database)
    number = 0
    while not stop.wait(1 / _WRITES_PER_S):
        number += 1
        database.execute(TOUCH, (f"{number:010x}", 1 + number % 1000))
        started.set()
    database.close()
