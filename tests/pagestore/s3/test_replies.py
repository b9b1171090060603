"""Every error reply that S3, its lookalikes and what stands before them are known to give, through both clients."""

import base64
import hashlib
import itertools
from contextlib import closing

import pytest

from pagestore.errors import PageStoreError, StoreRefused, StoreUnavailable, UnsafeStore
from pagestore.s3.settings import S3Settings
from pagestore.urls import open_store
from testbed.faulty_proxy import Page, Status
from tests.pagestore.s3.aws_error_codes import OTHERS, PUBLISHED, WITHOUT_A_CODE

SETTINGS = S3Settings(attempts_max=2, backoff_base_s=0, hedge_budget=0)
CALLS = {
    "get": lambda store: store.get("k"),
    "get_range": lambda store: store.get_range("k", 1, 2),
    "put": lambda store: store.put("k", b"body"),
    "put_if_absent": lambda store: store.put_if_absent("k", b"body"),
    "list": lambda store: list(store.list("")),
    "delete": lambda store: store.delete("k"),
}


@pytest.fixture(params=["boto3", "obstore"])
def client(request):
    return request.param


@pytest.fixture
def store(faulty_s3, client):
    with closing(open_store(f"{faulty_s3.url}&client={client}", s3_settings=SETTINGS)) as store:
        store.put("k", b"what is there")
        faulty_s3.requests.clear()
        yield store


@pytest.fixture
def errors(faulty_s3, store):
    """The error of each call, with the requests that it took."""

    def told():
        for call in CALLS.values():
            faulty_s3.requests.clear()
            with pytest.raises(PageStoreError) as caught:
                call(store)
            assert str(caught.value).isprintable()
            yield caught.value, len(faulty_s3.requests)

    return told


@pytest.mark.parametrize(("status", "code", "kind", "words"), PUBLISHED + OTHERS)
def test_codes(faulty_s3, errors, status, code, kind, words):
    faulty_s3.always = Status(status, code, message="what &amp; why")
    for error, requests in errors():
        assert type(error) is kind
        assert words in str(error)
        assert f"{status} {code}: what & why" in str(error), "the server's own words"
        assert "bucket graft-test at http://127" in str(error)
        assert requests == (2 if kind is StoreUnavailable else 1) or 300 <= status < 400


@pytest.mark.parametrize(("status", "kind", "words"), WITHOUT_A_CODE)
def test_pages_of_gateways(faulty_s3, errors, status, kind, words):
    page = b"<html><head><title>So says\nthe gateway</title></head><body>long</body></html>"
    faulty_s3.always = Page(status, page, {"content-type": "text/html", "location": "http://127.0.0.1:1/login?secret"})
    for error, _ in errors():
        assert type(error) is kind
        assert words in str(error)
        assert f"{status}: So says the gateway" in str(error)
        assert "secret" not in str(error)
        assert ("http://127.0.0.1:1/login" in str(error)) == (300 <= status < 400)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"message": "blocked by the firewall"}', "blocked by the firewall"),
        (b'{"error": {"code": 7, "message": "no such tenant"}}', "no such tenant"),
        (b"no upstream\r\n", "no upstream"),
        (b"<html><style>p {}</style><body><h1>Denied</h1>\x00by policy</body></html>", "Denied by policy"),
        (b"<Error><Code>X</Code>", "X"),
        (b"\xff" * 10_000, "…"),
        (b"", "403"),
    ],
)
def test_the_servers_words_in_any_form(faulty_s3, store, body, words):
    faulty_s3.always = Page(403, body)
    with pytest.raises(StoreRefused) as caught:
        store.get("k")
    assert words in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 800


@pytest.mark.parametrize(
    "reply",
    [
        Status(301, "PermanentRedirect", {"x-amz-bucket-region": "eu-west-3"}),
        Page(301, headers={"x-amz-bucket-region": "eu-west-3"}),
        Page(
            400,
            b"<Error><Code>AuthorizationHeaderMalformed</Code><Message>expecting 'eu-west-3'</Message>"
            b"<Region>eu-west-3</Region></Error>",
        ),
    ],
    ids=["code and header", "header", "body"],
)
def test_a_bucket_in_another_region_is_told_with_the_region(faulty_s3, errors, reply):
    faulty_s3.always = reply
    for error, _ in errors():
        assert type(error) is StoreRefused
        assert "is in region eu-west-3; add ?region=eu-west-3 to the URL" in str(error)


def test_a_redirect_that_leads_round_and_round(faulty_s3, errors):
    faulty_s3.always = Page(302, b"moved", {"location": faulty_s3.endpoint + "/login"})
    for error, _ in errors():
        assert type(error) is StoreRefused
        assert f"302: moved, to {faulty_s3.endpoint}/login" in str(error)
        assert "region" not in str(error)


