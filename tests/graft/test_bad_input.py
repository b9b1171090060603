"""Whatever is damaged, missing or refused: a clear error of the right kind, a replica that goes on, and never zeros."""

import contextlib
import errno
import os
import shutil
import sqlite3

import pytest

from graft.errors import (
    BadRequest,
    Corrupt,
    DiskFull,
    Diverged,
    GraftError,
    HistoryLost,
    LocalStorageError,
    NoSuchVersion,
    NoSuchVolume,
    NotAReplica,
    ReadOnly,
    RemoteRefused,
    RemoteUnavailable,
    ReplicaExists,
    StaleSnapshot,
    Unsupported,
    VolumeExists,
    WriterBusy,
)
from graft.operations.hydrate import hydrate
from graft.operations.log import log_entries
from graft.operations.status import status
from graft.operations.verify import verify
from graft.replica.opening import open_replica
from graft.sync.clone import clone, init
from graft.sync.fork import fork
from graft.sync.pull import fetch, pull
from graft.sync.push import push
from graft.sync.time_travel import snapshot_at
from pagestore.errors import StoreRefused, StoreUnavailable
from pagestore.testing import FaultyStore
from tests.graft.support import (
    as_other_process,
    begin,
    body,
    commit,
    commit_keys,
    content,
    fast_directory,
    fresh_store,
    kill,
    leave,
    new_replica,
    segment_keys,
    small_settings,
)


@pytest.fixture
def tmp_path():
    with fast_directory() as path:
        yield path


@pytest.fixture
def store():
    return FaultyStore(fresh_store())


@pytest.fixture
def writer(tmp_path, store):
    """A replica that pushed three commits; the second one has a segment of its own."""
    replica = new_replica(tmp_path / "writer", store)
    commit(replica, [1, 2, 3], "first")
    push(replica)
    replica.settings = small_settings(inline_bytes_max=0)
    commit(replica, [2, 9], "second")
    push(replica)
    replica.settings = small_settings()
    commit(replica, [3], "third")
    push(replica)
    yield replica
    leave(replica)


@pytest.fixture
def reader(tmp_path, store, writer):
    replica = clone(tmp_path / "reader", f"{store.url}#vol", settings=small_settings(), store=store)
    yield replica
    leave(replica)


def replaced(store, key, data):
    store.inner.delete(key)
    if data is not None:
        store.inner.put(key, data)


