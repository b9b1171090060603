"""The change feed, the history of a row, and blame."""

import random
import threading

import pytest

import graft
from graft.operations.compact import compact
from graft.replica.opening import open_replica
from graft.retention.restore import restore
from graft.sync.push import push
from graft.sync.tags import tag
from graft_sqlite_vfs.history import RowChanged, SchemaChanged, blame, changes, row_history
from graft_sqlite_vfs.history.versions import Versions


@pytest.fixture
def volume(volumes):
    """LSN 1: the table; 2: rows 1 to 3; 3: row 1 changed; 4: row 2 deleted, row 4 inserted."""
    connection = volumes.connect("a")
    with open_replica(volumes.directory / "a") as replica:
        connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, x)")
        push(replica)
        connection.execute("INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')")
        push(replica)
        connection.execute("UPDATE t SET x = 'A' WHERE id = 1")
        push(replica)
        connection.execute("DELETE FROM t WHERE id = 2; INSERT INTO t VALUES (4, 'd')")
        push(replica)
        yield replica, connection


def _short(feed):
    return [
        (one.lsn, one.change, one.key) if isinstance(one, RowChanged) else (one.lsn, one.type, one.name) for one in feed
    ]


def test_the_feed(volume):
    replica, _ = volume
    expected = [
        (1, "table", "t"), (2, "insert", (1,)), (2, "insert", (2,)), (2, "insert", (3,)), (3, "update", (1,)),
        (4, "delete", (2,)), (4, "insert", (4,)),
    ]  # fmt: skip
    found = list(changes(replica))
    assert _short(found) == expected
    assert isinstance(found[0], SchemaChanged)
    assert found[4].before == {"id": 1, "x": "a"}
    assert found[4].after == {"id": 1, "x": "A"}
    assert all(one.time_us for one in found)
    assert _short(changes(replica.path, 2)) == expected[4:], "it goes on after an LSN"
    tag(replica, "seen", 3)
    assert _short(changes(replica, "seen", tables=["T"])) == expected[5:]
    assert _short(changes(replica, 4)) == []


def test_the_feed_follows(volume):
    replica, connection = volume
    feed = changes(replica, 4, follow=True, poll_s=0.001)
    found = []
    reader = threading.Thread(target=lambda: found.append(next(feed)))
    reader.start()
    connection.execute("INSERT INTO t VALUES (9, 'later')")
    push(replica)
    reader.join(300)
    assert _short(found) == [(5, "insert", (9,))]
    feed.close()


def test_wrong_feeds(volume):
    replica, _ = volume
    with pytest.raises(graft.NoSuchVersion):
        list(changes(replica, 77))
    with pytest.raises(graft.BadRequest, match="every 0 seconds"):
        list(changes(replica, follow=True, poll_s=0))


def test_a_feed_from_a_collected_version_names_what_remains(volume):
    replica, _ = volume
    graft.collect(replica.store_url, keep_last=1, grace_s=0)
    with pytest.raises(graft.VersionCollected, match="LSN 4"):
        list(changes(replica, 2))
    assert len(_short(changes(replica))) == 4, "the oldest version that remains has all rows and the table"


def test_the_history_of_a_row(volume):
    replica, connection = volume
    assert [(one.lsn, one.row and one.row["x"]) for one in row_history(replica, "t", 1)] == [(3, "A"), (2, "a")]
    assert [(one.lsn, one.row) for one in row_history(replica, "T", 2)] == [(4, None), (2, {"id": 2, "x": "b"})]
    assert list(row_history(replica, "t", 99)) == []
    connection.execute("UPDATE t SET x = 'local' WHERE id = 3")
    assert [one.lsn for one in row_history(replica, "t", 3)] == [None, 2]
    with pytest.raises(graft.BadRequest, match="no table nobody"):
        list(row_history(replica, "nobody", 1))
    with pytest.raises(graft.BadRequest, match="a key of 1 columns, not 2"):
        list(row_history(replica, "t", (1, 2)))


def test_a_restore_shows_in_the_history(volume):
    replica, _ = volume
    restore(replica, 2)
    assert [(one.lsn, one.row and one.row["x"]) for one in row_history(replica, "t", 1)] == [
        (5, "a"),
        (3, "A"),
        (2, "a"),
    ]


def test_blame(volume):
    replica, connection = volume
    assert {one.key[0]: one.lsn for one in blame(replica, "t")} == {1: 3, 3: 2, 4: 4}
    connection.execute("UPDATE t SET x = 'local' WHERE id = 3")
    assert {one.key[0]: one.lsn for one in blame(replica, "t")} == {1: 3, 3: None, 4: 4}
    assert [(one.key, one.lsn) for one in blame(replica, "t", 1)] == [((1,), 3)]
    with pytest.raises(graft.BadRequest, match="no row 2 now"):
        list(blame(replica, "t", 2))
    with pytest.raises(graft.BadRequest, match="no table nobody"):
        list(blame(replica, "nobody"))


@pytest.mark.parametrize("seed", range(6))
def test_random_histories(volumes, seed):
    """Against a model that has read every version."""
    choose = random.Random(seed)
    connection = volumes.connect("a")
    connection.execute("CREATE TABLE t(k TEXT PRIMARY KEY, x)")
    with open_replica(volumes.directory / "a") as replica:
        push(replica)
        states = [{}]
        for _ in range(25):
            if states[1:] and choose.random() < 0.08:
                restore(replica, choose.randint(1, len(states) - 1))
            elif choose.random() < 0.08:
                if compact(replica).before == replica.view().state.lsn:
                    continue
            else:
                for _ in range(choose.choice([1, 1, 30])):
                    key = f"k{choose.randint(0, 60)}"
                    if choose.random() < 0.3:
                        connection.execute("DELETE FROM t WHERE k = ?", (key,))
                    else:
                        connection.execute("INSERT OR REPLACE INTO t VALUES (?, ?)", (key, choose.randint(0, 3)))
                if graft.push(replica).after == len(states):
                    continue
            states.append(dict(connection.execute("SELECT k, x FROM t")))
        assert replica.view().state.lsn == len(states)
        expected_blame = {}
        for key in {key for state in states for key in state}:
            values = [state.get(key) for state in states]
            expected = [(lsn + 1, values[lsn]) for lsn in range(1, len(values)) if values[lsn] != values[lsn - 1]]
            found = [(one.lsn, None if one.row is None else one.row["x"]) for one in row_history(replica, "t", key)]
            assert found == expected[::-1]
            if values[-1] is not None:
                expected_blame[key] = expected[-1][0]
        assert {one.key[0]: one.lsn for one in blame(replica, "t")} == expected_blame
        replayed = {}
        for one in changes(replica, tables=["t"]):
            if one.after is None:
                del replayed[one.key[0]]
            else:
                replayed[one.key[0]] = one.after["x"]
        assert replayed == states[-1]


def test_one_row_of_a_long_history_opens_few_versions(volumes):
    connection = volumes.connect("a")
    connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, x)")
    connection.executemany("INSERT INTO t VALUES (?, randomblob(300))", [(number,) for number in range(2000)])
    with open_replica(volumes.directory / "a") as replica:
        push(replica)
        for number in range(64):
            connection.execute("UPDATE t SET x = ? WHERE id = ?", (number, 1999 if number != 40 else 3))
            push(replica)
        opened = []
        original = Versions._open
        Versions._open = lambda self, place: opened.append(place) or original(self, place)
        try:
            assert [one.lsn for one in row_history(replica, "t", 3)] == [42, 1]
        finally:
            Versions._open = original
    assert len(opened) <= 2 * 7 + 2
