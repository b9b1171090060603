"""The port to object storage: the interface that every backend implements in full.

Keys are relative to the store's prefix and consist of ``/``-separated parts from ``[A-Za-z0-9._-]``. Every method may
be called from several threads at once. Errors are those of `pagestore.errors`. Every backend passes the contract suite
``pagestore.testing.ObjectStoreContract``.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

Data: TypeAlias = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object of a listing."""

    key: str
    size: int
    """In bytes."""
    modified_s: float
    """Seconds since the Unix epoch, by the store's own clock."""
    etag: str = ""
    """Changes when the object's bytes change; empty if the store gives none."""


@dataclass(frozen=True, slots=True)
class UnfinishedUpload:
    """A streamed upload that was begun, but neither completed nor aborted."""

    key: str
    """The key of its object; for a draft file of a directory store, the path of the draft."""
    upload_id: str
    begun_s: float
    """Seconds since the Unix epoch, by the store's own clock."""


def etag_of(data: Data) -> str:
    """Return the ETag that most S3 servers give an object written by one PUT: its MD5 in hexadecimal."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


class ObjectStore(Protocol):
    """Named immutable byte strings, as in S3."""

    @property
    def url(self) -> str:
        """The store's URL, for messages and for `pagestore.urls.open_store`; never contains a secret."""
        ...

    @property
    def parallelism(self) -> int:
        """How many concurrent requests are useful; callers limit their threads to it."""
        ...

    def get(self, key: str) -> bytes:
        """Return the whole object; raises `ObjectNotFound`."""
        ...

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return ``length`` > 0 bytes from ``start`` ≥ 0, fewer (or none) only at the end of the object.

        Raises `ObjectNotFound`, and `CorruptObject` for a reply that does not match the range.
        """
        ...

    def put(self, key: str, data: Data) -> None:
        """Create or replace the object. It is durable on return, and never visible half-written."""
        ...

    def put_if_absent(self, key: str, data: Data) -> bool:
        """Create the object unless the key exists, atomically; return whether this call created it.

        ``False`` may also mean that an earlier attempt of this same call landed and its reply was lost; a caller that
        must know reads the object back. After `StoreUnavailable` the outcome is unknown.
        """
        ...

    def put_stream(self, key: str, chunks: Iterable[bytes]) -> int:
        """Create or replace the object from chunks, holding only a few of them in memory; return its size.

        The object becomes visible only when it is complete. If ``chunks`` raises, nothing becomes visible.
        """
        ...

    def list(self, prefix: str, *, start_after: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        """Yield the objects whose key starts with ``prefix`` and sorts after ``start_after``, in key order.

        At most ``limit`` objects; with ``limit`` ≤ 1000 this is one request. Unfinished uploads are never listed.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove the object; removing an absent object is not an error."""
        ...

    def delete_many(self, keys: Sequence[str]) -> None:
        """Remove objects, a thousand per request if the store supports it; absent objects are not an error.

        If the store refuses to remove some of them, the others are removed before this raises.
        """
        ...

    def unfinished_uploads(self, prefix: str = "") -> Iterator[UnfinishedUpload]:
        """Yield the unfinished uploads to keys that start with ``prefix``, including those under way.

        A store whose drafts do not record their keys yields all of them, whatever the prefix.
        """
        ...

    def abort_upload(self, upload: UnfinishedUpload) -> None:
        """Delete what an unfinished upload has sent; an upload that no longer exists is not an error."""
        ...

    def close(self) -> None:
        """Release connections; the store must not be used afterwards."""
        ...
