"""Proving, before a bucket is trusted with commits, that its endpoint keeps three promises that they rest on.

Some servers that speak S3 accept If-None-Match and overwrite the object all the same; some proxies answer a
ranged GET with other bytes, or a listing with one that they kept. All look right until two writers meet.
"""

from contextlib import suppress

from pagestore.errors import CorruptObject, ObjectNotFound, PageStoreError, StoreUnavailable, UnsafeStore
from pagestore.objectstore import ObjectStore
from pagestore.runtime import SYSTEM, Runtime

_FIRST = b"0123456789 the first writer wins"
_SECOND = b"9876543210 the second writer must lose"
_LISTED = 8
PROBE_REQUESTS = 10
"""Where nothing is wrong."""
_ADVICE = "use AWS S3, MinIO, SeaweedFS or another server that honours If-None-Match"


def require_conditional_writes(store: ObjectStore, *, runtime: Runtime = SYSTEM) -> None:
    """Raise `UnsafeStore` unless ``put_if_absent``, ``get_range`` and ``list`` of ``store`` do what they say.

    Writes two objects of some 40 bytes below ``probe/`` and removes them: `PROBE_REQUESTS` requests. Other errors of
    the store pass as they are. What one client sees in order is proved; that a server decides races well is not.
    """
    run = f"probe/{runtime.entropy(16).hex()}"
    key, before = f"{run}-b", f"{run}-a"
    try:
        _check_conditional_put(store, key)
        _check_ranges(store, key)
        _check_listings(store, run, key, before)
    except StoreUnavailable:  # nor would it answer to a deletion
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


def _check_listings(store: ObjectStore, prefix: str, key: str, before: str) -> None:
    """Write a key that sorts before one that was listed already: the same listing must then begin with it."""
    seen = _listed(store, prefix)
    store.put(before, _FIRST)
    now = _listed(store, prefix)
    if now == seen or before not in now or key not in now:
        raise UnsafeStore(
            f"{store.url} lists what was there before, not what is there: perhaps a proxy caches its answers; "
            f"{_ADVICE} and lists what was written"
        )
    if seen != [key] or now != [before, key]:
        raise UnsafeStore(f"{store.url} does not list in the order of keys; {_ADVICE} and lists in that order")


def _listed(store: ObjectStore, prefix: str) -> list[str]:
    return [found.key for found in store.list(prefix, limit=_LISTED)]


def _slice(start: int, length: int) -> bytes:
    return _FIRST[start : start + length]
