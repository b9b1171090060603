"""Connections over a cache that is cleaned under them: the accelerator finds page lists with holes, and asks Python."""

import random
import threading

import pytest

from graft.replica.reclaim import reclaim
from graft.replica.replica import Replica
from graft.sync.push import push
from graft_sqlite_vfs import connect
from tests.graft_sqlite_vfs.conftest import fill, integrity, rows

SUM = "SELECT count(*), sum(length(v)), sum(unicode(v)), max(v) FROM t"
ROWS = 4000


@pytest.fixture
def replica(volumes, db) -> Replica:
    """A volume of some 1.3 MB, all of it pushed and in the cache."""
    fill(db, ROWS)
    found: Replica = volumes.replica()
    push(found)
    return found


def scatter(connection, replica, times: int) -> None:
    chance = random.Random(times)
    for number in range(times):
        for _ in range(20):
            connection.execute(
                "UPDATE t SET v = ? || substr(v, 9) WHERE id = ?", (f"{number:08}", chance.randrange(1, ROWS))
            )
        push(replica)


def files(replica) -> set[str]:
    return {path.name for path in (replica.path / "cache").glob("*.frames")}


def test_a_read_transaction_goes_on_over_cleaning(volumes, db, replica):
    reader = volumes.connect()
    reader.execute("PRAGMA cache_size = 10")
    before = rows(reader, SUM)
    reader.execute("BEGIN")
    assert rows(reader, SUM) == before
    there = files(replica)
    scatter(db, replica, 12)
    assert reclaim(replica)
    assert not there & files(replica), "nothing was cleaned"
    assert rows(reader, SUM) == before
    integrity(reader)
    assert replica.counts.snapshot().fetches > 0, "what was let go of is fetched again"
    reader.execute("COMMIT")
    assert rows(reader, SUM) == rows(db, SUM) != before
    reclaim(replica)
    assert rows(reader, SUM) == rows(db, SUM)


def test_the_newest_version_needs_no_request_after_cleaning(volumes, db, replica):
    scatter(db, replica, 12)
    reclaim(replica)
    reader = volumes.connect()
    reader.execute("PRAGMA cache_size = 10")
    assert rows(reader, SUM) == rows(db, SUM)
    integrity(reader)
    assert replica.counts.snapshot().fetches == 0


def test_threads_read_while_the_cache_is_cleaned(volumes, db, replica):
    """Old versions and new ones: none of them ever sees a page of another one, nor bytes that are not a page."""
    stop, failed, scans = threading.Event(), [], [0]

    def read() -> None:
        connection = connect(replica.path)
        try:
            connection.execute("PRAGMA cache_size = 10")
            while not stop.is_set():
                connection.execute("BEGIN")
                first = rows(connection, SUM)
                assert rows(connection, SUM) == first
                integrity(connection)
                connection.execute("COMMIT")
                scans[0] += 1
        except BaseException as error:  # noqa: BLE001 - the test is to see it
            failed.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(6):
        scatter(db, replica, 3 + number % 2)
        reclaim(replica)
    stop.set()
    for thread in threads:
        thread.join()
    assert not failed, failed
    assert scans[0]