@pytest.mark.parametrize("name", ["get", "put", "put_if_absent", "list"])
def test_a_login_page_is_no_object_and_no_success(faulty_s3, store, name):
    faulty_s3.always = Page(200, b"<html><title>Welcome</title></html>", {"content-type": "text/html"})
    with pytest.raises(StoreUnavailable, match=r"not one of S3|without content|Welcome"):
        CALLS[name](store)


def test_a_redirect_to_a_login_page_is_no_object(faulty_s3, store):
    faulty_s3.faults += [Page(302, b"", {"location": faulty_s3.endpoint + "/login"}), *[Page(200, b"Log in")] * 2]
    faulty_s3.always = Page(302, b"", {"location": faulty_s3.endpoint + "/login"})
    with pytest.raises(StoreRefused, match=r"redirects the request.*/login"):
        store.get("k")


@pytest.mark.parametrize(
    ("status", "code", "message", "kind"),
    [
        (501, "NotImplemented", "A header you provided implies functionality that is not implemented", UnsafeStore),
        (400, "InvalidArgument", "If-None-Match", UnsafeStore),
        (400, "InvalidRequest", "conditional writes are not enabled", UnsafeStore),
        (400, "KMS.DisabledException", "key is disabled", StoreRefused),
        (400, "InvalidRequest", "Content-MD5 or x-amz-checksum is required with Object Lock", StoreRefused),
        (400, "EntityTooLarge", "", StoreRefused),
        (400, "SomethingNew", "", StoreRefused),
    ],
)
def test_what_is_said_to_a_conditional_put(faulty_s3, store, status, code, message, kind):
    faulty_s3.always = Status(status, code, message=message)
    with pytest.raises(StoreRefused) as caught:
        store.put_if_absent("new", b"")
    assert type(caught.value) is kind
    assert code in str(caught.value)
    assert message in str(caught.value)
    assert ("refuses conditional writes" in str(caught.value)) == (kind is UnsafeStore)


def test_a_conflict_without_a_code_is_waited_out(faulty_s3, store):
    faulty_s3.faults += [Page(409)]
    assert store.put_if_absent("new", b"mine") is True


@pytest.mark.parametrize("name", ["put", "put_if_absent"])
@pytest.mark.parametrize("size", [4, 400_000])
def test_every_write_has_a_checksum_for_buckets_with_object_lock(faulty_s3, client, name, size):
    body = b"x" * size
    for number, first in enumerate([True, False]):
        url = faulty_s3.url.replace("?", f"-{number}?")
        with closing(open_store(f"{url}&client={client}", s3_settings=SETTINGS)) as store:
            if not first:
                store.put("before", b"")
            faulty_s3.requests.clear()
            assert getattr(store, name)("new", body) is not False
            assert store.get("new") == body
        [put] = [seen for seen in faulty_s3.requests if seen.method == "PUT"]
        md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
        sha256 = base64.b64encode(hashlib.sha256(body).digest()).decode()
        assert put.headers.get("content-md5") == md5 or put.headers.get("x-amz-checksum-sha256") == sha256


def test_every_part_of_an_upload_has_a_checksum(faulty_s3, store):
    store.put_stream("long", itertools.repeat(b"x" * 1_000_000, 17))
    parts = [seen for seen in faulty_s3.requests if seen.method == "PUT"]
    assert len(parts) == 3
    assert all("content-md5" in seen.headers for seen in parts)


def test_a_server_that_does_not_know_the_checksum_gets_none(faulty_s3, store, client):
    faulty_s3.faults += [Status(501, "NotImplemented", message="Header 'x-amz-checksum-sha256' not implemented")]
    if client == "boto3":  # sends Content-MD5, which every server knows
        faulty_s3.faults.clear()
    store.put("new", b"body")
    faulty_s3.requests.clear()
    store.put("newer", b"body")
    [put] = faulty_s3.requests
    assert ("x-amz-checksum-sha256" in put.headers) is False


def listing(*keys, more=""):
    entries = "".join(
        f"<Contents><Key>{key}</Key><Size>1</Size><LastModified>2024-01-01T00:00:00Z</LastModified></Contents>"
        for key in keys
    )
    body = f"<ListBucketResult><IsTruncated>true</IsTruncated>{entries}{more}</ListBucketResult>"
    return Page(200, body.encode(), {"content-type": "application/xml"})


def test_a_listing_that_ends_before_its_end_is_an_error(faulty_s3, store):
    prefix = faulty_s3.url.split("/", 3)[3].partition("?")[0]
    faulty_s3.always = listing(f"{prefix}/a", f"{prefix}/b")
    with pytest.raises(UnsafeStore, match=r"cannot be listed: .*not from where"):
        list(store.list(""))


def test_parts_that_a_rule_has_removed(faulty_s3, store):
    def chunks():
        yield b"x" * 9_000_000
        faulty_s3.always = Status(404, "NoSuchUpload")
        yield b"x" * 9_000_000

    with pytest.raises(StoreUnavailable, match="deleted the parts"):
        store.put_stream("new", chunks())
