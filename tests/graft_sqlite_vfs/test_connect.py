"""Opening, cloning and making volumes by `connect` and by URI."""

import gc
import subprocess
import sys
import traceback
from datetime import UTC, datetime

import apsw
import pytest

from graft.errors import (
    BadRequest,
    NoSuchVersion,
    NoSuchVolume,
    NotAReplica,
    OtherVolume,
    RemoteRefused,
    RemoteUnavailable,
    ReplicaExists,
)
from graft.replica import opening
from graft.replica.opening import open_replica
from graft.settings import Settings
from graft_sqlite_vfs import connect
from pagestore.errors import StoreRefused, StoreUnavailable
from pagestore.stores.memory import MemoryStore
from tests.graft_sqlite_vfs.conftest import rows


def test_a_new_volume(volumes):
    db = volumes.connect("airports.graft")
    assert volumes.replica("airports.graft").name == "airports"
    assert rows(db, "SELECT * FROM sqlite_schema") == []
    assert volumes.commits("airports.graft") == 0


def test_an_existing_volume_is_cloned(db, volumes):
    db.pragma("graft_push")
    other = volumes.connect("elsewhere", remote="#db")
    assert rows(other, "SELECT count(*) FROM t") == [(3,)]


def test_an_existing_replica_needs_no_remote(db, volumes):
    assert rows(volumes.connect(remote=None), "SELECT count(*) FROM t") == [(3,)]
    assert rows(volumes.connect(remote="#db"), "SELECT count(*) FROM t") == [(3,)]


