import ssl

import pytest
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from pagestore.errors import StorageFull, StoreRefused
from pagestore.s3.errors import Answer, GiveUp, TruncatedBody, TryAgain, judge

WHERE = "bucket b at http://127.0.0.1:9000"


def reply(status, code):
    fields = {"Error": {"Code": code, "Message": "a message"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return boto.ClientError(fields, "GetObject")


@pytest.mark.parametrize(
    "error",
    [
        reply(500, "InternalError"),
        reply(502, "502"),
        reply(503, "SlowDown"),
        reply(503, "XMinioServerNotInitialized"),
        reply(429, "TooManyRequests"),
        reply(400, "RequestTimeout"),
        reply(400, "BadDigest"),
        reply(400, "IncompleteBody"),
        reply(409, "ConditionalRequestConflict"),
        reply(200, "InternalError"),
        boto.EndpointConnectionError(endpoint_url="x"),
        boto.ConnectTimeoutError(endpoint_url="x"),
        boto.ReadTimeoutError(endpoint_url="x"),
        boto.ConnectionClosedError(endpoint_url="x"),
        boto.ResponseStreamingError(error="x"),
        boto.IncompleteReadError(actual_bytes=1, expected_bytes=2),
        boto.SSLError(endpoint_url="x", error="EOF occurred in violation of protocol"),
        ResponseParserError("no XML"),
        TruncatedBody("short"),
        ConnectionResetError(),
        ssl.SSLError("broken"),
    ],
    ids=repr,
)
def test_passing_troubles_are_tried_again(error):
    assert isinstance(judge(error, WHERE), TryAgain)


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (reply(403, "AccessDenied"), "allow them to read, write, list and delete"),
        (reply(403, "SomethingNew"), "allow them to read, write, list and delete"),
        (reply(403, "SignatureDoesNotMatch"), "set AWS_ACCESS_KEY_ID"),
        (reply(403, "InvalidAccessKeyId"), "set AWS_ACCESS_KEY_ID"),
        (reply(400, "ExpiredToken"), "get new ones"),
        (reply(403, "RequestTimeTooSkewed"), "set the clock"),
        (reply(404, "NoSuchBucket"), "create the bucket"),
        (reply(301, "PermanentRedirect"), "region"),
        (reply(400, "AuthorizationHeaderMalformed"), "region"),
        (boto.NoCredentialsError(), "set AWS_ACCESS_KEY_ID"),
        (boto.PartialCredentialsError(provider="env", cred_var="x"), "set AWS_ACCESS_KEY_ID"),
        (boto.ProfileNotFound(profile="p"), "profile"),
        (boto.TokenRetrievalError(provider="sso", error_msg="expired"), "fix the AWS settings"),
        (boto.UnauthorizedSSOTokenError(), "fix the AWS settings"),
        (boto.SSLError(endpoint_url="x", error="CERTIFICATE_VERIFY_FAILED"), "AWS_CA_BUNDLE"),
    ],
    ids=repr,
)
def test_what_the_user_must_mend_is_said_in_one_sentence(error, advice):
    verdict = judge(error, WHERE)
    assert isinstance(verdict, GiveUp)
    assert isinstance(verdict.error, StoreRefused)
    message = str(verdict.error)
    assert WHERE in message
    assert advice in message
    assert "\n" not in message


@pytest.mark.parametrize("error", [reply(507, "XMinioStorageFull"), reply(507, ""), reply(403, "QuotaExceeded")])
def test_a_full_store(error):
    verdict = judge(error, WHERE)
    assert isinstance(verdict, GiveUp)
    assert isinstance(verdict.error, StorageFull)


@pytest.mark.parametrize(
    ("status", "code"),
    [(404, "NoSuchKey"), (404, "404"), (412, "PreconditionFailed"), (416, "InvalidRange"), (501, "NotImplemented")],
)
def test_other_replies_are_for_the_request_to_read(status, code):
    assert judge(reply(status, code), WHERE) == Answer(status, code, "a message")


def test_our_own_mistakes_stay_what_they_are():
    with pytest.raises(ZeroDivisionError):
        judge(ZeroDivisionError(), WHERE)
