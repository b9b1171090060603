"""The port from the S3 store to an S3 client: each method is one request, without retries.

Keys are full keys, with the store's prefix. A client verifies that a body is what was requested. There are two clients:
`Boto3Api`, which supports everything that AWS's tools do, and `ObstoreApi`, which is faster. Errors are those that
`pagestore.s3.errors.judge` understands.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ListedObject:
    """One object in a page of a listing."""

    full_key: str
    size: int
    """In bytes."""
    modified_s: float
    """Seconds since the Unix epoch, by the server's clock."""
    etag: str = ""
    """Without its quotes; empty if the server gives none."""


@dataclass(frozen=True, slots=True)
class ListPage:
    """The result of one listing request."""

    objects: tuple[ListedObject, ...]
    next_token: str
    """Empty after the last page."""


@dataclass(frozen=True, slots=True)
class NotDeleted:
    """An object that a request to delete many objects did not delete."""

    full_key: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class UploadPage:
    """The result of one request that lists unfinished uploads."""

    uploads: tuple[tuple[str, str, float], ...]
    """Full key, upload id and start (seconds since the Unix epoch, by the server's clock)."""
    next_marker: tuple[str, str] | None
    """Key and upload id after which the next page begins; None after the last page."""


class S3Api(Protocol):
    """Requests to one bucket. May be used from several threads at once."""

    @property
    def endpoint(self) -> str:
        """The server's base URL, for messages."""
        ...

    def wait_longer(self) -> None:
        """From now on, wait the whole ``read_timeout_s`` for a silent server, instead of ``first_silence_s``."""
        ...

    def get(self, full_key: str) -> bytes:
        """Return the whole object; raises `WrongReply` or `TruncatedBody` for anything else."""
        ...

    def get_range(self, full_key: str, start: int, length: int) -> bytes:
        """Return a slice of the object, shorter at its end; raises like `get`."""
        ...

    def put(self, full_key: str, body: bytes, *, if_absent: bool) -> None:
        """Create or replace the object; with ``if_absent``, only create it."""
        ...

    def delete(self, full_key: str) -> None:
        """Remove the object."""
        ...

    def delete_many(self, full_keys: Sequence[str]) -> Sequence[NotDeleted]:
        """Remove up to 1000 objects; return those that the server did not remove."""
        ...

    def size(self, full_key: str) -> int:
        """Return the object's size in bytes."""
        ...

    def list_page(self, prefix: str, *, start_after: str, token: str, wanted: int) -> ListPage:
        """Return up to ``wanted`` objects after ``start_after``, or the page that ``token`` stands for."""
        ...

    def create_upload(self, full_key: str) -> str:
        """Begin a multipart upload and return its id."""
        ...

    def upload_part(self, full_key: str, upload_id: str, number: int, body: bytes) -> str:
        """Send a part and return its ETag; the first part has number 1."""
        ...

    def complete_upload(self, full_key: str, upload_id: str, etags: Sequence[str]) -> None:
        """Create the object from all parts, in order."""
        ...

    def abort_upload(self, full_key: str, upload_id: str) -> None:
        """Delete the parts sent so far."""
        ...

    def list_uploads(self, prefix: str, marker: tuple[str, str] | None) -> UploadPage:
        """Return unfinished uploads, from the beginning or after ``marker``."""
        ...

    def close(self) -> None:
        """Close all connections."""
        ...
