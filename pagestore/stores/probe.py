"""Checks that an endpoint gives the three guarantees that commits need, before a bucket is trusted with them.

Some S3-compatible servers accept If-None-Match and overwrite the object anyway. Some proxies answer a ranged GET with
other bytes, or a listing from their cache. All of them seem to work until two writers meet.
"""

from contextlib import suppress

from pagestore.errors import CorruptObject, ObjectNotFound, PageStoreError, StoreUnavailable, UnsafeStore
from pagestore.objectstore import ObjectStore
from pagestore.runtime import SYSTEM, Runtime

_FIRST = b"0123456789 the first writer wins"
_SECOND = b"9876543210 the second writer must lose"
_LISTED = 8
PROBE_REQUESTS = 10
"""Requests of a successful probe."""
_ADVICE = "use AWS S3, MinIO, SeaweedFS or another server that honours If-None-Match"


def require_conditional_writes(store: ObjectStore, *, runtime: Runtime = SYSTEM) -> None:
    """Raise `UnsafeStore` unless ``put_if_absent``, ``get_range`` and ``list`` of ``store`` work as specified.

    Writes two objects of about 40 bytes below ``probe/`` and removes them, in `PROBE_REQUESTS` requests. Other errors
    of the store pass unchanged. This checks what one client sees in sequence, not how the server decides races.
    """
    run = f"probe/{runtime.entropy(16).hex()}"
    key, before = f"{run}-b", f"{run}-a"
    try:
        _check_conditional_put(store, key)
        _check_ranges(store, key)
        _check_listings(store, run, key, before)
    except StoreUnavailable:  # it would not answer a deletion either
        raise
    except BaseException:
        _remove(store, key, before)
        raise
    _remove(store, key, before)


def _remove(store: ObjectStore, *keys: str) -> None:
    for key in keys:
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
    """Return whether an earlier try, whose reply was lost, created the object before the refused try."""
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
        raise UnsafeStore(f"{store.url} returns wrong bytes for a range of an object; {_ADVICE} and Range")


def _check_listings(store: ObjectStore, prefix: str, key: str, before: str) -> None:
    """Write a key that sorts before one already listed; the same listing must then begin with it."""
    seen = _listed(store, prefix)
    store.put(before, _FIRST)
    now = _listed(store, prefix)
    if now == seen or before not in now or key not in now:
        raise UnsafeStore(
            f"{store.url} does not list an object that was just written; a proxy may be caching its answers; "
            f"{_ADVICE} and lists every completed write"
        )
    if seen != [key] or now != [before, key]:
        raise UnsafeStore(f"{store.url} does not list in key order; {_ADVICE} and lists in that order")


def _listed(store: ObjectStore, prefix: str) -> list[str]:
    return [found.key for found in store.list(prefix, limit=_LISTED)]


def _slice(start: int, length: int) -> bytes:
    return _FIRST[start : start + length]
