"""Classifies the exceptions of S3 clients: pure, so that it can be tested without a server.

Clients other than boto3 raise the exceptions defined here: `ErrorReply`, `NoAnswer`, `UntrustedCertificate`. `judge`
turns any exception into one of three verdicts: `TryAgain`, `GiveUp` with the error to raise, or `Answer`, an S3 error
reply whose meaning depends on the request (404, 412, 416 …). The table in `pagestore.s3.meanings` classifies replies.
"""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from pagestore.errors import CorruptObject, LimitReached, PageStoreError, StorageFull, StoreRefused
from pagestore.limits import limit_reached
from pagestore.s3.meanings import NO_CREDENTIALS, Remedy, meaning_of
from pagestore.s3.server_words import one_line, read_words

ERROR_BODY = "GraftErrorBody"
"""The field of botocore's error response in which `Boto3Api` stores the first bytes of the reply's body."""


class TruncatedBody(Exception):
    """A body ended before the length that its headers promised; private to the S3 backend, always retried."""


class WrongReply(Exception):
    """A successful reply that does not match the request; private to the S3 backend, becomes `CorruptObject`."""


class NoAnswer(Exception):
    """No reply, or one that is not valid HTTP; private to the S3 backend, always retried."""


class NoETag(NoAnswer):
    """A successful reply without an ETag: S3 sends one with each object, a web page usually does not."""

    def __init__(self) -> None:
        super().__init__("the reply is not one of S3 (it has no ETag); a proxy or login page may be in the way")


class UntrustedCertificate(Exception):
    """The server's certificate has no trusted issuer; private to the S3 backend."""


class ErrorReply(Exception):
    """A reply with an error status; private to the S3 backend."""

    def __init__(self, status: int, code: str, message: str, *, region: str = "", location: str = "") -> None:
        """Store the fields; ``code`` is the status if the reply had no code."""
        super().__init__(f"{status} {code} {message}")
        self.status = status
        self.code = code
        self.message = message
        self.region = region
        """The bucket's region, if the reply names it."""
        self.location = location
        """The target of a redirect."""


@dataclass(frozen=True, slots=True)
class TryAgain:
    """A transient error: no connection, time-out, throttled, 5xx, damaged in transit."""

    reason: str
    answered: bool = False
    """Whether a server replied at all."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """An error that a retry would not cure."""

    error: PageStoreError


@dataclass(frozen=True, slots=True)
class Answer:
    """An error reply whose meaning depends on the request."""

    status: int
    code: str
    message: str

    @property
    def said(self) -> str:
        """Status, code and message."""
        return _said(self.status, self.code, self.message)

    @property
    def refuses_conditions(self) -> bool:
        """Whether this reply to a conditional write says that the server does not support conditional writes."""
        if self.status == 501:
            return True
        return self.status == 400 and (
            self.code in _UNKNOWN_HEADER_CODES or _CONDITION.search(f"{self.code} {self.message}") is not None
        )


Verdict: TypeAlias = TryAgain | GiveUp | Answer

_UNKNOWN_HEADER_CODES = frozenset({"InvalidArgument", "NotImplemented"})
_CONDITION = re.compile(r"if-none-match|ifnonematch|conditional", re.IGNORECASE)


def error_reply(status: int, body: bytes, *, region: str = "", location: str = "") -> ErrorReply:
    """Return the error that a server's reply describes, whether it comes from S3 or not."""
    words = read_words(body)
    return ErrorReply(
        status, words.code or str(status), words.message, region=region or words.region, location=location
    )


def judge(error: Exception, where: str) -> Verdict:
    """Classify ``error``, raised by a request; ``where`` names bucket and endpoint for messages.

    Messages quote the server on one line.
    """
    limit = limit_reached(error)
    if limit is not None:
        return GiveUp(LimitReached(f"{where} cannot be reached: {limit}"))
    if "botocore.exceptions" in sys.modules:  # otherwise it cannot be botocore's; importing it takes 140 ms
        verdict = _judge_boto(error, where)
        if verdict is not None:
            return verdict
    match error:
        case ErrorReply():
            return _judge_reply(error, where)
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
            return _judge_reply(_boto_reply(error.response), where)
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
            return GiveUp(StoreRefused(NO_CREDENTIALS.format(where)))
        case boto.BotoCoreError():  # credentials that could not be fetched, a missing profile …
            return GiveUp(StoreRefused(f"{where} cannot be reached, fix the AWS settings: {_one_line(error)}"))
        case _:
            return None


def _boto_reply(fields: Mapping[str, Any]) -> ErrorReply:
    """Return the reply that a ``ClientError`` describes."""
    error, metadata = fields.get("Error", {}), fields.get("ResponseMetadata", {})
    headers = metadata.get("HTTPHeaders", {})
    status = int(metadata.get("HTTPStatusCode", 0))
    code, message = str(error.get("Code", "")), str(error.get("Message", ""))
    if code in {"", str(status)} and fields.get(ERROR_BODY):  # botocore parses only XML, and fills in the rest
        message = read_words(fields[ERROR_BODY]).message
    region = headers.get("x-amz-bucket-region", "") or str(error.get("Region", ""))
    return ErrorReply(status, code or str(status), message, region=region, location=headers.get("location", ""))


def _untrusted(where: str) -> GiveUp:
    return GiveUp(StoreRefused(f"{where} has a certificate that is not trusted; set AWS_CA_BUNDLE"))


def _judge_reply(reply: ErrorReply, where: str) -> Verdict:
    status, code = reply.status, reply.code
    meaning = meaning_of(status, code)
    said = _said(status, code, reply.message)
    bare_400 = (status, code) == (400, "400")  # a HEAD that is signed for another region
    match meaning.remedy:
        case Remedy.RETRY:
            return TryAgain(said, answered=True)
        case Remedy.FREE:
            return GiveUp(StorageFull(f"{where} {meaning.words} ({said})"))
        case Remedy.MEND | Remedy.ASK if reply.region and (meaning.is_elsewhere or 300 <= status < 400 or bare_400):
            words = f"is in region {one_line(reply.region)}; add ?region={one_line(reply.region)} to the URL"
            return GiveUp(StoreRefused(f"{where} {words} or set AWS_REGION ({said})"))
        case Remedy.MEND:
            target = f", to {_place(reply.location)}" if reply.location and 300 <= status < 400 else ""
            return GiveUp(StoreRefused(f"{where} {meaning.words} ({said}{target})"))
        case Remedy.ASK:
            return Answer(status, code, one_line(reply.message))


def unexpected(answer: Answer, where: str) -> StoreRefused:
    """Return the error for a reply that makes no sense for its request."""
    if answer.status == 400 and answer.code != "400":
        return StoreRefused(f"{where} refuses the request ({answer.said})")
    return StoreRefused(f"{where} gave an answer that S3 would not give; is the endpoint right? ({answer.said})")


def _said(status: int, code: str, message: str) -> str:
    """Return a reply on one line: ``403 AccessDenied: no policy allows it``."""
    shown_code = one_line(code) if code != str(status) else ""
    words = one_line(message)
    return f"{status} {shown_code}".strip() + (f": {words}" if words else "")


def _place(location: str) -> str:
    """Return the target of a redirect without its query, which may contain secrets."""
    return one_line(location.partition("?")[0].partition("#")[0])


def not_an_s3_object(key: str, reason: str, where: str) -> CorruptObject:
    """Return the error for a reply that does not hold the object's bytes."""
    return CorruptObject(f"object {key} in {where}: {reason}")


def _one_line(error: Exception) -> str:
    return one_line(str(error)) or type(error).__name__
