"""The probe refuses servers that would lose commits, and leaves nothing behind."""

import uuid
from contextlib import closing

import pytest

from pagestore.errors import StoreRefused, UnsafeStore
from pagestore.stores.memory import MemoryStore
from pagestore.stores.metered import MeteredStore
from pagestore.stores.probe import require_conditional_writes
from pagestore.urls import open_store
from tests.servers.faulty_proxy import Changed, LostReply, Status


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


def test_it_takes_six_requests():
    store = MeteredStore(MemoryStore(uuid.uuid4().hex))
    require_conditional_writes(store)
    assert store.snapshot().requests == 6
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
    refused(store, "serves wrong bytes")


def test_other_errors_pass_as_they_are(faulty_s3, store):
    faulty_s3.always = Status(403, "AccessDenied")
    with pytest.raises(StoreRefused, match="let them read, write") as caught:
        require_conditional_writes(store)
    assert not isinstance(caught.value, UnsafeStore)


def test_a_lying_success_is_found_by_reading_back(faulty_s3, store):
    faulty_s3.drop_headers = {"if-none-match"}
    faulty_s3.always = Changed(headers={"x-extra": "1"})
    refused(store, "overwrites")
