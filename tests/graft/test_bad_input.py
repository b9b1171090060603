"""Bad input: each kind gets an error of the right class, nothing is lost, and the replica stays usable."""

import errno
import os
import shutil
import sqlite3

import pytest

from graft.clone import clone, init
from graft.errors import (
    BadRequest,
    Corrupt,
    DiskFull,
    Diverged,
    HistoryLost,
    LocalStorageError,
    NoSuchVersion,
    NoSuchVolume,
    NotAReplica,
    ReplicaExists,
    Unsupported,
    VolumeExists,
)
from graft.pull import fetch, pull
from graft.push import push
from graft.replica import open_replica
from graft.timetravel import snapshot_at
from graft.verify import verify
from tests.graft.support import (
    body,
    commit,
    commit_keys,
    content,
    fresh_store,
    leave,
    new_replica,
    segment_keys,
    small_settings,
)

PAGE = 512


@pytest.fixture
def store():
    return fresh_store()


@pytest.fixture
def writer(tmp_path, store):
    """A replica that has pushed 40 pages as a segment of its own (LSN 1)."""
    with new_replica(tmp_path / "writer", store, inline_bytes_max=0) as replica:
        commit(replica, range(1, 41), "first")
        push(replica)
        yield replica


def cloned(tmp_path, store, name="reader"):
    return clone(tmp_path / name, f"{store.url}#vol", store=store, settings=small_settings())


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


