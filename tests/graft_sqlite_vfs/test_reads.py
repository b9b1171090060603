"""What xRead returns, for any offset and length."""

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graft.errors import Corrupt, RemoteRefused, RemoteUnavailable
from graft.reading.snapshot import Snapshot
from graft.replica.opening import open_replica
from graft.settings import Durability
from graft.sync.pull import pull
from graft.sync.push import push
from graft.sync.time_travel import snapshot_at
from graft_sqlite_vfs import header
from graft_sqlite_vfs.file import VolumeFile
from tests.graft_sqlite_vfs.conftest import fill, in_python_only, rows


@pytest.fixture
def file(db, volumes):
    """A file of a volume of a few pages, as SQLite sees it when it holds a read lock."""
    fill(db, 30, size=1000)
    made = VolumeFile(open_replica(volumes.path()), fixed=None, durability=Durability.LOCAL)
    made.xLock(apsw.SQLITE_LOCK_SHARED)
    yield made
    made.xUnlock(apsw.SQLITE_LOCK_NONE)
    made.xClose()


def whole(file: VolumeFile) -> bytes:
    return b"".join(bytes(file.xRead(4096, offset)) for offset in range(0, file.xFileSize(), 4096))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(st.data())
def test_any_offset_and_length(file, data):
    size = file.xFileSize()
    offset = data.draw(st.one_of(st.integers(0, size + 5000), st.integers(0, 130)))
    amount = data.draw(st.integers(1, 20000))
    assert bytes(file.xRead(amount, offset)) == whole(file)[offset : offset + amount]


def test_page_one_is_shown_the_same_in_every_read(file):
    page = bytes(file.xRead(4096, 0))
    assert page == header.shown(page, header.counter_in(page))
    assert file.xRead(16, 24) == page[24:40]
    assert file.xRead(16, 24) == page[24:40]  # from memory the second time
    assert file.xRead(100, 0) == page[:100]
    assert file.xRead(4, 92) == page[92:96] == page[24:28]


def test_within_a_transaction_the_own_writes_are_read(file):
    before = whole(file)
    file.xLock(apsw.SQLITE_LOCK_RESERVED)
    written = bytearray(before[:4096])
    written[24:28] = written[92:96] = (header.counter_in(before) + 3).to_bytes(4, "big")
    file.xWrite(bytes(written), 0)
    file.xWrite(b"x" * 4096, 8192)
    assert whole(file) == bytes(written) + before[4096:8192] + b"x" * 4096 + before[12288:]
    assert file.xRead(16, 24) == written[24:40]
    file.xUnlock(apsw.SQLITE_LOCK_SHARED)
    assert whole(file) == before


def test_after_a_commit_the_file_reads_what_was_committed(file, volumes):
    before = whole(file)
    file.xLock(apsw.SQLITE_LOCK_RESERVED)
    written = bytearray(before[:4096])
    written[24:28] = written[92:96] = (header.counter_in(before) + 1).to_bytes(4, "big")
    written[60:64] = b"user"  # PRAGMA user_version
    file.xWrite(bytes(written), 0)
    assert file.xFileControl(apsw.SQLITE_FCNTL_SYNC, 0)
    expected = bytes(written) + before[4096:]
    assert file.snapshot is volumes.replica().snapshot()
    assert whole(file) == expected
    file.xUnlock(apsw.SQLITE_LOCK_SHARED)
    assert whole(file) == expected
    file.xUnlock(apsw.SQLITE_LOCK_NONE)
    file.xLock(apsw.SQLITE_LOCK_SHARED)
    assert file.xRead(16, 24) == expected[24:40]


def test_growing_and_reading_what_was_never_written(file):
    size = file.xFileSize()
    file.xLock(apsw.SQLITE_LOCK_RESERVED)
    file.xWrite(b"x" * 4096, size + 4096 * 2)
    assert file.xFileSize() == size + 4096 * 3
    assert bytes(file.xRead(4096, size)) == bytes(4096)
    file.xTruncate(size)
    assert file.xFileSize() == size
    assert bytes(file.xRead(8, size)) == b""


def test_long_values_are_read_whole(db, volumes):
    value = bytes(range(256)) * 4000
    db.execute("INSERT INTO t VALUES (9, ?)", (value,))
    for connection in (db, volumes.connect()):
        connection.execute("PRAGMA cache_size=1")
        assert connection.execute("SELECT v FROM t WHERE id = 9").get == value
        assert connection.execute("SELECT substr(v, 500001, 300) FROM t WHERE id = 9").get == value[500000:500300]
        with connection.blob_open("main", "t", "v", 9, False) as blob:
            blob.seek(123_457)
            assert blob.read(70_001) == value[123_457 : 123_457 + 70_001]


