"""AWS Signature Version 4; pure: the time is a parameter.

Source: AWS, "Authenticating Requests: Using the Authorization Header", Amazon S3 API Reference.
"""

import base64
import hashlib
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import quote

_EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key."""

    key_id: str
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    """The session token of temporary credentials."""


def content_md5(body: bytes) -> str:
    """Return the Content-MD5 header, by which a server detects a body damaged in transit."""
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()


def canonical_query(options: Mapping[str, str]) -> str:
    """Return the query string as it is signed and sent: sorted by name, quoted by AWS's rules."""
    return "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in sorted(options.items()))


def signed_headers(
    host: str,
    path: str,
    query: str,
    *,
    method: str = "GET",
    body_sha256: str = _EMPTY_SHA256,
    credentials: Credentials,
    region: str,
    now_s: float,
) -> dict[str, str]:
    """Return the headers of a request; ``path`` must be quoted, ``query`` comes from `canonical_query`.

    ``now_s`` is in seconds since the Unix epoch; servers refuse a time that is more than 15 minutes off.
    """
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_s))
    day = moment[:8]
    headers = {"host": host, "x-amz-content-sha256": body_sha256, "x-amz-date": moment}
    if credentials.token:
        headers["x-amz-security-token"] = credentials.token
    names = ";".join(headers)
    canonical = "\n".join(
        [method, path, query, *(f"{name}:{value}" for name, value in headers.items()), "", names, body_sha256]
    )
    scope = f"{day}/{region}/s3/aws4_request"
    to_sign = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signature = _mac(_signing_key(credentials.secret, day, region), to_sign).hex()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credentials.key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return headers


@lru_cache(maxsize=8)
def _signing_key(secret: str, day: str, region: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = _mac(key, part)
    return key


def _mac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")
