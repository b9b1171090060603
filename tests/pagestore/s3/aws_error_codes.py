"""The error codes that AWS publishes for S3, as far as requests like ours may meet them, and what each is for us.

Source: "Error responses", Amazon S3 API Reference, "List of error codes" and the codes of KMS.
"""

from pagestore.errors import StorageFull, StoreRefused, StoreUnavailable

PUBLISHED = [
    (403, "AccessDenied", StoreRefused, "refuses these credentials"),
    (403, "AccountProblem", StoreRefused, "this account"),
    (403, "AllAccessDisabled", StoreRefused, "this account"),
    (400, "AuthorizationHeaderMalformed", StoreRefused, "region"),
    (400, "AuthorizationQueryParametersError", StoreRefused, "does not accept the credentials"),
    (400, "BadDigest", StoreUnavailable, ""),
    (409, "ConditionalRequestConflict", StoreUnavailable, ""),
    (400, "CredentialsNotSupported", StoreRefused, "does not accept the credentials"),
    (400, "EncryptionTypeMismatch", StoreRefused, "encryption"),
    (400, "EntityTooLarge", StoreRefused, "request of this size"),
    (400, "ExpiredToken", StoreRefused, "expired"),
    (400, "IllegalLocationConstraintException", StoreRefused, "region"),
    (400, "IncompleteBody", StoreUnavailable, ""),
    (500, "InternalError", StoreUnavailable, ""),
    (403, "InvalidAccessKeyId", StoreRefused, "does not accept the credentials"),
    (400, "InvalidBucketName", StoreRefused, "a name that no bucket can have"),
    (409, "InvalidBucketState", StoreRefused, "state"),
    (400, "InvalidEncryptionAlgorithmError", StoreRefused, "encryption"),
    (400, "InvalidDigest", StoreRefused, "refuses the request"),
    (400, "InvalidHostHeader", StoreRefused, "refuses the request"),
    (403, "InvalidObjectState", StoreRefused, "restore the object"),
    (403, "InvalidPayer", StoreRefused, "this account"),
    (400, "InvalidRequest", StoreRefused, "refuses the request"),
    (403, "InvalidSecurity", StoreRefused, "does not accept the credentials"),
    (400, "InvalidStorageClass", StoreRefused, "refuses the request"),
    (400, "InvalidToken", StoreRefused, "does not accept the credentials"),
    (400, "InvalidURI", StoreRefused, "refuses the request"),
    (400, "KeyTooLongError", StoreRefused, "shorter prefix"),
    (400, "KMS.DisabledException", StoreRefused, "KMS key"),
    (400, "KMS.InvalidKeyUsageException", StoreRefused, "KMS key"),
    (400, "KMS.KMSInvalidStateException", StoreRefused, "KMS key"),
    (400, "KMS.NotFoundException", StoreRefused, "KMS key"),
    (400, "KMS.SomethingNew", StoreRefused, "KMS key"),
    (400, "KMS.ThrottlingException", StoreUnavailable, ""),
    (400, "MaxMessageLengthExceeded", StoreRefused, "request of this size"),
    (405, "MethodNotAllowed", StoreRefused, "does not allow"),
    (411, "MissingContentLength", StoreRefused, "Content-Length"),
    (400, "MissingSecurityHeader", StoreRefused, "refuses the request"),
    (404, "NoSuchBucket", StoreRefused, "create the bucket"),
    (403, "NotSignedUp", StoreRefused, "this account"),
    (403, "ObjectNotInActiveTierError", StoreRefused, "restore the object"),
    (409, "OperationAborted", StoreUnavailable, ""),
    (301, "PermanentRedirect", StoreRefused, "region"),
    (307, "Redirect", StoreRefused, "region"),
    (400, "RequestExpired", StoreRefused, "clock"),
    (400, "RequestTimeout", StoreUnavailable, ""),
    (403, "RequestTimeTooSkewed", StoreRefused, "clock"),
    (503, "ServiceUnavailable", StoreUnavailable, ""),
    (403, "SignatureDoesNotMatch", StoreRefused, "does not accept the credentials"),
    (503, "SlowDown", StoreUnavailable, ""),
    (307, "TemporaryRedirect", StoreRefused, "region"),
    (400, "TokenRefreshRequired", StoreRefused, "expired"),
    (403, "UnauthorizedAccess", StoreRefused, "this account"),
    (400, "UnexpectedContent", StoreRefused, "refuses the request"),
]
"""Status, code, the error of ours, and words that its message must hold."""

OTHERS = [
    (503, "XMinioServerNotInitialized", StoreUnavailable, ""),
    (507, "XMinioStorageFull", StorageFull, "no space left"),
    (403, "QuotaExceeded", StorageFull, "no space left"),
    (403, "XMinioAdminBucketQuotaExceeded", StorageFull, "no space left"),
    (403, "UserSuspended", StoreRefused, "this account"),
    (403, "SomethingNew", StoreRefused, "refuses these credentials"),
    (400, "SomethingNew", StoreRefused, "refuses the request"),
    (409, "SomethingNew", StoreUnavailable, ""),
    (500, "SomethingNew", StoreUnavailable, ""),
]
"""Codes of other servers, and of those that nobody knows yet."""

WITHOUT_A_CODE = [
    *[
        (status, StoreUnavailable, "")
        for status in (408, 409, 421, 423, 425, 429, 499, 500, 502, 503, 504, 509, 520, 522, 524, 529)
    ],
    (302, StoreRefused, "redirects the request"),
    (303, StoreRefused, "redirects the request"),
    (400, StoreRefused, "is the endpoint right"),
    (401, StoreRefused, "does not accept the credentials"),
    (402, StoreRefused, "payment"),
    (403, StoreRefused, "refuses these credentials"),
    (404, StoreRefused, "is the endpoint right"),
    (405, StoreRefused, "does not allow"),
    (407, StoreRefused, "HTTPS_PROXY"),
    (410, StoreRefused, "is the endpoint right"),
    (411, StoreRefused, "Content-Length"),
    (413, StoreRefused, "request of this size"),
    (414, StoreRefused, "shorter prefix"),
    (451, StoreRefused, "is the endpoint right"),
    (507, StorageFull, "no space left"),
    (511, StoreRefused, "login"),
]
"""What gateways and proxies say."""
