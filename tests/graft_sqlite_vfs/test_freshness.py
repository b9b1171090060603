"""Reading what is fresh enough, through SQLite: how old at most, and at least which LSN."""

import json

import apsw
import pytest

from graft.errors import BadRequest, Diverged, RemoteUnavailable, TooStale
from graft.sync.follow import Follower
from graft.sync.push import push
from graft_sqlite_vfs import connect
from tests.graft_sqlite_vfs.conftest import rows

COUNT = "SELECT count(*) FROM t"


@pytest.fixture
def there(db, volumes):
    """A replica of the volume elsewhere, whose store counts and can be down; ``db`` is pushed."""
    db.pragma("graft_push")
    return volumes.behind_store("there")


def insert(db):
    db.execute("INSERT INTO t(v) VALUES ('more')")
    return push_lsn(db)


def push_lsn(db):
    assert db.pragma("graft_push").startswith("pushed LSN ")
    return json.loads(db.pragma("graft_snapshot", "json"))["lsn"]


def test_at_most_so_old(db, volumes, there):
    reader = volumes.connect("there", remote=None, max_staleness_s=0)
    eager = volumes.connect("there", remote=None, max_staleness_s=3600)
    assert rows(reader, COUNT) == [(3,)]
    for number in range(4, 8):
        insert(db)
        assert rows(reader, COUNT) == [(number,)]
    before = there.calls
    insert(db)
    for _ in range(50):
        assert rows(eager, COUNT) == [(7,)]
    assert there.calls == before, "an hour has not passed"


def test_a_transaction_reads_one_version(db, volumes, there):
    reader = volumes.connect("there", remote=None, max_staleness_s=0)
    with reader:
        assert rows(reader, COUNT) == [(3,)]
        insert(db)
        assert rows(reader, COUNT) == [(3,)]
    assert rows(reader, COUNT) == [(4,)]


def test_no_answer_is_an_error_that_says_why(db, volumes, there):
    reader = volumes.connect("there", remote=None, max_staleness_s=0)
    anyway = volumes.connect("there", remote=None)
    assert rows(reader, COUNT) == [(3,)]
    there.down = True
    with pytest.raises(apsw.IOError, match="to be up to date, 0 s are allowed, and the remote does not answer") as told:
        rows(reader, COUNT)
    assert isinstance(told.value.__cause__, TooStale)
    assert isinstance(told.value.__cause__.__cause__, RemoteUnavailable)
    assert rows(anyway, COUNT) == [(3,)]
    there.down = False
    assert rows(reader, COUNT) == [(3,)]


def test_the_bound_can_be_changed(db, volumes, there):
    reader = volumes.connect("there", remote=None)
    assert reader.pragma("graft_max_staleness_s") == "off"
    insert(db)
    assert rows(reader, COUNT) == [(3,)]
    assert reader.pragma("graft_max_staleness_s", 0) == "0"
    assert rows(reader, COUNT) == [(4,)]
    assert reader.pragma("graft_max_staleness_s", "off") == "off"
    insert(db)
    assert rows(reader, COUNT) == [(4,)]
    for wrong in ("-1", "nan", "soon"):
        with pytest.raises(apsw.SQLError, match="must be a number of seconds"):
            reader.pragma("graft_max_staleness_s", wrong)


def test_writes_build_on_what_is_fresh(db, volumes, there):
    writer = volumes.connect("there", remote=None, max_staleness_s=0)
    insert(db)
    insert(writer)
    assert rows(writer, COUNT) == [(5,)]
    db.pragma("graft_pull")
    assert rows(db, COUNT) == [(5,)]


def test_local_commits_in_the_way(db, volumes, there):
    reader = volumes.connect("there", remote=None, max_staleness_s=0)
    reader.execute("DELETE FROM t")
    insert(db)
    with pytest.raises(apsw.AbortError) as told:
        rows(reader, COUNT)
    assert isinstance(told.value.__cause__, Diverged)
    reader.pragma("graft_max_staleness_s", "off")
    assert rows(reader, COUNT) == [(0,)]


