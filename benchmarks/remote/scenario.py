"""How a remote scenario measures: time, traffic and memory of one action over a slow network."""

import gc
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from benchmarks.remote.sizes import RemoteSizes
from benchmarks.remote.templates import VOLUME, make_template, put_template
from benchmarks.rows import Reading
from graft.replica.opening import open_replica
from graft.replica.replica import Replica
from graft.sync.clone import clone
from pagestore.urls import open_store
from testbed.latency import ProxyControl
from testbed.memory import rss_anon_bytes
from testbed.s3_servers import BUCKET
from testbed.traffic import summed

_SAMPLE_S = 0.01


@dataclass(frozen=True, slots=True)
class Place:
    """Where and how a scenario runs. The server is found through AWS_ENDPOINT_URL, which names the proxy."""

    system: str
    directory: Path
    """Private to this scenario and system."""
    shared: Path
    """Shared by all scenarios: source databases and templates."""
    sizes: RemoteSizes
    control: ProxyControl

    def measure(
        self,
        name: str,
        action: Callable[[], object],
        *,
        remote: str | None = None,
        slow_every: int = 0,
        slow_ms: float = 0.0,
    ) -> list[Reading]:
        """Run an action over the slow network, and return its readings.

        ``remote`` is a store whose size is reported too. Every ``slow_every``-th read takes ``slow_ms`` longer.
        """
        gc.collect()
        with _PeakMemory() as memory:
            self.control.begin(self.sizes.latency_ms, slow_every=slow_every, slow_ms=slow_ms)
            start = time.perf_counter()
            action()
            seconds = time.perf_counter() - start
            traffic = summed(self.control.end())
        readings = [
            Reading(name, "seconds", seconds),
            Reading(name, "requests", traffic.requests),
            Reading(name, "round_trips", traffic.round_trips),
            Reading(name, "bytes_up", traffic.bytes_up),
            Reading(name, "bytes_down", traffic.bytes_down),
            Reading(name, "rss_growth_bytes", memory.growth_bytes),
        ]
        if remote is not None:
            readings.append(Reading(name, "remote_bytes", _size_of(remote)))
        return readings

    def volume(self, size: int, pushes: int, *, use: str = "read", with_history: bool = False) -> str:
        """Return the URL of a store with an import of ``size`` bytes and ``pushes`` pushes, created if needed.

        A different ``use`` gives a different store. ``with_history``: the store is cut from the longest
        history, also if ``pushes`` is 0.
        """
        checkpoints = self._checkpoints(size) if pushes or with_history else (0,)
        url = self.url(f"{use}-{size}-{max(checkpoints)}-{pushes}")
        template = make_template(self.shared, size, checkpoints)
        with closing(open_store(url)) as store:
            put_template(template, store, pushes)
        return url

    def url(self, name: str) -> str:
        """Return the URL of a store."""
        return f"s3://{BUCKET}/{name}"

    def clone(self, name: str, url: str) -> Path:
        """Return a fresh clone, which has only the page lists."""
        path = self.directory / name
        shutil.rmtree(path, ignore_errors=True)
        clone(path, f"{url}#{VOLUME}").close()
        return path

    def fresh(self, name: str) -> Path:
        """Return a path where nothing exists."""
        path = self.directory / name
        shutil.rmtree(path, ignore_errors=True)
        return path

    def _checkpoints(self, size: int) -> tuple[int, ...]:
        large = size == self.sizes.table_bytes
        return tuple(sorted({0, *(self.sizes.histories if large else self.sizes.small_histories)}))


class OfImportedTable:
    """Scenarios of one volume: the large table, imported and pushed once."""

    def prepare(self, place: Place) -> None:
        """Put the volume into the bucket."""
        place.volume(place.sizes.table_bytes, 0)


@contextmanager
def elsewhere(path: Path, url: str) -> Iterator[Replica]:
    """Open a replica with its remote at another URL than the one it was cloned from."""
    with closing(open_store(url)) as store, open_replica(path, store=store) as replica:
        yield replica


def warm_up(place: Place) -> None:
    """Send a first request, so that importing and starting the S3 client is not measured."""
    with closing(open_store(place.url("nothing"))) as store:
        assert not list(store.list("", limit=1)), "BUG: something is in the empty store"


def _size_of(url: str) -> int:
    with closing(open_store(url)) as store:
        return sum(found.size for found in store.list(""))


class _PeakMemory:
    """A thread that samples this process's anonymous memory."""

    def __init__(self) -> None:
        self._before = self._peak = rss_anon_bytes(os.getpid())
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    @property
    def growth_bytes(self) -> int:
        return self._peak - self._before

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self._peak = max(self._peak, rss_anon_bytes(os.getpid()))
            if self._done.wait(_SAMPLE_S):
                return