DAMAGE = {
    "flipped": lambda data: flipped(data, len(data) // 2),
    "flipped early": lambda data: flipped(data, 60),
    "truncated": lambda data: data[: len(data) // 2],
    "empty": lambda _: b"",
    "zeros": lambda data: bytes(len(data)),
    "other": lambda data: data[::-1],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_segment_is_never_served(tmp_path, store, writer, damage):
    (key,) = segment_keys(store)
    good = store.get(key)
    with cloned(tmp_path, store) as reader:
        store.put(key, DAMAGE[damage](good))
        snapshot, failed = reader.snapshot(), []
        for page in range(1, 41):
            try:
                assert snapshot.read(page) == body(PAGE, page, "first")
            except (Corrupt, Unsupported) as error:  # random bytes may claim to be from the future
                failed.append((page, str(error)))
        assert all(f"volume vol at LSN 1, page {page}:" in message for page, message in failed)
        assert failed
        assert verify(reader).problems
        store.put(key, good)
        assert content(reader.snapshot()) == content(writer.snapshot())
        assert not verify(reader).problems


def test_a_missing_segment(tmp_path, store, writer):
    (key,) = segment_keys(store)
    good = store.get(key)
    with cloned(tmp_path, store) as reader:
        store.delete(key)
        with pytest.raises(Corrupt, match=r"volume vol at LSN 1, page 7.*does not exist"):
            reader.snapshot().read(7)
        store.put(key, good)
        assert reader.snapshot().read(7) == body(PAGE, 7, "first")


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_commit_stops_pulls_and_clones(tmp_path, store, writer, damage):
    with cloned(tmp_path, store) as reader:
        before = content(reader.snapshot())
        commit(writer, [3, 4], "second")
        push(writer)
        key = commit_keys(store)[0]
        good = store.get(key)
        store.put(key, DAMAGE[damage](good))
        with pytest.raises(Corrupt, match="commit 2"):
            pull(reader)
        with pytest.raises(Corrupt, match="commit 2"):
            cloned(tmp_path, store, "another")
        assert not (tmp_path / "another").exists()
        assert content(reader.snapshot()) == before
        store.put(key, good)
        assert pull(reader).after == 2
        assert content(reader.snapshot()) == content(writer.snapshot())


def test_a_deleted_head_is_noticed_and_not_written_over(tmp_path, store, writer):
    commit(writer, [3], "second")
    push(writer)
    with cloned(tmp_path, store) as reader:
        key = commit_keys(store)[0]
        good = store.get(key)
        store.delete(key)
        for act in (pull, fetch):
            with pytest.raises(HistoryLost, match="ends at LSN 1, but LSN 2"):
                act(reader)
        with pytest.raises(HistoryLost):
            pull(writer)
        store.put(key, good)
        assert pull(reader).after == 2


def test_a_hole_in_the_log(tmp_path, store, writer):
    with cloned(tmp_path, store) as reader:
        for n in range(2, 7):
            commit(writer, [n], f"push {n}")
            push(writer)
        key = next(key for key in commit_keys(store) if key.endswith("fffb"))  # LSN 4, on the way to 6
        store.delete(key)
        with pytest.raises(HistoryLost, match="does not exist"):
            pull(reader)
        assert content(reader.snapshot()) == b"".join(body(PAGE, page, "first") for page in range(1, 41))


def test_another_volumes_commit_in_its_place(tmp_path, store, writer):
    with init(tmp_path / "foreign", f"{store.url}#foreign", page_size=PAGE, store=store) as foreign:
        commit(foreign, range(1, 5), "foreign")
        push(foreign)
        foreign_key = next(key for key in commit_keys(store) if str(foreign.log) in key)
    own_key = next(key for key in commit_keys(store) if str(writer.log) in key)
    store.put(own_key, store.get(foreign_key))
    with pytest.raises(Corrupt, match=str(writer.log)):
        cloned(tmp_path, store)


@pytest.mark.parametrize(("kind", "at"), [("logs/", 8), ("segments/", 8)])
def test_a_newer_format_in_the_remote(tmp_path, store, writer, kind, at):
    key = next(info.key for info in store.list(kind))
    data = bytearray(store.get(key))
    if kind == "logs/":
        data[at] = 99
        store.put(key, bytes(data))
        with pytest.raises(Unsupported, match="upgrade"):
            cloned(tmp_path, store)
        assert not (tmp_path / "reader").exists()
        return
    data[at] = 99
    store.put(key, bytes(data))
    with cloned(tmp_path, store) as reader:
        assert reader.snapshot().read(1) == body(PAGE, 1, "first")  # frames vouch for themselves


def test_a_newer_volume_record(tmp_path, store, writer):
    key = "volumes/vol"
    store.put(key, store.get(key).replace(b'"format":1', b'"format":2'))
    with pytest.raises(Unsupported, match="upgrade"):
        cloned(tmp_path, store)


def test_a_newer_state(tmp_path, store, writer):
    with cloned(tmp_path, store) as reader:
        path = reader.path
    database = sqlite3.connect(path / "state.db")
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(Unsupported, match="upgrade"):
        open_replica(path, store=store)


def test_a_state_that_is_garbage(tmp_path, store, writer):
    with cloned(tmp_path, store) as reader:
        path = reader.path
    for name in ("state.db", "state.db-wal", "state.db-shm"):
        (path / name).unlink(missing_ok=True)
    (path / "state.db").write_bytes(os.urandom(8192))
    with pytest.raises(Corrupt, match=r"state\.db"):
        open_replica(path, store=store)


def test_a_cache_that_is_garbage_is_as_good_as_none(tmp_path, store, writer):
    with cloned(tmp_path, store) as reader:
        content(reader.snapshot())
        path = reader.path
    for found in (path / "cache").iterdir():
        found.write_bytes(os.urandom(8192))
    with open_replica(path, store=store, settings=small_settings()) as reader:
        assert content(reader.snapshot()) == content(writer.snapshot())
    shutil.rmtree(path / "cache")
    with open_replica(path, store=store, settings=small_settings()) as reader:
        assert content(reader.snapshot()) == content(writer.snapshot())


def test_flipped_bits_in_the_cache_are_fetched_again(tmp_path, store, writer):
    with cloned(tmp_path, store) as reader:
        content(reader.snapshot())
        path = reader.path
    for found in (path / "cache").glob("*.frames"):
        found.write_bytes(flipped(found.read_bytes(), 700))
    with open_replica(path, store=store, settings=small_settings()) as reader:
        assert content(reader.snapshot()) == content(writer.snapshot())


@pytest.mark.parametrize("large", [False, True])
def test_a_full_disk_in_a_commit(tmp_path, store, monkeypatch, large):
    with new_replica(tmp_path / "r", store) as replica:
        commit(replica, [1, 2], "first")
        before = content(replica.snapshot())

        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", full)
            patch.setattr(os, "pwritev", full)
            with pytest.raises(DiskFull, match="No space left"):
                commit(replica, range(1, 200 if large else 3), "second")
        assert content(replica.snapshot()) == before
        commit(replica, [2], "third")
        assert content(replica.snapshot()) == body(PAGE, 1, "first") + body(PAGE, 2, "third")
        push(replica)
        path = replica.path
    with open_replica(path, store=store) as replica:
        assert content(replica.snapshot()) == body(PAGE, 1, "first") + body(PAGE, 2, "third")
    assert not list((path / "journal").glob("*.tmp"))


def test_a_full_disk_under_the_cache_does_not_stop_reading(tmp_path, store, writer, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with cloned(tmp_path, store) as reader, monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", full)
        patch.setattr(os, "pwrite", full)
        assert content(reader.snapshot()) == content(writer.snapshot())


def test_a_read_only_directory(tmp_path, store, monkeypatch):
    def refused(*_args, **_kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "mkdir", refused)
        with pytest.raises(LocalStorageError, match="Permission denied"):
            init(tmp_path / "new", f"{store.url}#vol", store=store)
    with init(tmp_path / "new", f"{store.url}#vol", store=store) as replica:
        path = replica.path
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refused)
        with pytest.raises(LocalStorageError, match="Permission denied"):
            open_replica(path, store=store)


def test_names_and_paths_that_cannot_be(tmp_path, store, writer):
    (tmp_path / "file").write_text("not a directory")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    for path in ("file", "full", "writer"):
        with pytest.raises(ReplicaExists):
            clone(tmp_path / path, f"{store.url}#vol", store=store)
    assert (tmp_path / "full" / "mine").read_text() == "mine"
    with pytest.raises(NoSuchVolume, match="nope"):
        clone(tmp_path / "x", f"{store.url}#nope", store=store)
    assert not (tmp_path / "x").exists()
    with pytest.raises(VolumeExists):
        init(tmp_path / "x", f"{store.url}#vol", store=store)
    with pytest.raises(BadRequest, match="page size"):
        init(tmp_path / "x", f"{store.url}#other", page_size=1000, store=store)
    with pytest.raises(BadRequest, match="volume name"):
        init(tmp_path / "x", f"{store.url}#a/b", store=store)
    with pytest.raises(BadRequest):
        clone(tmp_path / "x", "ftp://somewhere#vol")
    with pytest.raises(NotAReplica, match="graft clone"):
        open_replica(tmp_path / "full")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("at", [2, -1, "yesterday", "2001-01-01T00:00:00Z"])
def test_versions_that_are_not_there(writer, at):
    with pytest.raises(NoSuchVersion):
        snapshot_at(writer, at)


def test_an_old_copy_of_the_directory_put_back(tmp_path, store, writer):
    commit(writer, [5], "unpushed")
    path = writer.path
    leave(writer)
    shutil.copytree(path, tmp_path / "old")
    with open_replica(path, store=store, settings=small_settings()) as replica:
        push(replica)
        commit(replica, [6], "later")
        push(replica)
        newest = content(replica.snapshot())
    shutil.rmtree(path)
    shutil.copytree(tmp_path / "old", path)
    with open_replica(path, store=store, settings=small_settings()) as replica:
        with pytest.raises(Diverged):
            push(replica)
        with pytest.raises(Diverged):
            pull(replica)
        assert replica.snapshot().read(5) == body(PAGE, 5, "unpushed")
        pull(replica, policy="discard")
        assert content(replica.snapshot()) == newest
