"""What an exception of an S3 client means for us: a pure judgement, so that it can be tested without a server.

Clients other than boto3 raise what is defined here: `ErrorReply`, `NoAnswer`, `UntrustedCertificate`. `judge` turns
any exception into one of three verdicts: `TryAgain`, `GiveUp` with the error to raise, or `Answer`, an S3 error reply
whose meaning depends on the request (404, 409, 412, 416 …).
"""

import sys
from dataclasses import dataclass
from typing import TypeAlias

from pagestore.errors import CorruptObject, PageStoreError, StorageFull, StoreRefused


class TruncatedBody(Exception):
    """A body ended before the length that its headers promised; private to the S3 backend, always retried."""


class WrongReply(Exception):
    """A good reply that is not what was asked for, and why; private to the S3 backend, becomes `CorruptObject`."""


class NoAnswer(Exception):
    """No reply came, or none that is HTTP; private to the S3 backend, always retried."""


class UntrustedCertificate(Exception):
    """The server's certificate is signed by nobody we know; private to the S3 backend."""


class ErrorReply(Exception):
    """A reply with an error status; private to the S3 backend."""

    def __init__(self, status: int, code: str, message: str) -> None:
        """Keep the fields; ``code`` is the status where the reply had none."""
        super().__init__(f"{status} {code} {message}")
        self.status = status
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class TryAgain:
    """A passing trouble: no connection, time-out, throttled, 5xx, damaged in transit."""

    reason: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Trying again would not help."""

    error: PageStoreError


@dataclass(frozen=True, slots=True)
class Answer:
    """An error reply that the request itself must read."""

    status: int
    code: str
    message: str


Verdict: TypeAlias = TryAgain | GiveUp | Answer

_TRANSIENT_CODES = frozenset(
    {
        "BadDigest",
        "ConditionalRequestConflict",
        "IncompleteBody",
        "InternalError",
        "OperationAborted",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "XAmzContentSHA256Mismatch",
    }
)
_FULL_CODES = frozenset(
    {
        "InsufficientStorage",
        "QuotaExceeded",
        "XMinioAdminBucketQuotaExceeded",
        "XMinioStorageFull",
    }
)
_SET_CREDENTIALS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
_EXPIRED = "was asked with credentials that have expired; get new ones and try again"
_WRONG_KEY = f"does not accept the credentials; {_SET_CREDENTIALS}, to a key of that endpoint"
_WRONG_REGION = "is in another region; add ?region=… to the URL or set AWS_REGION"

_REFUSALS = {
    "AuthorizationHeaderMalformed": _WRONG_REGION,
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "IllegalLocationConstraintException": _WRONG_REGION,
    "InvalidAccessKeyId": _WRONG_KEY,
    "InvalidBucketName": "is no name that a bucket can have; mend the URL",
    "InvalidToken": _WRONG_KEY,
    "NoSuchBucket": "does not exist; create the bucket or mend its name",
    "PermanentRedirect": _WRONG_REGION,
    "RequestExpired": _EXPIRED,
    "RequestTimeTooSkewed": "finds this computer's clock wrong; set the clock and try again",
    "SignatureDoesNotMatch": _WRONG_KEY,
    "TokenRefreshRequired": _EXPIRED,
}
"""S3 error code → the end of a sentence that begins with the bucket and says what to mend."""
_REFUSED_STATUSES = {
    301: _WRONG_REGION,
    307: _WRONG_REGION,
    308: _WRONG_REGION,
    401: _WRONG_KEY,
    403: "refuses these credentials; let them read, write, list and delete below the prefix",
}
"""The same for replies whose code says nothing, as those to HEAD, or is not known."""


def judge(error: Exception, where: str) -> Verdict:
    """Return what ``error``, raised by a request, means; ``where`` names bucket and endpoint for messages.

    No message repeats a credential.
    """
    if "botocore.exceptions" in sys.modules:  # else it cannot be one of them; importing botocore takes 140 ms
        verdict = _judge_boto(error, where)
        if verdict is not None:
            return verdict
    match error:
        case ErrorReply():
            return _judge_reply(error.status, error.code, error.message, where)
        case UntrustedCertificate():
            return _untrusted(where)
        case NoAnswer() | TruncatedBody() | OSError():
            return TryAgain(_one_line(error))
        case _:
            raise error


def _judge_boto(error: Exception, where: str) -> Verdict | None:
    from http.client import HTTPException  # noqa: PLC0415 - 20 ms, for errors that only botocore lets through

    from botocore import exceptions as boto  # noqa: PLC0415
    from botocore.parsers import ResponseParserError  # noqa: PLC0415

    match error:
        case boto.ClientError():
            fields = error.response
            code = str(fields.get("Error", {}).get("Code", ""))
            message = str(fields.get("Error", {}).get("Message", ""))
            status = int(fields.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
            return _judge_reply(status, code, message, where)
        case boto.SSLError() if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return _untrusted(where)
        case (
            boto.HTTPClientError()
            | boto.ConnectionError()
            | boto.IncompleteReadError()
            | ResponseParserError()
            | HTTPException()
        ):
            return TryAgain(_one_line(error))
        case boto.NoCredentialsError() | boto.PartialCredentialsError():
            return GiveUp(StoreRefused(f"no credentials were found for {where}; {_SET_CREDENTIALS}"))
        case boto.BotoCoreError():  # credentials that could not be fetched, a profile that is not there …
            return GiveUp(StoreRefused(f"{where} cannot be asked, mend the AWS settings: {_one_line(error)}"))
        case _:
            return None


def _untrusted(where: str) -> GiveUp:
    return GiveUp(StoreRefused(f"{where} has a certificate that is not trusted; set AWS_CA_BUNDLE"))


def _judge_reply(status: int, code: str, message: str, where: str) -> Verdict:
    if code in _FULL_CODES or status == 507:
        return GiveUp(StorageFull(f"no space is left in {where} ({code or status})"))
    if code in _TRANSIENT_CODES or status == 429 or (status >= 500 and status != 501):
        return TryAgain(f"{status} {code} {message}".strip())
    refusal = _REFUSALS.get(code) or _REFUSED_STATUSES.get(status)
    if refusal is not None:
        return GiveUp(StoreRefused(f"{where} {refusal} ({code or status})"))
    return Answer(status, code, message)


def unexpected(answer: Answer, where: str) -> StoreRefused:
    """Return the error for a reply that has no meaning for its request."""
    said = " ".join(f"{answer.status} {answer.code} {answer.message}".split())
    return StoreRefused(f"{where} gave an answer that S3 would not give; is the endpoint right? ({said})")


def not_an_s3_object(key: str, reason: str, where: str) -> CorruptObject:
    """Return the error for a reply that is not the object's bytes."""
    return CorruptObject(f"object {key} in {where}: {reason}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