@in_python_only
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Corrupt("volume db at LSN 3, page 2: checksum"), apsw.SQLITE_IOERR_DATA),
        (RemoteUnavailable("volume db at LSN 3, page 2: no answer"), apsw.SQLITE_IOERR),
        (RemoteRefused("volume db at LSN 3, page 2: access denied"), apsw.SQLITE_IOERR_AUTH),
    ],
)
def test_errors_come_with_their_message(db, volumes, monkeypatch, error, code):
    def read(self, page, advisor=None):
        if page == 2:
            raise error
        return original(self, page, advisor)

    original = Snapshot.read
    with monkeypatch.context() as patch:
        patch.setattr(Snapshot, "read", read)
        reader = volumes.connect()
        with pytest.raises(apsw.IOError, match="volume db at LSN 3, page 2") as caught:
            rows(reader, "SELECT * FROM t")
        assert caught.value.extendedresult == code
        assert caught.value.__cause__ is error
        with pytest.raises(apsw.IOError, match="page 2"):
            reader.execute("INSERT INTO t VALUES (7, 7)")
    assert rows(reader, "SELECT count(*) FROM t") == [(3,)]


def test_a_remote_that_is_down_and_back(volumes):
    volumes.behind_store()
    source = volumes.connect()
    source.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    fill(source, 2000)
    push(volumes.replica())
    store = volumes.behind_store("clone")
    reader = volumes.connect("clone", remote=None)
    store.down = True
    with pytest.raises(apsw.IOError, match=r"volume db at LSN 1, page \d+: .*does not answer"):
        rows(reader, "SELECT sum(length(v)) FROM t")
    store.down = False
    assert rows(reader, "SELECT sum(length(v)) FROM t") == rows(source, "SELECT sum(length(v)) FROM t")
    store.down = True
    assert rows(reader, "SELECT count(*) FROM t") == [(2000,)]


def test_a_cold_reader_fetches_only_what_it_touches(volumes):
    volumes.behind_store()
    source = volumes.connect()
    source.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    fill(source, 5000)
    push(volumes.replica())
    store = volumes.behind_store("clone")
    reader = volumes.connect("clone", remote=None)
    store.calls = 0
    assert rows(reader, "SELECT id FROM t WHERE id = 2500") == [(2500,)]
    assert 0 < store.calls <= 4


class TestPast:
    @pytest.fixture
    def history(self, db, volumes):
        """LSN 1 has three rows, LSN 2 four, LSN 3 none and is vacuumed, and a local commit one."""
        replica = volumes.replica()
        push(replica)
        db.execute("INSERT INTO t VALUES (4, 'four')")
        push(replica)
        db.execute("DELETE FROM t; VACUUM")
        push(replica)
        db.execute("INSERT INTO t VALUES (1, 'again')")
        return db

    def test_versions_side_by_side(self, history, volumes):
        past = {lsn: volumes.connect(at=lsn) for lsn in (1, 2, 3)}
        for _ in range(2):
            assert [rows(past[lsn], "SELECT count(*) FROM t") for lsn in past] == [[(3,)], [(4,)], [(0,)]]
            assert rows(history, "SELECT count(*) FROM t") == [(1,)]

    def test_before_the_first_commit(self, history, volumes):
        assert rows(volumes.connect(at=0), "SELECT * FROM sqlite_schema") == []

    def test_a_moment(self, history, volumes):
        assert rows(volumes.connect(at="2999-01-02T03:04:05Z"), "SELECT count(*) FROM t") == [(0,)]

    def test_no_such_version(self, history, volumes):
        from graft.errors import NoSuchVersion

        for at in (4, "yesterday", "2000-01-01"):
            with pytest.raises(NoSuchVersion):
                volumes.connect(at=at)

    def test_it_cannot_be_written(self, history, volumes):
        past = volumes.connect(at=2)
        for sql in ("INSERT INTO t VALUES (5, 5)", "BEGIN IMMEDIATE", "CREATE TABLE x(a)", "VACUUM"):
            with pytest.raises(
                apsw.ReadOnlyError, match="volume db at LSN 2: an old version cannot be written"
            ) as caught:
                past.execute(sql)
            assert caught.value.extendedresult == apsw.SQLITE_READONLY
        past.execute("CREATE TEMP TABLE x AS SELECT * FROM t")
        assert rows(past, "SELECT count(*) FROM x") == [(4,)]

    def test_it_stays_while_the_replica_moves(self, history, volumes):
        past = volumes.connect(at=1)
        assert rows(past, "SELECT count(*) FROM t") == [(3,)]
        push(volumes.replica())
        pull(volumes.replica())
        assert rows(past, "SELECT count(*) FROM t") == [(3,)]

    def test_as_a_plain_uri(self, history, volumes):
        connection = apsw.Connection(
            f"file:{volumes.path()}?vfs=graft&at=2", flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_URI
        )
        volumes.connections.append(connection)
        assert rows(connection, "SELECT count(*) FROM t") == [(4,)]

    def test_attached_for_comparison(self, history, volumes):
        history.execute(f"ATTACH 'file:{volumes.path()}?vfs=graft&at=2' AS past")
        assert rows(history, "SELECT id FROM past.t EXCEPT SELECT id FROM main.t") == [(2,), (3,), (4,)]
        history.execute("INSERT OR REPLACE INTO t SELECT * FROM past.t")
        assert rows(history, "SELECT count(*) FROM t") == [(4,)]

    def test_snapshots_agree_with_the_api(self, history, volumes):
        snapshot = snapshot_at(volumes.replica(), 2)
        past = volumes.connect(at=2)
        assert past.pragma("page_count") == snapshot.page_count
