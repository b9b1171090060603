"""Reads the body of an S3 reply, and accepts it only if its headers match the request.

Caches and proxies in front of a bucket have been seen to ignore Range, to compress bodies, and to cut them short.
"""

import re
from contextlib import closing
from typing import TYPE_CHECKING

from pagestore.s3.errors import NoETag, TruncatedBody, WrongReply

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)", re.ASCII)
PLAIN_ENCODINGS = frozenset({"", "identity", "aws-chunked"})
LENGTH_UNKNOWN = "its length was not announced, so it may have been cut short"


def compressed(encoding: str) -> str:
    """Return the words for a reply with this Content-Encoding."""
    return f"it arrived compressed ({encoding}); bypass the proxy that does this"


def range_ignored(start: int, length: int) -> str:
    """Return the words for a whole object in reply to a ranged GET."""
    return f"bytes {start}-{start + length - 1} were requested, but the whole object arrived (a proxy ignores Range)"


def next_token(*, truncated: bool, token: str) -> str:
    """Return the token of a listing's next page, empty after the last one; raises `WrongReply` if it is missing."""
    if truncated and not token:
        raise WrongReply("it says that a listing continues, but not from where (IsTruncated without a token)")
    return token if truncated else ""


def require_etag(etag: object) -> None:
    """Raise `NoETag` if ``etag`` is empty or missing."""
    if not etag:
        raise NoETag


def whole_body(reply: "GetObjectOutputTypeDef") -> bytes:
    """Return the body of a GET without Range; raises `WrongReply`, or `TruncatedBody` to be retried."""
    status = reply["ResponseMetadata"]["HTTPStatusCode"]
    if status != 200:
        return _discard(reply, f"the whole object was requested, but the reply has status {status}")
    return _read(reply)


def ranged_body(reply: "GetObjectOutputTypeDef", start: int, length: int) -> bytes:
    """Return the body of a GET with Range; raises `WrongReply`, or `TruncatedBody` to be retried.

    A whole object (status 200) is accepted if it is what the range means: ``start`` is 0 and the object is no longer
    than ``length``.
    """
    asked = f"bytes {start}-{start + length - 1}"
    status = reply["ResponseMetadata"]["HTTPStatusCode"]
    if status == 200:
        size = reply.get("ContentLength")
        if start == 0 and size is not None and size <= length:
            return _read(reply)
        return _discard(reply, range_ignored(start, length))
    content_range = reply.get("ContentRange", "")
    expected = None if status != 206 else expected_length(content_range, start, length)
    if expected is None:
        return _discard(reply, f"{asked} were requested, but the reply has range {content_range!r} and status {status}")
    body = _read(reply)
    if len(body) != expected:
        raise TruncatedBody(f"{len(body)} bytes arrived, {expected} were announced")
    return body


def expected_length(content_range: str, start: int, length: int) -> int | None:
    """Return how many bytes a reply with this Content-Range holds, or None if it does not match the requested range.

    >>> expected_length("bytes 5-9/10", 5, 100)
    5
    """
    match = _CONTENT_RANGE.fullmatch(content_range)
    if match is None or int(match[1]) != start:
        return None
    end = int(match[2]) + 1
    asked_end = start + length
    whole_size = asked_end if match[3] == "*" else int(match[3])
    return end - start if end == min(asked_end, whole_size) else None


def _read(reply: "GetObjectOutputTypeDef") -> bytes:
    if not reply.get("ETag"):
        reply["Body"].close()
        raise NoETag
    encoding = reply.get("ContentEncoding", "")
    if encoding not in PLAIN_ENCODINGS:
        return _discard(reply, compressed(encoding))
    headers = reply["ResponseMetadata"]["HTTPHeaders"]
    if "content-length" not in headers and "transfer-encoding" not in headers:
        return _discard(reply, LENGTH_UNKNOWN)
    with closing(reply["Body"]) as stream:
        body = stream.read()
    announced = headers.get("content-length")
    if announced is not None and len(body) != int(announced):
        raise TruncatedBody(f"{len(body)} bytes arrived, {announced} were announced")
    return body


def _discard(reply: "GetObjectOutputTypeDef", reason: str) -> bytes:
    """Drop the connection with the rest of the body, and raise `WrongReply`."""
    reply["Body"].close()
    raise WrongReply(reason)
