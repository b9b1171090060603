"""`sql_cold`: ``graft sql`` on a remote address, from the start of the process to its end."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.remote.scenario import OfImportedTable, Place
from benchmarks.remote.systems import BOTH
from benchmarks.remote.templates import VOLUME
from benchmarks.rows import Reading

_STATEMENT = "SELECT subject FROM messages WHERE id = 1"


class SqlCold(OfImportedTable):
    """One row, by a process that stores nothing."""

    name = "sql_cold"
    systems = BOTH

    def run(self, place: Place) -> Iterator[Reading]:
        """Run the command several times; ``sql_cold/start`` is a command that reads nothing."""
        url = place.volume(place.sizes.table_bytes, 0)
        command = str(Path(sys.executable).with_name("graft"))
        for _ in range(place.sizes.repeats):
            yield from place.measure(self.name, lambda: _run(command, "sql", f"{url}#{VOLUME}", _STATEMENT), remote=url)
            yield from place.measure(f"{self.name}/start", lambda: _run(command, "version"))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
