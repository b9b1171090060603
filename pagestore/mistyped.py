"""Detects mistyped URLs of stores, which would otherwise be taken for directories. Pure.

s3:/bucket/x             one slash is missing
s3//bucket/x             the colon is missing
bucket/x?region=…        s3:// is missing: directories have no options
localhost:9000/bucket    a server, which belongs in ?endpoint=

To use a directory that really has such a name, write it as a path: ./s3:/bucket/x.
"""

import re

_SCHEMES = "s3|s3a|s3n|s3fs|r2|minio|gs|gcs|az|abfs|adl|wasb|https?|ftp|sftp|ssh|file|memory"
_PROPER = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_BLANKS = "it begins or ends with white space"
_SLIPS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), reason)
    for pattern, reason in (
        (r"\s|.*\s$", _BLANKS),
        (r".*[\x00-\x1f\x7f]", "it contains a control character"),
        (rf"[a-z][a-z0-9+.-]*:[/\\]|(?:{_SCHEMES}):|(?:{_SCHEMES})[;,.:]*//", "a URL has '://' after its scheme"),
        (r"//", "it begins with two slashes: the scheme of a URL is missing"),
        (
            r"(?:(?:localhost|[\w-]+(?:\.[\w-]+)+):\d{1,5}|[\w-]+:\d{4,5}|[^/]*\.(?:amazonaws|cloudflarestorage)\.com)(?:/|$)",
            "it begins with a server, which belongs in the option endpoint, as in s3://bucket/prefix?endpoint=URL",
        ),
        (r"[\w.-]+@[\w.-]+:", "stores cannot be reached over SSH"),
        (r".*\?[a-z_0-9]+=", "only URLs have options; 's3://' may be missing"),
    )
)


def why_not_a_directory(address: str) -> str | None:
    """Return what is wrong with an address that looks like a mistyped URL; None for any other address."""
    for pattern, reason in _SLIPS:
        if pattern.match(address) and (reason is _BLANKS or not _PROPER.match(address)):
            return reason
    return None


def looks_like_url(text: str) -> bool:
    """Return whether a text that should be a local path is a URL of a store, well-formed or mistyped."""
    return bool(_PROPER.match(text)) or why_not_a_directory(text) not in {None, _BLANKS}
