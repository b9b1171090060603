"""Where the scenarios of `python -m benchmarks local` run."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.database import Database
from benchmarks.local.dataset import plain_database
from benchmarks.local.sizes import Sizes
from benchmarks.local.systems import System


@dataclass(frozen=True, slots=True)
class Place:
    """Where and how a scenario runs."""

    system: System
    directory: Path
    """Private to this scenario and system; what `prepare` creates here stays for all rounds."""
    shared: Path
    """Shared by all scenarios: source databases."""
    sizes: Sizes

    @property
    def database(self) -> Path:
        """The scenario's main database."""
        return self.directory / "main"

    def source(self, size: int) -> Path:
        """Return a plain database of about ``size`` bytes."""
        return plain_database(self.shared, size)


def opened_small_cache(place: Place, path: Path | None = None) -> Database:
    """Open a database with a page cache of 2 MB, so that reads reach the layers below SQLite."""
    database = place.system.open(path or place.database)
    database.execute("PRAGMA cache_size = -2000")
    return database
