"""Counts the requests to a store: for request budgets in tests, and to show users what a push costs.

The counts are what S3 would bill without retries. They are computed from the calls, in the same way for every backend,
so a budget measured in memory holds on S3:

- each call of a method is one request, even if it raises;
- a listing is one request per 1000 objects taken from it, at least one, and none with a limit of 0;
- a deletion of many objects is one request per 1000 objects; a listing of unfinished uploads is one;
- a streamed upload is one request up to ``part_bytes``, otherwise one per part and two to begin and complete it.

Bytes are those of bodies. Headers, listings, retries and a backend's own checks are not counted.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from operator import add, attrgetter, sub

from pagestore.keys import LIST_PAGE_KEYS
from pagestore.objectstore import Data, ObjectInfo, ObjectStore, UnfinishedUpload

PART_BYTES_DEFAULT = 8 * 2**20


@dataclass(frozen=True, slots=True)
class StoreTraffic:
    """The requests by verb, and the bytes of bodies, through a `MeteredStore`; subtract two to measure a span."""

    gets: int = 0
    range_gets: int = 0
    puts: int = 0
    conditional_puts: int = 0
    stream_puts: int = 0
    lists: int = 0
    deletes: int = 0
    bytes_up: int = 0
    bytes_down: int = 0

    @property
    def requests(self) -> int:
        """The total number of requests."""
        return sum(_values(self)[:-2])

    def __add__(self, other: "StoreTraffic") -> "StoreTraffic":
        return StoreTraffic(*map(add, _values(self), _values(other)))

    def __sub__(self, other: "StoreTraffic") -> "StoreTraffic":
        return StoreTraffic(*map(sub, _values(self), _values(other)))


_NAMES = tuple(field.name for field in fields(StoreTraffic))
_values: Callable[[StoreTraffic], tuple[int, ...]] = attrgetter(*_NAMES)
"""Returns all counts; `dataclasses.astuple` would copy each of them."""


class MeteredStore:
    """An `ObjectStore` that counts the requests and passes them to ``inner``."""

    def __init__(self, inner: ObjectStore, *, part_bytes: int = PART_BYTES_DEFAULT) -> None:
        """Wrap ``inner``; ``part_bytes`` is the part size of a streamed upload."""
        self._inner = inner
        self._part_bytes = part_bytes
        self._lock = threading.Lock()  # guards `_counts`
        self._counts = dict.fromkeys(_NAMES, 0)

    @property
    def inner(self) -> ObjectStore:
        """The wrapped store."""
        return self._inner

    def snapshot(self) -> StoreTraffic:
        """Return the counts so far."""
        with self._lock:
            return StoreTraffic(**self._counts)

    @property
    def url(self) -> str:
        """That of the inner store."""
        return self._inner.url

    @property
    def parallelism(self) -> int:
        """That of the inner store."""
        return self._inner.parallelism

    def get(self, key: str) -> bytes:
        """Count one get."""
        self._count(gets=1)
        body = self._inner.get(key)
        self._count(bytes_down=len(body))
        return body

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Count one ranged get."""
        self._count(range_gets=1)
        body = self._inner.get_range(key, start, length)
        self._count(bytes_down=len(body))
        return body

    def put(self, key: str, data: Data) -> None:
        """Count one put."""
        self._count(puts=1, bytes_up=_byte_count(data))
        self._inner.put(key, data)

    def put_if_absent(self, key: str, data: Data) -> bool:
        """Count one conditional put; a refused one has sent its bytes too."""
        self._count(conditional_puts=1, bytes_up=_byte_count(data))
        return self._inner.put_if_absent(key, data)

    def put_stream(self, key: str, chunks: Iterable[bytes]) -> int:
        """Count a plain put or the requests of a multipart upload, when it has ended or failed."""
        taken_bytes = 0

        def take() -> Iterator[bytes]:
            nonlocal taken_bytes
            for chunk in chunks:
                taken_bytes += len(chunk)
                yield chunk

        try:
            return self._inner.put_stream(key, take())
        finally:
            parts = -(-taken_bytes // self._part_bytes)
            self._count(stream_puts=1 if parts <= 1 else parts + 2, bytes_up=taken_bytes)

    def list(self, prefix: str, *, start_after: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        """Count one request per page of 1000 objects taken."""
        found = self._inner.list(prefix, start_after=start_after, limit=limit)
        return iter(()) if limit == 0 else self._count_pages(found)

    def delete(self, key: str) -> None:
        """Count one delete."""
        self._count(deletes=1)
        self._inner.delete(key)

    def delete_many(self, keys: Sequence[str]) -> None:
        """Count one delete for each 1000 keys."""
        self._count(deletes=-(-len(keys) // LIST_PAGE_KEYS))
        self._inner.delete_many(keys)

    def unfinished_uploads(self, prefix: str = "") -> Iterator[UnfinishedUpload]:
        """Count one listing."""
        self._count(lists=1)
        return self._inner.unfinished_uploads(prefix)

    def abort_upload(self, upload: UnfinishedUpload) -> None:
        """Count one delete."""
        self._count(deletes=1)
        self._inner.abort_upload(upload)

    def close(self) -> None:
        """Close the inner store."""
        self._inner.close()

    def _count(self, **more: int) -> None:
        with self._lock:
            for name, count in more.items():
                self._counts[name] += count

    def _count_pages(self, found: Iterator[ObjectInfo]) -> Iterator[ObjectInfo]:
        self._count(lists=1)
        for taken, info in enumerate(found):
            if taken and taken % LIST_PAGE_KEYS == 0:
                self._count(lists=1)
            yield info


def _byte_count(data: Data) -> int:
    return memoryview(data).nbytes
