"""The probe refuses servers that would lose commits, and leaves nothing behind."""

import uuid
from contextlib import closing

import pytest

from metastore.ids import LogId
from metastore.lsn import LSN
from metastore.objectlog import ObjectCommitLog
from pagestore.errors import StoreRefused, UnsafeStore
from pagestore.stores.memory import MemoryStore
from pagestore.stores.metered import MeteredStore
from pagestore.stores.probe import PROBE_REQUESTS, require_conditional_writes
from pagestore.urls import open_store
from testbed.faulty_proxy import Changed, LostReply, Status


@pytest.fixture
def store(faulty_s3):
    with closing(open_store(faulty_s3.url)) as store:
        yield store


def refused(store, match):
    with pytest.raises(UnsafeStore, match=match) as caught:
        require_conditional_writes(store)
    message = str(caught.value)
    assert store.url in message or "bucket graft-test at http" in message
    assert "use " in message
    assert "\n" not in message


def test_a_right_server_passes_and_nothing_stays(store):
    require_conditional_writes(store)
    assert list(store.list("")) == []


def test_it_takes_so_many_requests():
    store = MeteredStore(MemoryStore(uuid.uuid4().hex))
    require_conditional_writes(store)
    assert store.snapshot().requests == PROBE_REQUESTS
    assert list(store.list("")) == []


def test_a_server_that_ignores_if_none_match(faulty_s3, store):
    faulty_s3.drop_headers = {"if-none-match"}
    refused(store, "overwrites objects on conditional writes: two writers would lose data; use AWS S3")
    faulty_s3.drop_headers = set()
    assert list(store.list("")) == []


@pytest.mark.parametrize("status", [400, 501])
def test_a_server_that_does_not_know_if_none_match(faulty_s3, store, status):
    faulty_s3.faults.append(Status(status, "NotImplemented"))
    refused(store, "refuses conditional writes")


def test_a_server_that_ignores_range(faulty_s3, store):
    faulty_s3.drop_headers = {"range"}
    refused(store, "does not honour ranges")


def test_a_server_that_refuses_every_condition(faulty_s3, store):
    faulty_s3.faults.append(Status(412, "PreconditionFailed"))
    with pytest.raises(UnsafeStore, match="refuses to create"):
        require_conditional_writes(store)


def test_a_lost_reply_is_no_proof_of_anything(faulty_s3, store):
    faulty_s3.faults.append(LostReply())
    require_conditional_writes(store)


def test_wrong_bytes_for_a_range(store, monkeypatch):
    monkeypatch.setattr(store, "get_range", lambda key, start, length: b"x" * length)
    refused(store, "returns wrong bytes")


def test_other_errors_pass_as_they_are(faulty_s3, store):
    faulty_s3.always = Status(403, "AccessDenied")
    with pytest.raises(StoreRefused, match="allow them to read, write") as caught:
        require_conditional_writes(store)
    assert not isinstance(caught.value, UnsafeStore)


def test_a_lying_success_is_found_by_reading_back(faulty_s3, store):
    faulty_s3.drop_headers = {"if-none-match"}
    faulty_s3.always = Changed(headers={"x-extra": "1"})
    refused(store, "overwrites")


class TestListings:
    """A store whose listings are not what is there."""

    @pytest.fixture
    def store(self):
        return MemoryStore(uuid.uuid4().hex)

    def changed(self, store, monkeypatch, change):
        real, kept = store.list, {}
        monkeypatch.setattr(
            store, "list", lambda prefix, **options: iter(change(list(real(prefix, **options)), prefix, kept))
        )

    def test_one_that_is_cached(self, store, monkeypatch):
        self.changed(store, monkeypatch, lambda found, prefix, kept: kept.setdefault(prefix, found))
        refused(store, "does not list an object that was just written")

    def test_one_that_lags_behind(self, store, monkeypatch):
        self.changed(store, monkeypatch, lambda found, prefix, kept: found[-1:])
        refused(store, "does not list an object that was just written")

    def test_one_that_is_empty(self, store, monkeypatch):
        self.changed(store, monkeypatch, lambda found, prefix, kept: [])
        refused(store, "does not list an object that was just written")

    @pytest.mark.parametrize("order", [lambda found: found.modified_s, lambda found: [-ord(c) for c in found.key]])
    def test_one_in_another_order(self, store, monkeypatch, order):
        self.changed(store, monkeypatch, lambda found, prefix, kept: sorted(found, key=order))
        refused(store, "does not list in key order")

    def test_nothing_stays_of_it(self, store, monkeypatch):
        with monkeypatch.context() as lying:
            self.changed(store, lying, lambda found, prefix, kept: [])
            refused(store, "lists")
        assert list(store.list("")) == []


def test_a_proxy_that_caches_listings(faulty_s3, store, monkeypatch):
    """The same URL is answered from the cache; where the end of a log is looked for, no URL comes twice."""
    real, kept = store.list, {}

    def cached(prefix, *, start_after="", limit=None):
        return iter(
            kept.setdefault((prefix, start_after, limit), list(real(prefix, start_after=start_after, limit=limit)))
        )

    monkeypatch.setattr(store, "list", cached)
    refused(store, "a proxy may be caching")
    log, commits = LogId(bytes(16)), ObjectCommitLog(store)
    for lsn in (1, 2, 3):
        commits.append(log, LSN(lsn), b"c")
        assert commits.head(log) == lsn