def test_read_your_writes_on_another_machine(db, volumes, there):
    lsn = insert(db)
    assert rows(volumes.connect("there", remote=None), COUNT) == [(3,)]
    assert rows(volumes.connect("there", remote=None, min_lsn=lsn), COUNT) == [(4,)]
    lsn = insert(db)
    reader = volumes.connect("there", remote=None)
    assert reader.pragma("graft_wait", str(lsn)) == f"at LSN {lsn}"
    assert rows(reader, COUNT) == [(5,)]
    before = there.calls
    assert reader.pragma("graft_wait", lsn) == f"at LSN {lsn}"
    assert there.calls == before


def test_what_does_not_come_in_time(db, volumes, there):
    with pytest.raises(TooStale, match="is at LSN 1, not 9, after 0 s: the remote has no such commit yet"):
        volumes.connect("there", remote=None, min_lsn=9, wait_s=0)
    reader = volumes.connect("there", remote=None)
    with pytest.raises(apsw.IOError, match="not 9, after 0 s") as told:
        reader.pragma("graft_wait", "9 0")
    assert isinstance(told.value.__cause__, TooStale)
    there.down = True
    with pytest.raises(TooStale, match="the last poll failed"):
        volumes.connect("there", remote=None, min_lsn=9, wait_s=0)


def test_waiting_is_refused_where_it_makes_no_sense(db, volumes, there):
    reader = volumes.connect("there", remote=None)
    with pytest.raises(apsw.SQLError, match="needs an LSN"):
        reader.pragma("graft_wait")
    for wrong in ("soon", "-1", "3 later"):
        with pytest.raises(apsw.SQLError, match="must be a number"):
            reader.pragma("graft_wait", wrong)
    with reader:
        reader.execute("DELETE FROM t")
        with pytest.raises(apsw.SQLError, match="COMMIT or ROLLBACK"):
            reader.pragma("graft_wait", "1")
    for options in ({"max_staleness_s": -1}, {"min_lsn": -1}, {"min_lsn": 1, "wait_s": -1}):
        with pytest.raises(BadRequest, match="a number"):
            volumes.connect("there", remote=None, **options)
        with pytest.raises(BadRequest):
            volumes.connect("new", **options)
    assert not volumes.path("new").exists()


def test_by_uri_and_attached(db, volumes, there):
    lsn = insert(db)
    db.execute(f"ATTACH 'file:{volumes.path('there')}?vfs=graft&min_lsn={lsn}&wait_s=5' AS there")
    assert rows(db, "SELECT count(*) FROM there.t") == [(4,)]
    db.execute("DETACH there")
    db.execute(f"ATTACH 'file:{volumes.path('there')}?vfs=graft&max_staleness_s=0' AS there")
    insert(db)
    assert rows(db, "SELECT count(*) FROM there.t") == [(5,)]
    with pytest.raises(apsw.CantOpenError, match="must be a number of seconds"):
        db.execute(f"ATTACH 'file:{volumes.path('there')}?vfs=graft&max_staleness_s=soon' AS x")


def test_the_status_tells_how_fresh(db, volumes, there):
    reader = volumes.connect("there", remote=None)
    insert(db)
    facts = json.loads(reader.pragma("graft_status", "json"))
    assert facts["lsns_behind"] == 0
    assert 0 <= facts["staleness_s"] < 600
    reader.pragma("graft_fetch")
    facts = json.loads(reader.pragma("graft_status", "json"))
    assert (facts["lsns_behind"], facts["state"]) == (1, "behind")
    assert "\nstaleness:" in reader.pragma("graft_status")


def test_a_follower_serves_the_readers_of_its_process(db, volumes, there):
    from graft.sync.poll_schedule import PollPolicy

    replica = volumes.replica("there")
    reader = volumes.connect("there", remote=None)
    with Follower(replica, PollPolicy(0.001, 0.001, 10**9)) as follower:
        insert(db)
        while rows(reader, COUNT) != [(4,)]:
            assert follower.running
    push(volumes.replica())


def test_a_new_replica_with_a_wish(db, volumes):
    lsn = push_lsn(db)
    fresh = connect(volumes.path("fresh"), remote=f"{volumes.remote}#db", min_lsn=lsn, max_staleness_s=60)
    volumes.connections.append(fresh)
    assert rows(fresh, COUNT) == [(3,)]
