"""Commit logs over the object stores: the contract, requests, and what lies about in a bucket."""

import uuid
from contextlib import closing

import pytest

from metastore.errors import CorruptCommit, LogRefused, LogUnavailable
from metastore.lsn import LSN, LSN_MAX, descending_text
from metastore.objectlog import ObjectCommitLog
from metastore.testing import CommitLogContract
from metastore.testing.commit_log_contract import LOG, OTHER_LOG
from pagestore.errors import StoreRefused, StoreUnavailable
from pagestore.stores.memory import MemoryStore
from pagestore.stores.metered import MeteredStore, StoreTraffic
from pagestore.urls import open_store


class ObjectLogContract(CommitLogContract):
    @pytest.fixture
    def store(self, store_url):
        with closing(open_store(store_url)) as store:
            yield store

    @pytest.fixture
    def commits(self, store):
        return ObjectCommitLog(store)

    def test_what_lies_beside_the_commits_does_not_matter(self, store, commits):
        commits.append(LOG, LSN(7), b"c")
        for key in (f"logs/{LOG}/commitz", f"logs/{LOG}/tags/x", f"logs/{OTHER_LOG}x/commits/{'0' * 16}", "a", "z"):
            store.put(key, b"")
        assert commits.head(LOG) == 7
        assert commits.head(OTHER_LOG) is None

    @pytest.mark.parametrize(
        "name",
        [".DS_Store", "0", "0" * 16, "f" * 16, "F" * 15 + "E", "0x" + "0" * 14, "f" * 15 + "e.bak", "7f" + "f" * 14],
    )
    def test_a_stray_object_before_the_newest_commit_is_told(self, store, commits, name):
        key = f"logs/{LOG}/commits/{name}"
        store.put(key, b"")
        with pytest.raises(CorruptCommit, match=f"log {LOG}: stray object {key}"):
            commits.head(LOG)


class TestMemory(ObjectLogContract):
    @pytest.fixture
    def store_url(self):
        return f"memory://{uuid.uuid4().hex}"


class TestLocalDir(ObjectLogContract):
    @pytest.fixture
    def store_url(self, tmp_path):
        return str(tmp_path / "store")


class TestMoto(ObjectLogContract):
    @pytest.fixture
    def store_url(self, s3_moto_url):
        return s3_moto_url


def test_keys():
    store = MemoryStore(uuid.uuid4().hex)
    commits = ObjectCommitLog(store)
    for lsn in (1, 2, 16, LSN_MAX):
        commits.append(LOG, LSN(lsn), b"")
    assert [info.key for info in store.list("")] == [
        f"logs/l-000102030405060708090a0b0c0d0e0f/commits/{name}"
        for name in ("8000000000000000", "ffffffffffffffef", "fffffffffffffffd", "fffffffffffffffe")
    ]
    assert descending_text(LSN(1)) == "fffffffffffffffe"


def test_each_call_is_one_request():
    store = MeteredStore(MemoryStore(uuid.uuid4().hex))
    commits = ObjectCommitLog(store)
    commits.append(LOG, LSN(1), b"0123456789")
    commits.append(LOG, LSN(2), b"0123456789")
    commits.head(LOG)
    commits.read(LOG, LSN(1))
    commits.read(LOG, LSN(1), 2, 3)
    assert store.snapshot() == StoreTraffic(
        gets=1, range_gets=1, conditional_puts=2, lists=1, bytes_up=20, bytes_down=13
    )


@pytest.mark.parametrize(("error", "expected"), [(StoreUnavailable, LogUnavailable), (StoreRefused, LogRefused)])
def test_the_stores_errors_become_the_logs(error, expected):
    class Failing:
        def fail(self, *_, **__):
            raise error("what the store says")

        get = get_range = put_if_absent = list = fail

    commits = ObjectCommitLog(Failing())
    calls = (
        lambda: commits.append(LOG, LSN(1), b""),
        lambda: commits.read(LOG, LSN(1)),
        lambda: commits.read(LOG, LSN(1), 0, 1),
        lambda: commits.head(LOG),
    )
    for call in calls:
        with pytest.raises(expected, match="what the store says"):
            call()
