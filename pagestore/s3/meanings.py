"""The meaning of S3's error codes and statuses, and what to tell the user: one table for every client and request.

A reply's code is looked up first, then its status. The codes are those that AWS publishes for the requests that graft
sends ("Error responses", Amazon S3 API Reference), and those that MinIO, Ceph and others add. The table in
``docs/reference/s3-replies.md`` is generated from this one.
"""

from dataclasses import dataclass
from enum import Enum


class Remedy(Enum):
    """What the caller does about a reply."""

    RETRY = "try again"
    """The request is repeated, and finally raises `StoreUnavailable`."""
    MEND = "fix the set-up"
    """Raises `StoreRefused`."""
    FREE = "free some space"
    """Raises `StorageFull`."""
    ASK = "depends on the request"
    """Each request interprets the reply itself; a reply that makes no sense for its request raises `StoreRefused`."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """One row of the table."""

    remedy: Remedy
    words: str = ""
    """The rest of a sentence that begins with the bucket; empty if there is no message."""
    is_elsewhere: bool = False
    """Whether the bucket is in another region, which the reply may name."""


RETRY = Meaning(Remedy.RETRY)
ASK = Meaning(Remedy.ASK)


def _mend(words: str) -> Meaning:
    return Meaning(Remedy.MEND, words)


_SET_CREDENTIALS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
NO_CREDENTIALS = f"no credentials were found for {{}}; {_SET_CREDENTIALS}"

_FULL = Meaning(Remedy.FREE, "has no space left")
_WRONG_KEY = _mend(f"does not accept the credentials; {_SET_CREDENTIALS}, to a key of that endpoint")
_EXPIRED = _mend("refuses the credentials because they have expired; get new ones and try again")
_FORBIDDEN = _mend("refuses these credentials; allow them to read, write, list and delete below the prefix")
_ACCOUNT = _mend("is closed to this account; ask the administrator of the account or the service")
_CLOCK = _mend("says that this computer's clock is wrong; set the clock and try again")
_REGION = Meaning(Remedy.MEND, "is in another region; add ?region=… to the URL or set AWS_REGION", is_elsewhere=True)
_REDIRECT = _mend(
    "redirects the request; a proxy or login page may be in the way, or the endpoint is wrong: "
    "name the S3 endpoint itself in ?endpoint=… or AWS_ENDPOINT_URL"
)
_ARCHIVED = _mend(
    "has the object in an archive, where it cannot be read; restore the object, and exclude objects below the prefix "
    "from life-cycle rules and archive tiers"
)
_KMS = _mend("cannot use its encryption key; enable the KMS key and allow these credentials to use it")
_ENCRYPTION = _mend("requires an encryption that graft does not request; set a default encryption on the bucket")
_TOO_LARGE = _mend(
    "does not accept a request of this size; raise the limit of the server or proxy, or set a smaller part_bytes"
)
_KEY = _mend("does not accept a key of this length; use a shorter prefix")
_BUCKET_STATE = _mend("is in a state that does not allow this; check the bucket's settings")
_METHOD = _mend("does not allow this kind of request; is the endpoint that of S3?")
_LENGTH = _mend("did not get the Content-Length header; a proxy may be dropping it, bypass that proxy")
_PROXY_LOGIN = _mend("is behind a proxy that requires credentials; set them in HTTPS_PROXY")
_PORTAL = _mend("is behind a network that requires a login; log in and try again")
_PAYMENT = _mend("requires a payment that the account has not made; ask the administrator of the account")

CODES: dict[str, Meaning] = {
    "AccessDenied": _FORBIDDEN,
    "AccessForbidden": _FORBIDDEN,
    "AccountProblem": _ACCOUNT,
    "AllAccessDisabled": _ACCOUNT,
    "AuthFailure": _WRONG_KEY,
    "AuthorizationHeaderMalformed": _REGION,
    "AuthorizationQueryParametersError": _WRONG_KEY,
    "BadDigest": RETRY,
    "BandwidthLimitExceeded": RETRY,
    "Busy": RETRY,
    "ClientDisconnected": RETRY,
    "ConditionalRequestConflict": RETRY,
    "CredentialsNotSupported": _WRONG_KEY,
    "EncryptionTypeMismatch": _ENCRYPTION,
    "EntityTooLarge": _TOO_LARGE,
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "IllegalLocationConstraintException": _REGION,
    "IncompleteBody": RETRY,
    "InsufficientStorage": _FULL,
    "InternalError": RETRY,
    "InternalFailure": RETRY,
    "InvalidAccessKeyId": _WRONG_KEY,
    "InvalidBucketName": _mend("has a name that no bucket can have; correct the URL"),
    "InvalidBucketState": _BUCKET_STATE,
    "InvalidClientTokenId": _WRONG_KEY,
    "InvalidEncryptionAlgorithmError": _ENCRYPTION,
    "InvalidObjectState": _ARCHIVED,
    "InvalidPayer": _ACCOUNT,
    "InvalidRange": ASK,
    "InvalidRegion": _REGION,
    "InvalidSecurity": _WRONG_KEY,
    "InvalidToken": _WRONG_KEY,
    "KMS.AccessDeniedException": _KMS,
    "KMS.DisabledException": _KMS,
    "KMS.InternalException": RETRY,
    "KMS.InvalidKeyUsageException": _KMS,
    "KMS.KMSInvalidStateException": _KMS,
    "KMS.NotFoundException": _KMS,
    "KMS.ThrottlingException": RETRY,
    "KMS.UnrecognizedClientException": _KMS,
    "KeyTooLongError": _KEY,
    "MaxMessageLengthExceeded": _TOO_LARGE,
    "MethodNotAllowed": _METHOD,
    "MissingAuthenticationToken": _WRONG_KEY,
    "MissingContentLength": _LENGTH,
    "NoSuchBucket": _mend("does not exist; create the bucket or correct its name"),
    "NoSuchKey": ASK,
    "NoSuchUpload": ASK,
    "NotImplemented": ASK,
    "NotSignedUp": _ACCOUNT,
    "ObjectNotInActiveTierError": _ARCHIVED,
    "OperationAborted": RETRY,
    "OptInRequired": _ACCOUNT,
    "PermanentRedirect": _REGION,
    "PreconditionFailed": ASK,
    "PriorRequestNotComplete": RETRY,
    "QuotaExceeded": _FULL,
    "Redirect": _REGION,
    "RequestExpired": _CLOCK,
    "RequestLimitExceeded": RETRY,
    "RequestThrottled": RETRY,
    "RequestTimeTooSkewed": _CLOCK,
    "RequestTimeout": RETRY,
    "ServiceFailure": RETRY,
    "ServiceUnavailable": RETRY,
    "SignatureDoesNotMatch": _WRONG_KEY,
    "SlowDown": RETRY,
    "SlowDownRead": RETRY,
    "SlowDownWrite": RETRY,
    "TemporaryRedirect": _REGION,
    "Throttled": RETRY,
    "Throttling": RETRY,
    "ThrottlingException": RETRY,
    "TokenRefreshRequired": _EXPIRED,
    "TooManyRequests": RETRY,
    "TooManyRequestsException": RETRY,
    "UnauthorizedAccess": _ACCOUNT,
    "UnauthorizedAccessError": _ACCOUNT,
    "UserSuspended": _ACCOUNT,
    "XAmzContentChecksumMismatch": RETRY,
    "XAmzContentSHA256Mismatch": RETRY,
    "XMinioAdminBucketQuotaExceeded": _FULL,
    "XMinioServerNotInitialized": RETRY,
    "XMinioStorageFull": _FULL,
}
"""The status decides for other codes, and for replies without a code."""

STATUSES: dict[int, Meaning] = {
    301: _REDIRECT,
    302: _REDIRECT,
    303: _REDIRECT,
    305: _REDIRECT,
    307: _REDIRECT,
    308: _REDIRECT,
    401: _WRONG_KEY,
    402: _PAYMENT,
    403: _FORBIDDEN,
    405: _METHOD,
    407: _PROXY_LOGIN,
    408: RETRY,
    409: RETRY,
    411: _LENGTH,
    413: _TOO_LARGE,
    414: _KEY,
    421: RETRY,
    423: RETRY,
    425: RETRY,
    429: RETRY,
    499: RETRY,
    501: ASK,
    505: _METHOD,
    507: _FULL,
    511: _PORTAL,
}
"""Other statuses: 5xx, and 2xx with an error in the body, are retried; each request interprets the rest itself."""


def meaning_of(status: int, code: str) -> Meaning:
    """Return the meaning of a reply; for a reply without a code, ``code`` is empty or the status.

    >>> meaning_of(403, "InvalidObjectState").remedy
    <Remedy.MEND: 'fix the set-up'>
    >>> meaning_of(502, "").remedy
    <Remedy.RETRY: 'try again'>
    """
    found = CODES.get(code) or STATUSES.get(status)
    if found is not None:
        return found
    if code.startswith(("KMS.", "KMS")) and status < 500:
        return _KMS
    return RETRY if status >= 500 or 200 <= status < 300 else ASK
