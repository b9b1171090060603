"""`scan_fragmented` and `warm`: reading a small table after a long history of scattered one-row pushes."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial

from benchmarks.database import Database
from benchmarks.remote.reading import look_up, scan
from benchmarks.remote.scenario import Place, warm_up
from benchmarks.remote.systems import FAST
from benchmarks.rows import Reading
from graft_sqlite_vfs.connection import connect
from testbed.messages import LOOKUP, random_ids


class ScanFragmented:
    """A full scan by a reader that has read one row; small table: after each history, large table: the longest."""

    name = "scan_fragmented"
    systems = FAST

    def prepare(self, place: Place) -> None:
        """Put the volumes into the bucket."""
        for size, pushes in self._cases(place):
            place.volume(size, pushes, with_history=True)

    def run(self, place: Place) -> Iterator[Reading]:
        """Scan each."""
        warm_up(place)
        for size, pushes in self._cases(place):
            url = place.volume(size, pushes, with_history=True)
            with closing(connect(place.clone("reader", url))) as database:
                database.execute(LOOKUP, (1,)).fetchall()
                name = f"{self.name}/{'small' if size == place.sizes.small_table_bytes else 'large'}-{pushes}"
                yield from place.measure(name, lambda: scan(database), remote=url)

    def _cases(self, place: Place) -> list[tuple[int, int]]:
        sizes = place.sizes
        small = [(sizes.small_table_bytes, pushes) for pushes in (0, *sizes.small_histories)]
        return [*small, (sizes.table_bytes, max(sizes.histories))]


class Warm:
    """The same reads with everything local: how history affects local speed."""

    name = "warm"
    systems = FAST

    def prepare(self, place: Place) -> None:
        """Put the volumes into the bucket."""
        for pushes in (0, *place.sizes.small_histories):
            place.volume(place.sizes.small_table_bytes, pushes, with_history=True)

    def run(self, place: Place) -> Iterator[Reading]:
        """Scan each volume once, then scan and look up in all of them in turn, since they are compared."""
        sizes = place.sizes
        ids = random_ids(sizes.small_table_bytes, sizes.warm_lookups, seed=8)
        with ExitStack() as opened:
            histories = (0, *sizes.small_histories)
            readers = {pushes: opened.enter_context(self._warm(place, pushes)) for pushes in histories}
            for _ in range(sizes.repeats):
                for pushes, database in readers.items():
                    yield from place.measure(f"warm/scan-{pushes}", partial(scan, database))
                    yield from place.measure(f"warm/lookup-{pushes}", partial(look_up, database, ids))

    @contextmanager
    def _warm(self, place: Place, pushes: int) -> Iterator[Database]:
        url = place.volume(place.sizes.small_table_bytes, pushes, with_history=True)
        with closing(connect(place.clone(f"reader-{pushes}", url))) as database:
            database.execute("PRAGMA cache_size = -500")  # so that reads reach the layers below SQLite
            scan(database)
            scan(database)
            yield database
