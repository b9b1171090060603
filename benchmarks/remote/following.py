"""`pull_noop` and `pull_one`: a reader that follows a writer."""

from collections.abc import Iterator
from contextlib import closing

from benchmarks.remote.scenario import OfImportedTable, Place, warm_up
from benchmarks.remote.systems import BOTH
from benchmarks.rows import Reading
from graft.replica.opening import open_replica
from graft.replica.replica import Replica
from graft.sync.pull import pull
from graft.sync.push import push
from graft_sqlite_vfs.connection import connect
from testbed.messages import LOOKUP, TOUCH, random_ids


class PullNoop(OfImportedTable):
    """A pull that finds nothing new."""

    name = "pull_noop"
    systems = BOTH

    def run(self, place: Place) -> Iterator[Reading]:
        """Pull several times."""
        url = place.volume(place.sizes.table_bytes, 0)
        warm_up(place)
        with open_replica(place.clone("reader", url)) as replica:
            pull(replica)
            for _ in range(place.sizes.repeats):
                yield from place.measure(self.name, lambda: pull(replica), remote=url)


class PullOne:
    """A pull of one changed row, and a read of that row."""

    name = "pull_one"
    systems = BOTH

    def prepare(self, place: Place) -> None:
        """Clone a volume twice, as a writer and a reader; no other scenario uses it."""
        url = self._url(place)
        place.clone("writer", url)
        place.clone("reader", url)

    def run(self, place: Place) -> Iterator[Reading]:
        """Let the writer change rows that the reader has read before, and check that it sees the changes."""
        warm_up(place)
        url = self._url(place)
        with (
            open_replica(place.directory / "writer") as writer,
            open_replica(place.directory / "reader") as reader,
            closing(connect(writer.path)) as written,
            closing(connect(reader.path)) as read,
        ):
            pull(reader)
            for wanted in random_ids(place.sizes.table_bytes, place.sizes.repeats, seed=writer.view().state.lsn):
                read.execute(LOOKUP, (wanted,)).fetchall()
                state = f"p{writer.view().state.lsn}"
                written.execute(TOUCH, (state, wanted))
                push(writer)

                def follow(wanted: int = wanted, state: str = state) -> None:
                    _pull_new(reader)
                    found = read.execute("SELECT status FROM messages WHERE id = ?", (wanted,)).fetchall()
                    assert found == [(state,)], "BUG: the change was not seen"

                yield from place.measure(self.name, follow, remote=url)

    def _url(self, place: Place) -> str:
        return place.volume(place.sizes.table_bytes, 0, use=f"{self.name}-{place.system}")


def _pull_new(replica: Replica) -> None:
    result = pull(replica)
    assert result.after > result.before, "BUG: nothing was pulled"
