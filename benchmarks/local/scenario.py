"""What a scenario is: something to prepare once per system, and something to measure in a fresh process each time."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.dataset import plain_database
from benchmarks.local.sizes import Sizes
from benchmarks.local.systems import Database, System
from benchmarks.rows import Reading


@dataclass(frozen=True, slots=True)
class Place:
    """Where and how a scenario runs: everything that its process is told."""

    system: System
    directory: Path
    """Of this scenario and system alone; what `prepare` put there stays for all rounds."""
    shared: Path
    """Of all scenarios: source databases."""
    sizes: Sizes

    @property
    def database(self) -> Path:
        """The scenario's main database."""
        return self.directory / "main"

    def source(self, size: int) -> Path:
        """Return a plain database of a size."""
        return plain_database(self.shared, size)


class Scenario(Protocol):
    """One thing to measure."""

    @property
    def name(self) -> str:
        """The name on the command line, and the start of the name in the rows."""
        ...

    @property
    def systems(self) -> tuple[str, ...]:
        """The systems that take part, if they can run here."""
        ...

    def prepare(self, place: Place) -> None:
        """Make what all rounds use."""
        ...

    def run(self, place: Place) -> Iterable[Reading]:
        """Measure once."""
        ...


def timed(action: Callable[[], object]) -> float:
    """Return how many seconds a call took."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def opened_small_cache(place: Place, path: Path | None = None) -> Database:
    """Open a database with a page cache of 2 MB, so that reads reach what lies beneath SQLite."""
    database = place.system.open(path or place.database)
    database.execute("PRAGMA cache_size = -2000")
    return database
