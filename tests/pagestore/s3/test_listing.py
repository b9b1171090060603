"""Listings with requests of our own: signatures, parsing, connections."""

import calendar
import socket
import ssl
from contextlib import closing
from threading import Thread

import pytest

from pagestore.runtime import SYSTEM
from pagestore.s3.access import Access
from pagestore.s3.api import ListedObject, ListPage
from pagestore.s3.errors import ErrorReply, NoAnswer
from pagestore.s3.listing import list_page, read_page
from pagestore.s3.settings import S3Settings
from pagestore.s3.signed_http import SignedRequests, _tls_context, error_reply
from pagestore.s3.sigv4 import Credentials, canonical_query, signed_headers
from testbed import s3_servers
from testbed.shared_server import HOST

NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
AWS_EXAMPLE = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")


def sign_example(credentials):
    return signed_headers(
        "examplebucket.s3.amazonaws.com",
        "/",
        canonical_query({"prefix": "J", "max-keys": "2"}),
        credentials=credentials,
        region="us-east-1",
        now_s=calendar.timegm((2013, 5, 24, 0, 0, 0)),
    )


def test_the_signature_of_the_documentations_example():
    assert sign_example(AWS_EXAMPLE)["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        "SignedHeaders=host;x-amz-content-sha256;x-amz-date, "
        "Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
    )


def test_a_token_is_sent_and_signed():
    headers = sign_example(Credentials(AWS_EXAMPLE.key_id, AWS_EXAMPLE.secret, "a-token"))
    assert headers["x-amz-security-token"] == "a-token"
    assert "x-amz-date;x-amz-security-token" in headers["authorization"]


def test_credentials_do_not_show():
    assert "secret" not in repr(Credentials("id", "secret", "secret too"))


def test_a_query_is_sorted_and_quoted():
    assert canonical_query({"prefix": "a/b c", "list-type": "2"}) == "list-type=2&prefix=a%2Fb%20c"


def page(contents, more=""):
    return f'<?xml version="1.0"?><ListBucketResult {NAMESPACE}>{contents}{more}</ListBucketResult>'.encode()


ENTRY = "<Contents><Key>a/b%2Bc</Key><LastModified>1970-01-01T00:00:10.500Z</LastModified><Size>7</Size></Contents>"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (page(""), ListPage((), "")),
        (page(ENTRY), ListPage((ListedObject("a/b%2Bc", 7, 10.5),), "")),
        (page(ENTRY, "<EncodingType>url</EncodingType>"), ListPage((ListedObject("a/b+c", 7, 10.5),), "")),
        (
            page("", "<IsTruncated>true</IsTruncated><NextContinuationToken>t=</NextContinuationToken>"),
            ListPage((), "t="),
        ),
        (
            page("", "<IsTruncated>false</IsTruncated><NextContinuationToken>t=</NextContinuationToken>"),
            ListPage((), ""),
        ),
        (page("").replace(NAMESPACE.encode(), b""), ListPage((), "")),
    ],
)
def test_pages(body, expected):
    assert read_page(body) == expected


@pytest.mark.parametrize("body", [b"", b"<html>", page(ENTRY)[:-5], page(ENTRY.replace("7", "x")), page("<Contents/>")])
def test_what_makes_no_sense_is_asked_for_again(body):
    with pytest.raises(NoAnswer):
        read_page(body)


def test_another_document_is_no_empty_listing():
    with pytest.raises(ErrorReply):
        read_page(b"<html><body>Welcome</body></html>")


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b"<Error><Code>NoSuchBucket</Code><Message>none</Message></Error>", "NoSuchBucket", "none"),
        (f"<Error {NAMESPACE}><Code>SlowDown</Code></Error>".encode(), "SlowDown", ""),
        (b"<Error/>", "404", ""),
        (b"<html/>", "404", ""),
        (b"not found\n", "404", "not found"),
    ],
)
def test_errors(body, code, message):
    error = error_reply(404, body)
    assert (error.status, error.code, error.message) == (404, code, message)


class HangingUp:
    """A server that answers one request on each connection, and closes it when told to."""

    def __init__(self):
        self.listener = socket.create_server((HOST, 0))
        self.accepted = []

    def answer(self):
        connection, _ = self.listener.accept()
        body = page("")
        connection.recv(10_000)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        self.accepted.append(connection)

    def hang_up(self):
        while self.accepted:
            self.accepted.pop().close()


def requests_to(endpoint):
    credentials = Credentials(s3_servers.FAKE_KEY_ID, s3_servers.FAKE_SECRET)
    access = Access(endpoint, f"{endpoint}/b", "us-east-1", lambda: credentials)
    return SignedRequests(access, S3Settings(connect_timeout_s=5, read_timeout_s=5), SYSTEM)


def test_a_connection_that_was_dropped_while_idle_is_not_used_again():
    server = HangingUp()
    with server.listener, closing(requests_to(f"http://{HOST}:{server.listener.getsockname()[1]}")) as requests:
        for _ in range(3):
            answering = Thread(target=server.answer)
            answering.start()
            assert list_page(requests, "", start_after="", token="", wanted=1) == ListPage((), "")
            answering.join()
            server.hang_up()


def test_certificates_are_checked_against_the_systems_or_botocores(monkeypatch):
    assert _tls_context().verify_mode == ssl.CERT_REQUIRED
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", lambda *_: None)
    assert _tls_context().cert_store_stats()["x509_ca"] > 10