def test_no_replica_and_no_remote(volumes, tmp_path):
    with pytest.raises(NotAReplica, match="pass the volume's address"):
        connect(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_another_volume(db, volumes):
    with pytest.raises(OtherVolume, match=f"{volumes.remote}#db, not of {volumes.remote}#x"):
        volumes.connect(remote="#x")
    with pytest.raises(OtherVolume):
        connect(volumes.path(), remote="memory://somewhere-else")


def test_a_file_in_the_way(volumes, tmp_path):
    (tmp_path / "file").write_text("important")
    with pytest.raises(ReplicaExists):
        volumes.connect("file")
    with pytest.raises(NotAReplica):
        volumes.connect("file", remote=None)
    assert (tmp_path / "file").read_text() == "important"


def test_the_past_of_a_volume_that_does_not_exist(volumes):
    with pytest.raises(NoSuchVolume):
        volumes.connect(at=1)
    assert not volumes.path().exists()


@pytest.mark.parametrize("page_size", [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536])
def test_page_sizes(volumes, page_size):
    db = volumes.connect(page_size=page_size)
    assert db.pragma("page_size") == page_size
    db.execute("CREATE TABLE t(v); INSERT INTO t VALUES (zeroblob(200000))")
    assert volumes.replica().snapshot().byte_size == db.pragma("page_size") * db.pragma("page_count")
    with pytest.raises(BadRequest, match=f"pages of {page_size} bytes, not 1$"):
        volumes.connect(page_size=1)


def test_bad_page_sizes(volumes):
    for page_size in (1000, 256, 131072):
        with pytest.raises(BadRequest, match="page size"):
            volumes.connect(page_size=page_size)
    assert not volumes.path().exists()


def test_a_plain_connection_to_an_empty_volume_of_another_page_size(volumes):
    volumes.connect(page_size=8192).close()
    db = apsw.Connection(str(volumes.path()), vfs="graft")
    volumes.connections.append(db)
    db.execute("CREATE TABLE t(v); INSERT INTO t VALUES (1)")
    assert db.pragma("page_size") == 8192
    assert rows(volumes.connect(), "SELECT * FROM t") == [(1,)]


def test_auto_vacuum_of_an_empty_volume_of_another_page_size(volumes):
    # SQLite believes that the volume has its first page already; VACUUM applies the setting.
    db = volumes.connect(page_size=8192)
    db.execute("PRAGMA auto_vacuum=FULL; CREATE TABLE t(v); VACUUM")
    assert db.pragma("auto_vacuum") == 1
    db.execute("INSERT INTO t VALUES (zeroblob(1000000)); DELETE FROM t")
    assert volumes.replica().snapshot().page_count == db.pragma("page_count") < 10


def test_times(db, volumes):
    db.pragma("graft_push")
    now = datetime.now(UTC)
    db.execute("DELETE FROM t; PRAGMA graft_push")
    assert rows(volumes.connect(at=now), "SELECT count(*) FROM t") == [(3,)]
    assert rows(volumes.connect(at=now.isoformat()), "SELECT count(*) FROM t") == [(3,)]
    assert rows(volumes.connect(at="1"), "SELECT count(*) FROM t") == [(3,)]
    with pytest.raises(NoSuchVersion, match="LSN 0 to 2, not 3"):
        volumes.connect(at=3)


def test_durability_is_checked(volumes):
    with pytest.raises(BadRequest, match="use local, relaxed, remote"):
        volumes.connect(durability="forever")


def test_settings_count(volumes):
    volumes.connect(settings=Settings(spill_bytes=7))
    assert volumes.replica().settings.spill_bytes == 7


def test_awkward_names(volumes):
    for name in ("with space", "percent%20", "quest?ion&vfs=unix", "hash#tag", "ünïcode"):
        db = volumes.connect(name, remote="#x" + str(len(volumes.connections)))
        db.execute("CREATE TABLE t(v)")
        assert volumes.path(name).is_dir()


def test_relative_paths(volumes, monkeypatch):
    monkeypatch.chdir(volumes.directory)
    db = connect("relative", remote=volumes.remote)
    volumes.connections.append(db)
    volumes.connect("other").execute("CREATE TABLE o(v)")
    db.execute("ATTACH 'other' AS other; INSERT INTO o VALUES (1)")
    db.execute("ATTACH 'file:other?vfs=graft' AS again")
    assert rows(db, "SELECT * FROM again.o") == [(1,)]


def test_through_a_link(db, volumes):
    volumes.path("link").symlink_to(volumes.path())
    linked = volumes.connect("link", remote=None)
    linked.execute("INSERT INTO t VALUES (4, 'four')")
    assert rows(db, "SELECT count(*) FROM t") == [(4,)]


def test_read_only_flags(db, volumes):
    reader = volumes.connect(flags=apsw.SQLITE_OPEN_READONLY)
    assert rows(reader, "SELECT count(*) FROM t") == [(3,)]
    with pytest.raises(apsw.ReadOnlyError):
        reader.execute("DELETE FROM t")


def test_closing_gives_the_replica_back(db, volumes):
    path = volumes.path().resolve()
    second = volumes.connect()
    db.close()
    assert opening.opened_at(path)
    second.close()
    gc.collect()
    assert not opening.opened_at(path)


def test_a_failed_open_gives_the_replica_back(volumes):
    volumes.connect().close()
    with pytest.raises(NoSuchVersion):
        volumes.connect(at=5)
    assert not opening.opened_at(volumes.path().resolve())


def test_by_plain_uri(db, volumes):
    with pytest.raises(apsw.CantOpenError, match="not a replica"):
        apsw.Connection(f"file:{volumes.path('no')}?vfs=graft", flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_URI)
    with pytest.raises(apsw.CantOpenError, match="LSN 0 to 0, not 7"):
        apsw.Connection(
            f"file:{volumes.path()}?vfs=graft&at=7", flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_URI
        )
    plain = apsw.Connection(str(volumes.path()), vfs="graft")
    volumes.connections.append(plain)
    plain.execute("INSERT INTO t VALUES (4, 'four')")
    assert rows(db, "SELECT count(*) FROM t") == [(4,)]


def test_a_connection_left_open_at_exit(volumes):
    program = (
        "import sys\n"
        "from graft_sqlite_vfs import connect\n"
        "c = connect(sys.argv[1], remote=sys.argv[2])\n"
        "c.execute('CREATE TABLE t(v); INSERT INTO t VALUES (1); BEGIN; INSERT INTO t VALUES (2)')\n"
    )
    path, remote = volumes.path("left"), volumes.path("bucket")
    done = subprocess.run([sys.executable, "-c", program, path, remote], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    db = connect(path)
    volumes.connections.append(db)
    assert rows(db, "SELECT * FROM t") == [(1,)]


def test_the_replica_may_be_open_already(db, volumes):
    with open_replica(volumes.path()) as replica:
        version = replica.snapshot().content_version
        db.execute("INSERT INTO t VALUES (4, 'four')")
        assert replica.snapshot().content_version == version + 1


def exceptions_in(traceback_text):
    return 1 + traceback_text.count("\nThe above exception") + traceback_text.count("\nDuring handling of")


@pytest.mark.parametrize(
    ("arguments", "raised"),
    [
        ({"remote": "ftp://host/x#app"}, BadRequest),
        ({"remote": "s3:/bucket/x#app"}, BadRequest),
        ({"remote": "memory://chains#a/b"}, BadRequest),
        ({"remote": "memory://chains#app", "page_size": 1000}, BadRequest),
        ({"remote": "memory://chains#app", "at": 1}, NoSuchVolume),
        ({"remote": "memory://down#app"}, RemoteUnavailable),
        ({"remote": "memory://down#app", "at": 1}, RemoteUnavailable),
        ({"remote": "memory://forbidden#app"}, RemoteRefused),
        ({}, NotAReplica),
    ],
    ids=str,
)
def test_an_error_is_told_once(tmp_path, monkeypatch, arguments, raised):
    """A traceback of `connect` is one exception: those below would say the same words again."""

    def get(store, key):
        for name, kind in (("down", StoreUnavailable), ("forbidden", StoreRefused)):
            if name in store.url:
                try:
                    raise OSError("the client's own")
                except OSError as error:
                    raise kind(f"bucket {name}: these are the server's words") from error
        return real(store, key)

    real = MemoryStore.get
    monkeypatch.setattr(MemoryStore, "get", get)
    with pytest.raises(raised) as caught:
        connect(tmp_path / "new", **arguments)
    text = "".join(traceback.format_exception(caught.value))
    assert exceptions_in(text) == 1, text
    if raised in {RemoteUnavailable, RemoteRefused}:
        assert "these are the server's words" in str(caught.value)
