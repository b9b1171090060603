"""Several processes that make a replica in one directory."""

import errno
import os

import pytest

from graft.errors import NoSuchVolume, ReplicaExists
from graft.replica.opening import open_replica
from graft.sync.clone import clone
from graft.sync.push import push
from tests.graft.support import body, commit, fast_directory, fresh_store, leave, new_replica, small_settings

PAGES = 20


class Meeting:
    """A store at which somebody else does something when the head of a log is looked up."""

    parallelism = 2

    def __init__(self, inner, meanwhile):
        self._inner = inner
        self._meanwhile = meanwhile

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def list(self, *args, **kwargs):
        self._meanwhile()
        return self._inner.list(*args, **kwargs)


@pytest.fixture
def volume():
    """A directory with room for replicas, and the store of a volume."""
    with fast_directory() as path:
        store = fresh_store()
        writer = new_replica(path / "writer", store)
        commit(writer, range(1, PAGES + 1), "first")
        push(writer)
        leave(writer)
        yield path / "replica", store


def cloned(path, store, *, through=None):
    return clone(path, f"{store.url}#vol", settings=small_settings(), store=through or store)


def names_in(path):
    return {entry.name for entry in path.iterdir()}


@pytest.mark.parametrize("there", [True, False])
def test_the_second_one_leaves_the_replica_of_the_first_alone(volume, there):
    path, store = volume
    if there:
        path.mkdir()
    made = []
    with pytest.raises(ReplicaExists, match="is a replica already"):
        cloned(path, store, through=Meeting(store, lambda: made.append(cloned(path, store))))
    (replica,) = made
    assert replica.snapshot().read(7) == body(512, 7, "first")
    commit(replica, [7], "second")
    leave(replica)
    assert not [name for name in names_in(path) if name.endswith(".new")]
    with open_replica(path, store=store, settings=small_settings()) as again:
        assert again.snapshot().read(7) == body(512, 7, "second")


@pytest.mark.parametrize("there", [True, False])
def test_one_that_fails_leaves_the_directory_as_it_was(volume, there):
    path, store = volume
    if there:
        path.mkdir()
    with pytest.raises(NoSuchVolume):
        clone(path, f"{store.url}#another", store=store)
    assert path.exists() == there
    assert not there or not names_in(path)
    leave(cloned(path, store))


def test_a_file_system_without_second_names_will_do(volume, monkeypatch):
    path, store = volume

    def link(*_):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
    leave(cloned(path, store))
    assert not [name for name in names_in(path) if name.endswith(".new")]
    with open_replica(path, store=store, settings=small_settings()) as again:
        assert again.snapshot().read(7) == body(512, 7, "first")
    with pytest.raises(ReplicaExists):
        cloned(path, store)
