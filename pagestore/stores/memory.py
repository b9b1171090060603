"""Objects in this process's memory: for tests, simulations and demos.

Invariants, guarded by the lock of each named collection: ``sorted_keys`` holds exactly the keys of ``objects``, in
order; a body is never changed in place.
"""

import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from pagestore.errors import ObjectNotFound
from pagestore.keys import LIST_PAGE_KEYS, check_key, check_key_prefix, check_limit, check_range
from pagestore.objectstore import Data, ObjectInfo, UnfinishedUpload, etag_of
from pagestore.runtime import SYSTEM, Runtime

_ETAG_BYTES_MAX = 1024 * 1024
"""Larger objects are listed without an ETag, since each listing computes it anew."""


@dataclass(slots=True)
class _Collection:
    """The objects of one name, shared by every `MemoryStore` of that name."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    """Guards both members below."""
    objects: dict[str, tuple[bytes, float]] = field(default_factory=dict)
    """Key → body and time of the last write (seconds since the Unix epoch)."""
    sorted_keys: list[str] = field(default_factory=list)


_collections: dict[str, _Collection] = {}
_collections_lock = threading.Lock()  # guards `_collections`


class MemoryStore:
    """An `ObjectStore` in memory; all stores of the same name in a process share their objects."""

    def __init__(self, name: str, *, runtime: Runtime = SYSTEM) -> None:
        """Open the collection ``name`` (with the syntax of a key), which is empty at first use."""
        self._name = check_key(name)
        self._runtime = runtime
        with _collections_lock:
            self._collection = _collections.setdefault(name, _Collection())

    @property
    def url(self) -> str:
        """``memory://name``."""
        return f"memory://{self._name}"

    @property
    def parallelism(self) -> int:
        """One: no request ever waits."""
        return 1

    def get(self, key: str) -> bytes:
        """Return the whole object."""
        check_key(key)
        with self._collection.lock:
            found = self._collection.objects.get(key)
        if found is None:
            raise ObjectNotFound(key, self.url)
        return found[0]

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return a slice of the object."""
        check_range(start, length)
        return self.get(key)[start : start + length]

    def put(self, key: str, data: Data) -> None:
        """Create or replace the object."""
        body = bytes(data)
        with self._collection.lock:
            self._set(check_key(key), body)

    def put_if_absent(self, key: str, data: Data) -> bool:
        """Create the object unless the key exists."""
        body = bytes(data)
        with self._collection.lock:
            if check_key(key) in self._collection.objects:
                return False
            self._set(key, body)
            return True

    def put_stream(self, key: str, chunks: Iterable[bytes]) -> int:
        """Join the chunks, then create or replace the object."""
        check_key(key)
        body = b"".join(chunks)
        self.put(key, body)
        return len(body)

    def list(self, prefix: str, *, start_after: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        """Yield matching objects; as in S3, only each page of 1000 is consistent in itself."""
        check_key_prefix(prefix)
        check_limit(limit)
        return self._iterate(prefix, start_after, limit)

    def delete(self, key: str) -> None:
        """Remove the object if it exists."""
        collection = self._collection
        with collection.lock:
            if collection.objects.pop(check_key(key), None) is not None:
                del collection.sorted_keys[bisect_left(collection.sorted_keys, key)]

    def delete_many(self, keys: Sequence[str]) -> None:
        """Remove each object that there is."""
        for key in [check_key(key) for key in keys]:
            self.delete(key)

    def unfinished_uploads(self, prefix: str = "") -> Iterator[UnfinishedUpload]:
        """Yield nothing: an upload is finished when its call returns."""
        check_key_prefix(prefix)
        return iter(())

    def abort_upload(self, upload: UnfinishedUpload) -> None:
        """Do nothing: there is none."""

    def close(self) -> None:
        """Do nothing: the objects live as long as the process."""

    def _set(self, key: str, body: bytes) -> None:
        """Store the body; the caller holds the lock."""
        if key not in self._collection.objects:
            insort(self._collection.sorted_keys, key)
        self._collection.objects[key] = (body, self._runtime.now_s())

    def _iterate(self, prefix: str, start_after: str, limit: int | None) -> Iterator[ObjectInfo]:
        remaining = limit
        while remaining is None or remaining > 0:
            wanted = LIST_PAGE_KEYS if remaining is None else min(remaining, LIST_PAGE_KEYS)
            page = self._page(prefix, start_after, wanted)
            yield from page
            if len(page) < wanted:
                return
            start_after = page[-1].key
            remaining = None if remaining is None else remaining - wanted

    def _page(self, prefix: str, start_after: str, wanted: int) -> Sequence[ObjectInfo]:
        collection = self._collection
        page = []
        with collection.lock:
            keys = collection.sorted_keys
            first = max(bisect_left(keys, prefix), bisect_right(keys, start_after))
            for key in keys[first : first + wanted]:
                if not key.startswith(prefix):
                    break
                body, modified_s = collection.objects[key]
                etag = etag_of(body) if len(body) <= _ETAG_BYTES_MAX else ""
                page.append(ObjectInfo(key, len(body), modified_s, etag))
        return page
