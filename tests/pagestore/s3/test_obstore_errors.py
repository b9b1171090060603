"""What obstore's messages mean; those of its real exceptions are tested in test_faults.py."""

import pytest

from pagestore.s3.errors import ErrorReply, NoAnswer, UntrustedCertificate, WrongReply
from pagestore.s3.obstore_errors import NotPartial, translate

REFUSED = (
    "Object at location p/k not found: Error performing GET http://127.0.0.1:1/b/p/k in 17ms - "
    "Server returned non-2xx status code: {}\n\nDebug source:\nNotFound {{ status: 599 }}"
)


@pytest.mark.parametrize(
    ("told", "status", "code", "message"),
    [
        ("404 Not Found: <Error><Code>NoSuchKey</Code><Message>none</Message></Error>", 404, "NoSuchKey", "none"),
        ("404 Not Found: ", 404, "404", ""),
        ("416 Range Not Satisfiable: <html>", 416, "416", ""),
        ("503 Service Unavailable: <Error><Code></Code></Error>", 503, "503", ""),
    ],
)
def test_error_replies(told, status, code, message):
    error = translate(FileNotFoundError(REFUSED.format(told)))
    assert isinstance(error, ErrorReply)
    assert (error.status, error.code, error.message) == (status, code, message)


@pytest.mark.parametrize(
    ("told", "kind", "message"),
    [
        ("Generic S3 error: Received non-partial response when range requested", NotPartial, ""),
        ("Generic S3 error: Requested 0..10, got 1..11", WrongReply, "another range"),
        ("Generic S3 error: Content-Range header not present in partial response", WrongReply, "another range"),
        ("Generic S3 error: Content-Length Header missing from response", WrongReply, "length was not announced"),
        (
            (
                "Generic S3 error: Error performing GET http://h/b/k in 2ms - HTTP error: error sending request"
                '\n\nDebug source:\nOs { code: 111, kind: ConnectionRefused, message: "Connection refused" }'
            ),
            NoAnswer,
            "HTTP error: error sending request (Connection refused)",
        ),
        (
            "Generic S3 error: HTTP error: request or response body error\n\nDebug source:\nkind: Interrupted",
            NoAnswer,
            "HTTP error: request or response body error",
        ),
        (
            (
                "Generic S3 error: Error performing GET https://h/b/k in 2ms - HTTP error: error sending request"
                "\n\nDebug source:\nError { cause: InvalidCertificate(UnknownIssuer) }"
            ),
            UntrustedCertificate,
            "error sending request",
        ),
        ("something new", NoAnswer, "something new"),
    ],
)
def test_other_errors(told, kind, message):
    error = translate(Exception(told))
    assert type(error) is kind
    assert message in str(error)
    assert "http://h" not in str(error)
