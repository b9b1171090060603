"""`push_small`, `push_rollup`, `push_bulk`: how long a writer waits."""

import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from benchmarks.remote.scenario import Place, warm_up
from benchmarks.remote.systems import BOTH, FAST
from benchmarks.remote.templates import VOLUME
from benchmarks.rows import Reading
from graft.replica.opening import open_replica
from graft.replica.replica import Replica
from graft.sync.clone import init
from graft.sync.push import push
from graft_sqlite_vfs.btree.layout import btree_layout
from graft_sqlite_vfs.connection import connect
from graft_sqlite_vfs.importing import import_database
from testbed.messages import TOUCH, message_database, random_ids


@dataclass(frozen=True, slots=True)
class PushOfRows:
    """Local commits of one row each to a large volume, pushed together."""

    name: str
    systems: tuple[str, ...]
    is_rollup: bool

    def prepare(self, place: Place) -> None:
        """Clone a volume that no other scenario writes."""
        place.clone("writer", self._url(place))

    def run(self, place: Place) -> Iterator[Reading]:
        """Commit and push, several times."""
        warm_up(place)
        url = self._url(place)
        commits = place.sizes.rollup_commits if self.is_rollup else 1
        with (
            open_replica(place.directory / "writer") as replica,
            closing(connect(replica.path, durability="relaxed")) as database,
        ):
            # The first push after opening proves that the remote is the one it knows; that is not measured here.
            first = random_ids(place.sizes.table_bytes, 1, 0)
            database.execute(TOUCH, (f"first {replica.view().state.lsn}", *first))
            push(replica)
            for number in range(place.sizes.repeats):
                seed = replica.view().state.lsn
                for wanted in random_ids(place.sizes.table_bytes, commits, seed):
                    database.execute(TOUCH, (f"r{number}", wanted))
                yield from place.measure(self.name, lambda: _must_push(replica), remote=url)

    def _url(self, place: Place) -> str:
        return place.volume(place.sizes.table_bytes, 0, use=f"{self.name}-{place.system}")


class PushBulk:
    """A database of 100 MB that was imported."""

    name = "push_bulk"
    systems = BOTH

    def prepare(self, place: Place) -> None:
        """Make the database."""
        message_database(place.shared, place.sizes.table_bytes)

    def run(self, place: Place) -> Iterator[Reading]:
        """Import it into a new volume and push it, laid out as ``graft import --push`` does."""
        warm_up(place)
        path = place.fresh("writer")
        url = place.url(f"bulk-{uuid.uuid4().hex}")
        with init(path, f"{url}#{VOLUME}") as replica:
            import_database(replica, message_database(place.shared, place.sizes.table_bytes))
            yield from place.measure(self.name, lambda: _must_push(replica), remote=url)


def _must_push(replica: Replica) -> None:
    assert push(replica, layout=btree_layout).pages, "BUG: nothing was pushed"


PUSH_SMALL = PushOfRows("push_small", BOTH, is_rollup=False)
PUSH_ROLLUP = PushOfRows("push_rollup", FAST, is_rollup=True)
