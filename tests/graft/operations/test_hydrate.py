"""Hydrate says that everything is here only where the cache has every page, on the disk."""

import errno
import sqlite3

import pytest

from graft.cache import files as cache_files
from graft.errors import BadRequest, DiskFull
from graft.operations.hydrate import hydrate
from graft.replica import state
from graft.sync.clone import clone
from graft.sync.push import push
from tests.graft.support import as_other_process, body, commit, fresh_store, leave, new_replica, small_settings

PAGES = range(1, 81)


@pytest.fixture
def store(tmp_path):
    store = fresh_store()
    writer = new_replica(tmp_path / "writer", store, inline_bytes_max=0)
    commit(writer, PAGES, "first")
    push(writer)
    leave(writer)
    return store


@pytest.fixture
def reader(tmp_path, store):
    path = tmp_path / "reader"
    clone(path, f"{store.url}#vol", settings=small_settings(cache_bytes_max=1 << 20), store=store).close()
    replica = as_other_process(path, store, cache_bytes_max=1 << 20)
    yield replica
    leave(replica)


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_it_is_there_without_the_remote(reader, store, tmp_path):
    assert hydrate(reader).pages == len(PAGES)
    assert hydrate(reader).pages == 0
    leave(reader)
    store.down = True
    again = as_other_process(reader.path, store, cache_bytes_max=1 << 20)
    assert [bytes(again.snapshot().read(page)) for page in PAGES] == [body(512, page, "first") for page in PAGES]
    leave(again)


def test_a_full_disk_is_an_error_each_time(reader, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(cache_files, "write_all", full)
        for _ in range(2):
            with pytest.raises(DiskFull, match=r"\d+ of \d+ frames could not be stored.*No space left"):
                hydrate(reader)
    assert reader.snapshot().read(7) == body(512, 7, "first")
    hydrate(reader)
    assert reader.bodies.cache.use().pages == len(PAGES)


def test_a_disk_that_fills_up_on_the_way(reader, monkeypatch):
    written = []

    def nearly_full(*args):
        written.append(1)
        if len(written) > 3:
            full()
        write_all(*args)

    write_all = cache_files.write_all
    with monkeypatch.context() as patch:
        patch.setattr(cache_files, "write_all", nearly_full)
        with pytest.raises(DiskFull):
            hydrate(reader)
    assert hydrate(reader).pages < len(PAGES)  # what arrived stayed


def test_a_cache_that_is_too_small(tmp_path, store):
    path = tmp_path / "small"
    clone(path, f"{store.url}#vol", settings=small_settings(cache_bytes_max=32 * 1024), store=store).close()
    replica = as_other_process(path, store, cache_bytes_max=32 * 1024)
    with pytest.raises(BadRequest, match="cache_bytes_max"):
        hydrate(replica)
    leave(replica)


def test_a_cache_that_does_not_keep_what_it_takes(reader, monkeypatch):
    monkeypatch.setattr(reader.cache, "has", lambda keys: set(list(keys)[1:]))
    with pytest.raises(BadRequest, match=r"1 of \d+ frames .*cache_bytes_max"):
        hydrate(reader)


def test_the_index_must_be_here_too(tmp_path, monkeypatch):
    """Where a volume's pages are comes in chunks, when they are needed; offline they must be here as well."""
    store, pages = fresh_store(), range(1, 12_001)
    writer = new_replica(tmp_path / "writer", store, inline_bytes_max=0)
    commit(writer, pages, "first")
    push(writer)
    leave(writer)
    path = tmp_path / "reader"
    clone(path, f"{store.url}#vol", settings=small_settings(cache_bytes_max=1 << 30), store=store).close()
    reader = as_other_process(path, store, cache_bytes_max=1 << 30)
    with monkeypatch.context() as patch:
        patch.setattr(state, "_write_chunks", full_database)
        for _ in range(2):
            with pytest.raises(DiskFull, match="is full"):
                hydrate(reader)
    hydrate(reader)
    leave(reader)
    store.down = True
    again = as_other_process(path, store, cache_bytes_max=1 << 30)
    assert [bytes(again.snapshot().read(page)) for page in (1, 9000, 12_000)] == [
        body(512, page, "first") for page in (1, 9000, 12_000)
    ]
    leave(again)


def full_database(*_):
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    raise error
