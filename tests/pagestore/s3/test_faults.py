"""What the S3 store makes of servers, networks and proxies that fail in one way or another."""

import base64
import dataclasses
import hashlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from pagestore.errors import CorruptObject, ObjectNotFound, StoreRefused, StoreUnavailable, UnsafeStore
from pagestore.runtime import SYSTEM
from pagestore.s3.settings import PART_BYTES_MIN, S3Settings
from pagestore.urls import open_store
from testbed.faulty_proxy import Changed, Closed, Compressed, LostReply, Passed, Status, Truncated
from testbed.shared_server import free_ports

SETTINGS = S3Settings(attempts_max=4, part_bytes=PART_BYTES_MIN, part_parallelism=2, read_timeout_s=10, hedge_budget=0)
BODY = b"0123456789" * 100


class Waits:
    """A clock on which only waiting takes time."""

    def __init__(self):
        self.all_s = []

    def runtime(self):
        return dataclasses.replace(
            SYSTEM,
            monotonic_s=lambda: sum(self.all_s),
            sleep_s=self.all_s.append,
            entropy=lambda count: b"\x80".ljust(count, b"\0"),
        )


@pytest.fixture
def waits():
    return Waits()


@pytest.fixture(params=["boto3", "obstore"])
def client(request):
    return request.param


@pytest.fixture
def faulty_s3(faulty_s3, client):
    """What a client makes of trouble must not depend on which one it is."""
    faulty_s3.url += f"&client={client}"
    return faulty_s3


@pytest.fixture
def store(faulty_s3, waits):
    with closing(open_store(faulty_s3.url, s3_settings=SETTINGS, runtime=waits.runtime())) as store:
        store.put("k", BODY)
        faulty_s3.requests.clear()
        yield store


TROUBLES = [
    Status(500, "InternalError"),
    Status(502, "BadGateway"),
    Status(503, "SlowDown"),
    Status(503, "ServiceUnavailable"),
    Status(429, "TooManyRequests"),
    Status(400, "RequestTimeout"),
    Closed(),
    LostReply(),
]


@pytest.mark.parametrize("trouble", TROUBLES, ids=repr)
def test_a_passing_trouble_is_waited_out(faulty_s3, store, waits, trouble):
    faulty_s3.faults += [trouble, trouble]
    assert store.get("k") == BODY
    assert len(faulty_s3.requests) == 3
    assert waits.all_s == [0.05, 0.1]


@pytest.mark.parametrize("trouble", TROUBLES[:-1], ids=repr)
@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.get("k"),
        lambda store: store.get_range("k", 1, 2),
        lambda store: store.put("k", b""),
        lambda store: store.put_if_absent("k", b""),
        lambda store: store.put_stream("k", [b""]),
        lambda store: list(store.list("")),
        lambda store: store.delete("k"),
    ],
    ids=["get", "get_range", "put", "put_if_absent", "put_stream", "list", "delete"],
)
def test_a_lasting_trouble_is_told_after_bounded_tries(faulty_s3, store, waits, trouble, call):
    faulty_s3.always = trouble
    with pytest.raises(StoreUnavailable, match=r"bucket graft-test at http://127.* in 4 tries") as caught:
        call(store)
    assert "\n" not in str(caught.value)
    assert len(faulty_s3.requests) == 4
    assert waits.all_s == [0.05, 0.1, 0.2]


def test_tries_end_with_the_calls_time(faulty_s3, waits):
    settings = SETTINGS.model_copy(update={"call_s_max": 1.0, "attempts_max": 100, "backoff_base_s": 0.5})
    faulty_s3.always = Closed()
    store = open_store(faulty_s3.url, s3_settings=settings, runtime=waits.runtime())
    with closing(store), pytest.raises(StoreUnavailable, match=r"in 3 tries, 0\.8 s"):
        store.get("k")
    assert sum(waits.all_s) <= 1.0


def test_nobody_listens(waits, client):
    [port] = free_ports(1, also_offset=1)
    url = f"s3://bucket?endpoint=http://127.0.0.1:{port}&client={client}"
    store = open_store(url, s3_settings=SETTINGS, runtime=waits.runtime())
    with closing(store), pytest.raises(StoreUnavailable, match=f"{port}"):
        store.put_if_absent("k", b"")
    assert len(waits.all_s) == 3


def test_no_retry_for_what_the_user_must_mend(faulty_s3, store, waits):
    faulty_s3.always = Status(403, "AccessDenied")
    with pytest.raises(StoreRefused, match="AccessDenied"):
        store.get("k")
    assert len(faulty_s3.requests) == 1
    assert waits.all_s == []