DAMAGES = {
    "deleted": lambda data: None,
    "truncated": lambda data: data[: len(data) // 2],
    "emptied": lambda data: b"",
    "zeroed": lambda data: bytes(len(data)),
    "flipped": lambda data: bytes([*data[:90], data[90] ^ 1, *data[91:]]),
}


class TestSegments:
    @pytest.mark.parametrize("damage", DAMAGES)
    def test_a_damaged_segment_is_never_read_as_zeros(self, store, reader, damage):
        (key,) = segment_keys(store)
        whole = store.get(key)
        replaced(store, key, DAMAGES[damage](whole))
        snapshot = reader.snapshot()
        for _ in range(2):
            with pytest.raises(Corrupt) as caught:
                snapshot.read(9)
            for named in ("volume vol at LSN 3", "page 9", key):
                assert named in str(caught.value)
        assert snapshot.read(1) == body(512, 1, "first")
        commit(reader, [1], "goes on")
        problems = verify(reader).problems
        assert len(problems) == 1
        assert key in problems[0]
        with pytest.raises(Corrupt):
            hydrate(reader)
        replaced(store, key, whole)
        assert snapshot.read(9) == body(512, 9, "second")
        assert not verify(reader).problems

    @pytest.mark.parametrize("place", range(0, 600, 13))
    def test_any_flipped_byte(self, store, reader, place):
        (key,) = segment_keys(store)
        data = bytearray(store.get(key))
        if place >= len(data):
            return
        data[place] ^= 0x10
        replaced(store, key, bytes(data))
        for page in (2, 9):
            with contextlib.suppress(Corrupt):  # where the byte was part of this page's frame
                assert reader.snapshot().read(page) == body(512, page, "second")

    def test_another_segment_in_its_place(self, store, writer, reader):
        (key,) = segment_keys(store)
        writer.settings = small_settings(inline_bytes_max=0)
        commit(writer, [2, 9], "other")
        push(writer)
        (other,) = set(segment_keys(store)) - {key}
        replaced(store, key, store.get(other))
        with pytest.raises(Corrupt):
            reader.snapshot().read(9)


class TestCommits:
    @pytest.mark.parametrize("damage", DAMAGES)
    def test_a_damaged_head(self, store, writer, reader, damage, tmp_path):
        commit(writer, [1], "fourth")
        push(writer)
        before = content(reader.snapshot())
        key = commit_keys(store)[0]
        whole = store.get(key)
        replaced(store, key, DAMAGES[damage](whole))
        if damage == "deleted":  # as far as the reader knows, it was never there
            assert fetch(reader).head == 3
            for use in (pull, fetch):
                with pytest.raises(HistoryLost):
                    use(writer)
        else:
            with pytest.raises(Corrupt):
                pull(reader)
            with pytest.raises(Corrupt):
                clone(tmp_path / "clone", f"{store.url}#vol", store=store)
            assert not (tmp_path / "clone").exists()
            assert verify(reader).problems
        assert content(reader.snapshot()) == before
        assert reader.snapshot().lsn == 3
        replaced(store, key, whole)
        pull(reader)
        assert content(reader.snapshot()) == content(writer.snapshot())

    def test_every_flipped_byte_of_a_head(self, store, writer, reader):
        commit(writer, [1], "fourth")
        push(writer)
        key = commit_keys(store)[0]
        whole = store.get(key)
        before = content(reader.snapshot())
        for place in range(0, len(whole), 5):
            replaced(store, key, bytes([*whole[:place], whole[place] ^ 0x40, *whole[place + 1 :]]))
            with pytest.raises((Corrupt, Unsupported)):
                pull(reader)
            assert content(reader.snapshot()) == before

    def test_another_commit_in_its_place(self, store, writer, reader):
        commit(writer, [1], "fourth")
        push(writer)
        keys = commit_keys(store)
        replaced(store, keys[0], store.get(keys[1]))
        with pytest.raises(Corrupt, match="is commit 3"):
            pull(reader)

    def test_the_head_that_the_replica_is_on_is_gone(self, store, reader):
        replaced(store, commit_keys(store)[0], None)
        before = content(reader.snapshot())
        for use in (pull, fetch):
            with pytest.raises(HistoryLost, match="left as it is"):
                use(reader)
        assert content(reader.snapshot()) == before

    def test_a_head_that_was_only_seen_is_gone(self, store, writer, reader):
        for number in range(3):
            commit(writer, [1], f"more {number}")
            push(writer)
        assert fetch(reader).head == 6
        replaced(store, commit_keys(store)[0], None)
        with pytest.raises(HistoryLost):
            pull(reader)
        assert reader.snapshot().lsn == 3

    def test_a_hole(self, store, writer, tmp_path):
        commit(writer, range(1, 41), "wide")
        for number in range(4):
            push(writer)
            commit(writer, [1], f"more {number}")
        replaced(store, commit_keys(store)[1], None)
        assert [entry.commit.lsn for entry in writer.view().state.chain] == [7, 6, 4]
        with pytest.raises(HistoryLost):
            clone(tmp_path / "clone", f"{store.url}#vol", store=store)
        with pytest.raises(HistoryLost):
            list(log_entries(writer))
        assert verify(writer).problems

    @pytest.mark.parametrize("what", ["commit", "segment", "volume"])
    def test_a_newer_version(self, store, writer, reader, what, tmp_path):
        if what == "volume":
            key = "volumes/vol"
            replaced(store, key, store.get(key).replace(b'"format":2', b'"format":4'))
            with pytest.raises(Unsupported, match="upgrade"):
                clone(tmp_path / "clone", f"{store.url}#vol", store=store)
            return
        commit(writer, [1], "fourth")
        push(writer)
        key = commit_keys(store)[0] if what == "commit" else segment_keys(store)[0]
        data = bytearray(store.get(key))
        if what == "commit":
            data[8] = 2
            replaced(store, key, bytes(data))
            with pytest.raises(Unsupported, match="upgrade"):
                pull(reader)
        else:  # a frame that names a codec of the future
            data[40] = 77
            replaced(store, key, bytes(data))
            with pytest.raises(Unsupported, match="page 2"):
                reader.snapshot().read(2)
        assert reader.snapshot().lsn == 3
        assert reader.snapshot().read(1) == body(512, 1, "first")


class TestStores:
    def test_down(self, store, writer, reader, tmp_path):
        store.down = True
        commit(reader, [1], "offline")
        assert reader.snapshot().read(1) == body(512, 1, "offline")
        assert status(reader).state == "ahead"
        for use in (push, pull, fetch, verify, hydrate, lambda replica: fork(replica, "f")):
            with pytest.raises(RemoteUnavailable):
                use(reader)
        with pytest.raises(RemoteUnavailable, match="page 9"):
            reader.snapshot().read(9)
        with pytest.raises(RemoteUnavailable):
            clone(tmp_path / "clone", f"{store.url}#vol", store=store)
        assert not (tmp_path / "clone").exists()
        store.down = False
        push(reader)
        assert reader.snapshot().read(9) == body(512, 9, "second")

    def test_credentials_expired(self, store, writer, reader):
        commit(reader, [1], "second")

        def refused(*_, **__):
            raise StoreRefused("ExpiredToken: the provided token has expired")

        for method, use in (("put_if_absent", push), ("list", fetch), ("list", pull)):
            store.fail_next(method, refused)
            with pytest.raises(RemoteRefused, match="ExpiredToken"):
                use(reader)
        push(reader)
        pull(writer)
        assert content(writer.snapshot()) == content(reader.snapshot())

    def test_another_bucket(self, tmp_path, writer):
        """The same name, another volume: nothing of it is taken for ours."""
        other = fresh_store()
        stranger = new_replica(tmp_path / "stranger", other)
        commit(stranger, [1], "strange")
        push(stranger)
        leave(stranger)
        path = writer.path
        before = content(writer.snapshot())
        commit(writer, [1], "mine")
        leave(writer)
        moved = as_other_process(path, other)
        for use in (fetch, lambda replica: pull(replica, policy="discard")):
            with pytest.raises(HistoryLost):
                use(moved)
        assert content(moved.snapshot())[512:] == before[512:]
        leave(moved)
        open_replica(path, settings=small_settings(), store=writer.remote.store)

    def test_names(self, store, writer, tmp_path):
        with pytest.raises(NoSuchVolume):
            clone(tmp_path / "clone", f"{store.url}#other", store=store)
        with pytest.raises(VolumeExists):
            init(tmp_path / "clone", f"{store.url}#vol", store=store)
        with pytest.raises(VolumeExists):
            fork(writer, "vol")
        with pytest.raises(BadRequest):
            fork(writer, "no/name")
        with pytest.raises(BadRequest):
            clone(tmp_path / "clone", f"{store.url}#no/name", store=store)
        assert not (tmp_path / "clone").exists()
        with pytest.raises(ReplicaExists):
            clone(writer.path, f"{store.url}#vol", store=store)
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "file").touch()
        with pytest.raises(ReplicaExists):
            clone(tmp_path / "full", f"{store.url}#vol", store=store)
        with pytest.raises(BadRequest, match="page size"):
            init(tmp_path / "clone", f"{store.url}#third", page_size=1000, store=store)
        with pytest.raises(BadRequest, match="policy"):
            pull(writer, policy="mingle")
        with pytest.raises(BadRequest, match="name"):
            pull(writer, policy="fork")

    def test_versions(self, store, writer):
        for at in (4, -1, "99", "yesterday", "1999-01-01"):
            with pytest.raises(NoSuchVersion):
                snapshot_at(writer, at)
        with pytest.raises(StaleSnapshot):
            writer.begin(snapshot_at(writer, 1))


