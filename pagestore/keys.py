"""The syntax of object keys, which every backend checks with these functions.

A key is one or more parts joined by ``/``. A part consists of characters of ``[A-Za-z0-9._-]`` and is not ``.`` or
``..``. So the same text works as an S3 key, as a path below a directory and as part of a URL.
"""

import re

KEY_BYTES_MAX = 900
"""S3 allows 1024 bytes in total; the rest is for the store's own prefix."""

LIST_PAGE_KEYS = 1000
"""S3 lists at most this many keys per request."""

_KEY = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*", re.ASCII)
_KEY_PART = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)
_KEY_PREFIX = re.compile(r"([A-Za-z0-9._-]+/)*[A-Za-z0-9._-]*", re.ASCII)


def check_key(key: str) -> str:
    """Return ``key`` if it is a valid object key; raises `ValueError` otherwise."""
    if not _KEY.fullmatch(key) or _has_dot_part(key) or len(key) > KEY_BYTES_MAX:
        raise ValueError(
            f"not an object key: {key!r} (parts of letters, digits, '.', '_' and '-', joined by '/', "
            f"none of them '.' or '..', {KEY_BYTES_MAX} characters at most)"
        )
    return key


def check_key_prefix(prefix: str) -> str:
    """Return ``prefix`` if some key could start with it, such as "" or half a part; raises `ValueError` otherwise."""
    if not _KEY_PREFIX.fullmatch(prefix) or _has_dot_part(prefix.rpartition("/")[0]) or len(prefix) > KEY_BYTES_MAX:
        raise ValueError(f"no object key can start with {prefix!r}")
    return prefix


def is_key_part(name: str) -> bool:
    """Return whether ``name`` is a valid part of a key."""
    return _KEY_PART.fullmatch(name) is not None and name not in {".", ".."}


def check_range(start: int, length: int) -> None:
    """Raise `ValueError` unless ``start`` ≥ 0 and ``length`` > 0."""
    if start < 0 or length <= 0:
        raise ValueError(f"not a byte range: start {start}, length {length}")


def check_limit(limit: int | None) -> None:
    """Raise `ValueError` for a negative ``limit``."""
    if limit is not None and limit < 0:
        raise ValueError(f"the limit of a listing must not be negative: {limit}")


def _has_dot_part(path: str) -> bool:
    return any(part in {".", ".."} for part in path.split("/"))
