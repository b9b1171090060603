"""`scan` and `lookup`: reading a table that is entirely local; `deep_scan` and `deep_lookup`: after a long history.

Variants of `scan` and `lookup`: as it is, each statement is its own transaction; ``/transaction`` is inside one;
``/first`` is the first in its process, which maps the files and checks what it reads; ``/count`` reads pages, not rows.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.database import Database
from benchmarks.local.dataset import COUNT, LOOKUP, SCAN, TOUCH, random_ids
from benchmarks.local.scenario import Place, opened_small_cache
from benchmarks.local.systems import READERS, System, is_graft
from benchmarks.rows import Reading
from benchmarks.scenario import timed

_REPEATS = 3
_DEEP = ("graft", "graft-pure", "sqlite-wal-normal")


class Scan:
    """A full scan of a table of 100 MB."""

    name = "scan"
    systems = READERS

    def prepare(self, place: Place) -> None:
        """Load the table."""
        place.system.load(place.database, place.source(place.sizes.table_bytes))

    def run(self, place: Place) -> Iterator[Reading]:
        """Scan in autocommit, then in one transaction."""
        database = opened_small_cache(place)
        yield Reading("scan/first", "seconds", timed(lambda: _scan(database)))
        yield Reading("scan", "seconds", _best(lambda: _scan(database)))
        yield Reading("scan/count", "seconds", _best(lambda: _count(database)))
        database.execute("BEGIN")
        yield Reading("scan/transaction", "seconds", _best(lambda: _scan(database)))
        database.execute("COMMIT")
        database.close()


class Lookup:
    """Random lookups by primary key in a table of 100 MB."""

    name = "lookup"
    systems = READERS

    def prepare(self, place: Place) -> None:
        """Load the table."""
        place.system.load(place.database, place.source(place.sizes.table_bytes))

    def run(self, place: Place) -> Iterator[Reading]:
        """Look rows up in autocommit, then in one transaction."""
        ids = random_ids(place.sizes.table_bytes, place.sizes.lookups, seed=1)
        database = opened_small_cache(place)
        yield Reading("lookup/first", "seconds", timed(lambda: _lookups(database, ids)))
        _scan(database)
        yield Reading("lookup", "seconds", _best(lambda: _lookups(database, ids)))
        database.execute("BEGIN")
        yield Reading("lookup/transaction", "seconds", _best(lambda: _lookups(database, ids)))
        database.execute("COMMIT")
        database.close()


class Deep:
    """The same reads on three histories of the same table, in one process, one after the other.

    ``/shallow`` has one commit, ``/unpushed`` many one-row commits that the remote lacks, ``/pushed`` as many that
    were pushed one by one. Plain SQLite has no remote: it has the first two, checkpointed.
    """

    systems = _DEEP

    def __init__(self, name: str) -> None:
        """`deep_scan` or `deep_lookup`; both use the same databases."""
        self.name = name

    def prepare(self, place: Place) -> None:
        """Make the three databases, unless the other scenario has made them."""
        histories = place.shared / f"deep-{_shape(place.system)}"
        if histories.exists():
            return
        draft = histories.with_name(histories.name + ".draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        ids = random_ids(place.sizes.table_bytes, place.sizes.deep_commits, seed=2)
        for variant in _variants(place.system):
            place.system.load(draft / variant, place.source(place.sizes.table_bytes))
            if variant != "shallow":
                _touch(place.system, draft / variant, ids, push=variant == "pushed")
        draft.rename(histories)

    def run(self, place: Place) -> Iterator[Reading]:
        """Read each history."""
        ids = random_ids(place.sizes.table_bytes, place.sizes.lookups, seed=1)
        for variant in _variants(place.system):
            database = opened_small_cache(place, place.shared / f"deep-{_shape(place.system)}" / variant)
            _scan(database)
            if self.name == "deep_scan":
                seconds = _best(lambda: _scan(database))  # noqa: B023 - called at once
            else:
                database.execute("BEGIN")
                seconds = _best(lambda: _lookups(database, ids))  # noqa: B023 - called at once
                database.execute("COMMIT")
            yield Reading(f"{self.name}/{variant}", "seconds", seconds)
            database.close()


def _variants(system: System) -> tuple[str, ...]:
    return ("shallow", "unpushed", "pushed") if is_graft(system) else ("shallow", "unpushed")


def _shape(system: System) -> str:
    return "volume" if is_graft(system) else "file"


def _touch(system: System, path: Path, ids: list[int], *, push: bool) -> None:
    database = system.open(path)
    if is_graft(system):
        database.close()
        database = _relaxed(path)
    for number, wanted in enumerate(ids):
        database.execute(TOUCH, (f"{number:010x}", wanted))
        if push:
            database.execute("PRAGMA graft_push").fetchall()
    if not is_graft(system):
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    database.close()


def _relaxed(path: Path) -> Database:
    from graft_sqlite_vfs.connection import connect  # noqa: PLC0415 - the processes of other systems must not carry it

    return connect(path, durability="relaxed")


def _best(action: Callable[[], object]) -> float:
    """Return the shortest of a few durations: disturbances only make a run longer."""
    return min(timed(action) for _ in range(_REPEATS))


def _scan(database: Database) -> None:
    assert database.execute(SCAN).fetchall()[0][0], "BUG: an empty table"


def _count(database: Database) -> None:
    assert database.execute(COUNT).fetchall()[0][0], "BUG: an empty table"


def _lookups(database: Database, ids: list[int]) -> None:
    execute = database.execute
    for wanted in ids:
        execute(LOOKUP, (wanted,)).fetchall()
