"""`cold_open`, `clone_after_pushes`, `pull_after_pushes`, `time_travel_open`: reaching a version."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from benchmarks.remote.scenario import OfImportedTable, Place, elsewhere, warm_up
from benchmarks.remote.systems import BOTH, FAST
from benchmarks.remote.templates import VOLUME
from benchmarks.rows import Reading
from graft.sync.clone import clone
from graft.sync.pull import pull
from graft_sqlite_vfs.connection import connect
from testbed.messages import LOOKUP, random_ids


class ColdOpen(OfImportedTable):
    """From no replica to the first row of a lookup."""

    name = "cold_open"
    systems = BOTH

    def run(self, place: Place) -> Iterator[Reading]:
        """Open, and look up a different row each time."""
        url = place.volume(place.sizes.table_bytes, 0)
        warm_up(place)
        for wanted in random_ids(place.sizes.table_bytes, place.sizes.repeats, seed=3):
            path = place.fresh("reader")
            yield from place.measure(self.name, lambda: _open_and_look_up(path, url, wanted), remote=url)  # noqa: B023


class CloneAfterPushes:
    """A clone of a volume with a history."""

    name = "clone_after_pushes"
    systems = FAST

    def prepare(self, place: Place) -> None:
        """Put the volumes into the bucket."""
        for pushes in place.sizes.histories:
            place.volume(place.sizes.table_bytes, pushes)

    def run(self, place: Place) -> Iterator[Reading]:
        """Clone each."""
        warm_up(place)
        for pushes in place.sizes.histories:
            url = place.volume(place.sizes.table_bytes, pushes)
            path = place.fresh("reader")
            yield from place.measure(
                f"{self.name}/{pushes}",
                lambda: clone(path, f"{url}#{VOLUME}").close(),  # noqa: B023 - called at once
                remote=url,
            )


class PullAfterPushes:
    """A pull by a reader that is many pushes behind."""

    name = "pull_after_pushes"
    systems = FAST

    def prepare(self, place: Place) -> None:
        """Put the volumes into the bucket."""
        for pushes in (0, *place.sizes.histories):
            place.volume(place.sizes.table_bytes, pushes, with_history=True)

    def run(self, place: Place) -> Iterator[Reading]:
        """Pull from the import to the end of each history."""
        warm_up(place)
        for pushes in place.sizes.histories:
            url = place.volume(place.sizes.table_bytes, pushes)
            path = place.clone("reader", place.volume(place.sizes.table_bytes, 0, with_history=True))
            with elsewhere(path, url) as replica:
                yield from place.measure(f"{self.name}/{pushes}", lambda: pull(replica), remote=url)
                assert replica.view().state.lsn == pushes + 1, "BUG: the reader did not get there"


class TimeTravelOpen:
    """From a clone to the first row of a lookup in the middle of its history."""

    name = "time_travel_open"
    systems = FAST

    def prepare(self, place: Place) -> None:
        """Put the volume into the bucket."""
        place.volume(place.sizes.table_bytes, max(place.sizes.histories))

    def run(self, place: Place) -> Iterator[Reading]:
        """Open several versions."""
        pushes = max(place.sizes.histories)
        url = place.volume(place.sizes.table_bytes, pushes)
        warm_up(place)
        for number in range(place.sizes.repeats):
            path = place.clone("reader", url)
            lsn = 1 + pushes * (number + 1) // (place.sizes.repeats + 1)
            [wanted] = random_ids(place.sizes.table_bytes, 1, seed=lsn)
            yield from place.measure(self.name, lambda: _look_up(path, wanted, at=lsn), remote=url)  # noqa: B023


def _open_and_look_up(path: Path, url: str, wanted: int) -> None:
    with closing(connect(path, remote=f"{url}#{VOLUME}")) as database:
        assert database.execute(LOOKUP, (wanted,)).fetchall(), "BUG: no such row"


def _look_up(path: Path, wanted: int, at: int) -> None:
    with closing(connect(path, at=at)) as database:
        assert database.execute(LOOKUP, (wanted,)).fetchall(), "BUG: no such row"
