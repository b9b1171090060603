"""Proving, before a bucket is trusted with commits, that its endpoint keeps two promises that they rest on.

Some servers that speak S3 accept If-None-Match and overwrite the object all the same; some proxies answer a
ranged GET with other bytes. Both look right until two writers meet.
"""

from contextlib import suppress

from pagestore.errors import CorruptObject, ObjectNotFound, PageStoreError, StoreUnavailable, UnsafeStore
from pagestore.objectstore import ObjectStore
from pagestore.runtime import SYSTEM, Runtime

_FIRST = b"0123456789 the first writer wins"
_SECOND = b"9876543210 the second writer must lose"
_ADVICE = "use AWS S3, MinIO, SeaweedFS or another server that honours If-None-Match"


def require_conditional_writes(store: ObjectStore, *, runtime: Runtime = SYSTEM) -> None:
    """Raise `UnsafeStore` unless ``put_if_absent`` and ``get_range`` of ``store`` do what they say.

    Writes one object of some 40 bytes below ``probe/`` and removes it: six requests. Other errors of the
    store pass as they are. What one client sees in order is proved; that a server decides races well is
    not.
    """
    key = f"probe/{runtime.entropy(16).hex()}"
    try:
        _check_conditional_put(store, key)
        _check_ranges(store, key)
    except StoreUnavailable:  # nor would it answer to a deletion
        raise
    except BaseException:
        with suppress(PageStoreError):
            store.delete(key)
        raise
    with suppress(PageStoreError):
        store.delete(key)


def _check_conditional_put(store: ObjectStore, key: str) -> None:
    if not store.put_if_absent(key, _FIRST) and not _landed_unseen(store, key):
        raise UnsafeStore(f"{store.url} refuses to create an object that does not exist; {_ADVICE}")
    created_again = store.put_if_absent(key, _SECOND)
    kept = store.get(key)
    if created_again or kept != _FIRST:
        raise UnsafeStore(
            f"{store.url} overwrites objects on conditional writes: two writers would lose data; {_ADVICE}"
        )


def _landed_unseen(store: ObjectStore, key: str) -> bool:
    """Whether the object was created by a try whose reply was lost, before the try that was refused."""
    try:
        return store.get(key) == _FIRST
    except ObjectNotFound:
        return False


def _check_ranges(store: ObjectStore, key: str) -> None:
    ranges = ((3, 5), (len(_FIRST) - 2, 10))
    try:
        right = all(store.get_range(key, start, length) == _slice(start, length) for start, length in ranges)
    except CorruptObject as error:
        raise UnsafeStore(f"{store.url} does not honour ranges: {error}; {_ADVICE} and Range") from error
    if not right:
        raise UnsafeStore(f"{store.url} serves wrong bytes for a part of an object; {_ADVICE} and Range")


def _slice(start: int, length: int) -> bytes:
    return _FIRST[start : start + length]