class TestDirectories:
    def test_not_a_replica(self, tmp_path):
        with pytest.raises(NotAReplica):
            open_replica(tmp_path)
        with pytest.raises(NotAReplica):
            open_replica(tmp_path / "absent")

    @pytest.mark.parametrize("data", [b"", b"garbage " * 1000, b"SQLite format 3\0" + bytes(4080)])
    def test_a_state_that_is_none(self, store, writer, data):
        path = writer.path
        leave(writer)
        (path / "state.db").rename(path / "kept")
        for suffix in ("-wal", "-shm"):
            (path / f"state.db{suffix}").unlink(missing_ok=True)
        (path / "state.db").write_bytes(data)
        for _ in range(2):  # and it holds no lock that would stop the next try
            with pytest.raises(Corrupt, match=r"state\.db"):
                open_replica(path, store=store)
        for suffix in ("-wal", "-shm"):
            (path / f"state.db{suffix}").unlink(missing_ok=True)
        (path / "kept").replace(path / "state.db")
        open_replica(path, settings=small_settings(), store=store)

    @pytest.mark.parametrize(
        "statement",
        [
            "DELETE FROM commits",
            "DELETE FROM identity",
            "DELETE FROM sync",
            "UPDATE sync SET lsn = lsn - 1",
            "UPDATE commits SET head = x'00'",
            "UPDATE identity SET log = 'x'",
            "DROP TABLE commits",
        ],
    )
    def test_a_state_that_lost_rows(self, store, writer, statement):
        path = writer.path
        leave(writer)
        with sqlite3.connect(path / "state.db", isolation_level=None) as database:
            database.execute(statement)
        database.close()
        with pytest.raises(Corrupt):
            open_replica(path, store=store)
        leave_nothing(writer)

    def test_a_newer_state(self, store, writer):
        path = writer.path
        leave(writer)
        with sqlite3.connect(path / "state.db", isolation_level=None) as database:
            database.execute("PRAGMA user_version = 99")
        database.close()
        with pytest.raises(Unsupported, match="upgrade"):
            open_replica(path, store=store)
        leave_nothing(writer)

    def test_counters_of_another_version(self, store, writer):
        path = writer.path
        leave(writer)
        (path / "shared").write_bytes(b"grftshr9" + bytes(4088))
        with pytest.raises(Unsupported):
            open_replica(path, store=store)
        leave_nothing(writer)

    def test_a_directory_that_cannot_be_written(self, store, writer, monkeypatch):
        path = writer.path
        leave(writer)
        real = os.open

        def refusing(name, flags, *rest, **options):
            if str(name).startswith(str(path)) and flags & (os.O_CREAT | os.O_RDWR | os.O_WRONLY):
                raise PermissionError(errno.EROFS, "Read-only file system", str(name))
            return real(name, flags, *rest, **options)

        with monkeypatch.context() as patch:
            patch.setattr(os, "open", refusing)
            with pytest.raises(LocalStorageError, match="Read-only"):
                open_replica(path, store=store)
        open_replica(path, settings=small_settings(), store=store)

    def test_an_old_copy_put_back(self, store, writer, reader, tmp_path):
        """Nothing of the remote is lost; what the copy had not pushed counts as a commit of its own."""
        path = writer.path
        commit(writer, [1], "pushed later")
        pending = content(writer.snapshot())
        leave(writer)
        shutil.copytree(path, tmp_path / "backup")
        again = open_replica(path, settings=small_settings(), store=store)
        push(again)
        commit(again, [2], "after the copy")
        push(again)
        newest = content(again.snapshot())
        leave(again)
        shutil.rmtree(path)
        (tmp_path / "backup").rename(path)
        old = open_replica(path, settings=small_settings(), store=store)
        assert content(old.snapshot()) == pending
        with pytest.raises(Diverged):
            push(old)
        with pytest.raises(Diverged):
            pull(old)
        assert content(old.snapshot()) == pending
        assert pull(old, policy="discard").discarded_commits == 1
        assert content(old.snapshot()) == newest
        commit(old, [3], "goes on")
        push(old)
        pull(reader)
        assert content(reader.snapshot()) == content(old.snapshot())

    def test_an_old_copy_with_an_open_push(self, store, writer, reader, tmp_path):
        """Its push had landed after the copy was made: it is recognised."""
        path = writer.path
        commit(writer, [1], "fourth")

        def lost(*_):
            raise StoreUnavailable("no route to host")

        store.fail_next("put_if_absent", lost)
        store.fail_next("get_range", lost)
        with pytest.raises(RemoteUnavailable):
            push(writer)
        leave(writer)
        shutil.copytree(path, tmp_path / "backup")
        again = open_replica(path, settings=small_settings(), store=store)
        push(again)
        leave(again)
        shutil.rmtree(path)
        (tmp_path / "backup").rename(path)
        old = open_replica(path, settings=small_settings(), store=store)
        assert push(old).after == 4
        assert [entry.lsn for entry in log_entries(old)] == [4, 3, 2, 1]