def test_no_credentials(faulty_s3, monkeypatch, waits):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    store = open_store(faulty_s3.url, runtime=waits.runtime())
    with closing(store), pytest.raises(StoreRefused, match=r"no credentials .* at http://127.* AWS_ACCESS_KEY_ID"):
        store.get("k")
    assert faulty_s3.requests == []
    assert waits.all_s == []


def test_a_profile_that_is_not_there(faulty_s3, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with closing(open_store(faulty_s3.url)) as store, pytest.raises(StoreRefused, match="nobody"):
        store.get("k")


@pytest.mark.parametrize("read", ["get", "get_range"])
@pytest.mark.parametrize("keep_bytes", [0, 1, 999])
def test_a_body_that_is_cut_short_is_read_again(faulty_s3, store, read, keep_bytes):
    faulty_s3.faults.append(Truncated(keep_bytes))
    assert (store.get("k") if read == "get" else store.get_range("k", 0, 1000)) == BODY
    assert len(faulty_s3.requests) == 2
    faulty_s3.always = Truncated(keep_bytes)
    with pytest.raises(StoreUnavailable):
        store.get("k")


def test_a_range_that_is_cut_short_with_its_length_is_read_again(faulty_s3, store):
    faulty_s3.faults.append(Changed(headers={"content-range": "bytes 0-1999/5000"}))
    assert store.get_range("k", 0, 2000) == BODY
    assert len(faulty_s3.requests) == 2


@pytest.mark.parametrize(("start", "length"), [(0, 999), (1, 999), (500, 10), (990, 100), (1000, 1)])
def test_a_proxy_that_ignores_ranges_is_found_out(faulty_s3, store, start, length):
    faulty_s3.drop_headers = {"range"}
    with pytest.raises(CorruptObject, match=f"object k in bucket graft-test .*bytes {start}-.*ignores Range"):
        store.get_range("k", start, length)
    assert len(faulty_s3.requests) <= 2, "obstore asks again without a range, from 0, where that could be right"


@pytest.mark.parametrize("length", [1000, 5000])
def test_the_whole_object_is_right_where_it_was_asked_for(faulty_s3, store, length):
    faulty_s3.drop_headers = {"range"}
    assert store.get_range("k", 0, length) == BODY


@pytest.mark.parametrize(
    "content_range",
    [
        None,
        "",
        "bytes 1-10/1000",
        "bytes 0-8/1000",
        "bytes 0-10/1000",
        "bytes 0-9/5",
        "octets 0-9/1000",
        "bytes */1000",
    ],
)
def test_another_range_than_asked_is_refused(faulty_s3, store, content_range):
    faulty_s3.always = Changed(headers={"content-range": content_range})
    with pytest.raises(CorruptObject):
        store.get_range("k", 0, 10)


def test_a_range_of_unknown_whole_is_taken_if_complete(faulty_s3, store, client):
    faulty_s3.always = Changed(headers={"content-range": "bytes 0-9/*"})
    if client == "obstore":  # is stricter
        with pytest.raises(CorruptObject):
            store.get_range("k", 0, 10)
    else:
        assert store.get_range("k", 0, 10) == BODY[:10]
    with pytest.raises(CorruptObject):
        store.get_range("k", 0, 11)


def test_a_part_is_not_taken_for_the_whole(faulty_s3, store):
    faulty_s3.always = Changed(status=206, headers={"content-range": "bytes 0-999/5000"})
    with pytest.raises(CorruptObject, match="object k in bucket graft-test"):
        store.get("k")


def test_a_proxy_that_ignores_ranges_still_serves_whole_objects(faulty_s3, store):
    faulty_s3.drop_headers = {"range"}
    assert store.get("k") == BODY


def test_a_compressed_body_is_refused(faulty_s3, store):
    faulty_s3.always = Compressed()
    with pytest.raises(CorruptObject, match="gzip"):
        store.get("k")
    with pytest.raises(CorruptObject, match="gzip"):
        store.get_range("k", 0, 10)


def test_a_body_of_unknown_length_is_refused(faulty_s3, store):
    faulty_s3.always = Changed(headers={"content-length": None})
    with pytest.raises(CorruptObject, match="length was not announced"):
        store.get("k")


def test_beyond_the_end_is_believed_only_of_an_object_that_ends(faulty_s3, store):
    assert store.get_range("k", 1000, 5) == b""
    refused = Status(416, "InvalidRange")
    faulty_s3.faults += [refused]
    with pytest.raises(CorruptObject, match="but the object has 1000 bytes"):
        store.get_range("k", 0, 5)
    faulty_s3.faults += [refused]
    with pytest.raises(ObjectNotFound):
        store.get_range("missing", 0, 5)


def test_a_404_of_something_that_is_no_s3_does_not_mean_that_an_object_is_absent(faulty_s3, store):
    faulty_s3.always = Status(404, "NotFound")
    with pytest.raises(StoreRefused, match="is the endpoint right"):
        store.get("k")
    with pytest.raises(StoreRefused, match="is the endpoint right"):
        list(store.list(""))


def test_a_conditional_put_whose_reply_is_lost_is_not_done_twice(faulty_s3, store):
    faulty_s3.faults += [LostReply()]
    assert store.put_if_absent("new", b"mine") is False, "the retry finds what the first try left"
    assert store.get("new") == b"mine"


def test_a_conflict_with_a_racing_writer_is_tried_again(faulty_s3, store, waits):
    faulty_s3.faults += [Status(409, "ConditionalRequestConflict")]
    assert store.put_if_absent("new", b"mine") is True
    assert len(waits.all_s) == 1


@pytest.mark.parametrize(("status", "code"), [(501, "NotImplemented"), (400, "InvalidArgument")])
def test_a_server_that_refuses_conditional_writes_is_unsafe(faulty_s3, store, status, code):
    faulty_s3.always = Status(status, code)
    with pytest.raises(UnsafeStore, match=f"refuses conditional writes .*{code}"):
        store.put_if_absent("new", b"")


@pytest.mark.parametrize("trouble", TROUBLES, ids=repr)
@pytest.mark.parametrize("request_number", range(5))
def test_a_streamed_upload_survives_trouble_at_every_step(faulty_s3, store, trouble, request_number):
    body = bytes(range(256)) * (PART_BYTES_MIN // 256) + b"x" * PART_BYTES_MIN + b"end"
    faulty_s3.faults += [Passed()] * request_number + [trouble]
    assert store.put_stream("new", (body[at : at + 1_000_000] for at in range(0, len(body), 1_000_000))) == len(body)
    assert store.get("new") == body


def test_a_streamed_upload_that_fails_is_aborted(faulty_s3, store):
    faulty_s3.faults += [Passed(), *[Status(503)] * 8]
    with pytest.raises(StoreUnavailable):
        store.put_stream("new", [b"x"] * (2 * PART_BYTES_MIN + 1))
    assert faulty_s3.requests[-1].method == "DELETE"
    assert "uploadId" in faulty_s3.requests[-1].path
    assert [info.key for info in store.list("")] == ["k"]


def test_an_abort_that_fails_hides_nothing(faulty_s3, store):
    def chunks():
        yield b"x" * (2 * PART_BYTES_MIN)
        faulty_s3.always = Status(503)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.put_stream("new", chunks())


def test_a_stream_holds_a_few_parts_only(faulty_s3, store):
    made = 0

    def chunks():
        nonlocal made
        for _ in range(12):
            sent = sum(request.method == "PUT" for request in faulty_s3.requests)
            assert made - sent <= SETTINGS.part_parallelism + 3
            made += 1
            yield b"x" * PART_BYTES_MIN

    assert store.put_stream("new", chunks()) == 12 * PART_BYTES_MIN


def test_bodies_carry_their_digest(faulty_s3, store, client):
    store.put("a", b"body")
    store.put_if_absent("b", b"body")
    name, digest = {
        "boto3": ("content-md5", base64.b64encode(hashlib.md5(b"body").digest()).decode()),
        "obstore": ("x-amz-content-sha256", hashlib.sha256(b"body").hexdigest()),
    }[client]
    assert {request.headers[name] for request in faulty_s3.requests} == {digest}


def test_threads_share_one_client(faulty_s3, store):
    with ThreadPoolExecutor(12) as threads:
        assert set(threads.map(lambda _: store.get("k"), range(48))) == {BODY}
    assert len(faulty_s3.requests) == 48


def test_a_listing_asks_for_as_many_keys_as_are_wanted(faulty_s3, store):
    assert [info.key for info in store.list("", limit=1)] == ["k"]
    [request] = faulty_s3.requests
    assert "max-keys=1&" in request.path + "&"


@pytest.mark.parametrize("keep_bytes", [0, 60])
def test_a_listing_that_is_cut_short_is_not_taken_for_an_empty_one(faulty_s3, store, keep_bytes):
    faulty_s3.always = Truncated(keep_bytes)
    with pytest.raises(StoreUnavailable):
        list(store.list(""))