class TestCaches:
    def test_a_full_disk_serves_from_memory(self, store, reader, monkeypatch):
        from graft.cache import files as cache_files

        hits = []

        def full(*_):
            hits.append(1)
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(cache_files, "write_all", full)
            assert reader.snapshot().read(9) == body(512, 9, "second")
            reader.bodies.flush()
            assert hits
            store.down = True
            assert reader.snapshot().read(9) == body(512, 9, "second")
            store.down = False
            commit(reader, [1], "fourth")
            push(reader)
            pull(reader)
        assert reader.snapshot().read(1) == body(512, 1, "fourth")
        assert reader.snapshot().read(2) == body(512, 2, "second")

    def test_memory_holds_only_the_newest(self, store, writer, reader, monkeypatch):
        from graft.reading import write_behind

        monkeypatch.setattr(write_behind, "_MEMORY_BYTES_MAX", 600)
        monkeypatch.setattr(reader.cache, "put", raising(DiskFull("full")))
        for _ in range(2):
            for page in (1, 2, 3, 9):
                assert reader.snapshot().read(page) == writer.snapshot().read(page)
        assert sum(body is not None for body in reader.table.bodies) <= 2

    @pytest.mark.parametrize("name", ["index.db", "00000001.frames"])
    def test_a_damaged_cache(self, store, reader, name, writer):
        for page in (1, 2, 3, 9):
            reader.snapshot().read(page)
        path = reader.path
        leave(reader)
        for found in (path / "cache").glob("index.db-*"):
            found.unlink()
        data = bytearray((path / "cache" / name).read_bytes())
        for place in range(0, len(data), 50):
            data[place] ^= 0xFF
        (path / "cache" / name).write_bytes(data)
        again = open_replica(path, settings=small_settings(), store=store)
        assert content(again.snapshot()) == content(writer.snapshot())

    def test_an_index_that_breaks_while_in_use(self, store, reader, writer):
        for page in (1, 9):
            reader.snapshot().read(page)
        path = reader.path
        leave(reader)
        with sqlite3.connect(path / "cache" / "index.db", isolation_level=None) as database:
            (root,) = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'frames'").fetchone()
            database.execute("PRAGMA journal_mode = DELETE")
        database.close()
        with (path / "cache" / "index.db").open("r+b") as file:
            file.seek((root - 1) * 4096)
            file.write(b"\xff" * 4096)
        for _ in range(2):
            again = open_replica(path, settings=small_settings(), store=store)
            assert content(again.snapshot()) == content(writer.snapshot())
            leave(again)
        again = open_replica(path, settings=small_settings(), store=store)
        assert again.cache.use().frames

    def test_removed_while_in_use(self, store, reader, writer):
        reader.snapshot().read(1)
        shutil.rmtree(reader.path / "cache")
        assert content(reader.snapshot()) == content(writer.snapshot())
        commit(reader, [4], "fourth")
        push(reader)


class TestLocks:
    def test_one_writer(self, store, writer):
        other = as_other_process(writer.path, store)
        with begin(other):
            for replica in (writer, other):
                with pytest.raises(WriterBusy):
                    replica.begin(replica.snapshot())
            commit_elsewhere = content(writer.snapshot())
            assert commit_elsewhere
            push(writer)
        stale = writer.snapshot()
        commit(other, [1], "fourth")
        with pytest.raises(StaleSnapshot):
            writer.begin(stale)
        leave(other)

    def test_a_pull_beside_an_open_transaction(self, store, writer, reader):
        commit(writer, [1], "fourth")
        push(writer)
        with begin(reader) as transaction:
            transaction.write(1, body(512, 1, "mine"))
            with pytest.raises(WriterBusy):
                pull(reader)
            transaction.commit()
        with pytest.raises(Diverged):
            pull(reader)

    def test_two_pushes_at_once(self, store, writer):
        other = as_other_process(writer.path, store)
        commit(writer, [1], "fourth")
        with writer.sync_lock.held(0), pytest.raises(WriterBusy, match="push or pull"):
            push(other)
        assert push(other).after == 4
        leave(other)

    def test_closing_with_an_open_transaction(self, store, writer):
        transaction = begin(writer)
        path = writer.path
        writer.close()
        transaction.close()
        with open_replica(path, settings=small_settings(), store=store) as again:
            commit(again, [1], "fourth")
        open_replica(path, settings=small_settings(), store=store)


def test_every_error_is_one_of_ours():
    assert issubclass(ReadOnly, BadRequest)
    assert all(issubclass(kind, GraftError) for kind in (Corrupt, DiskFull, WriterBusy, RemoteRefused))


def leave_nothing(replica):
    """The fixture's closing has nothing to do any more."""
    replica.close = lambda: None


def raising(error):
    def fail(*_, **__):
        raise error

    return fail


@pytest.fixture(autouse=True)
def close_all():
    """What tests opened again."""
    yield
    from graft.replica import opening as module

    for replica in list(module._open):
        kill(replica)
