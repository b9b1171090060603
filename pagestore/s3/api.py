"""What an S3 client must offer to the S3 store: the requests themselves, one each, never tried again.

Keys are full keys, with the store's prefix. Bodies are checked to be what was asked for. Two clients exist:
`Boto3Api`, which knows everything that AWS's tools know, and `ObstoreApi`, which is faster. Errors are those that
`pagestore.s3.errors.judge` understands.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ListedObject:
    """One object of a page of a listing."""

    full_key: str
    size: int
    """Bytes."""
    modified_s: float
    """Seconds since the Unix epoch, by the server's clock."""
    etag: str = ""
    """Without its quotes; empty where the server gives none."""


@dataclass(frozen=True, slots=True)
class ListPage:
    """What one request for a listing brings."""

    objects: tuple[ListedObject, ...]
    next_token: str
    """Empty after the last page."""


@dataclass(frozen=True, slots=True)
class NotDeleted:
    """An object of a request to delete many that was not deleted."""

    full_key: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class UploadPage:
    """What one request for the unfinished uploads brings."""

    uploads: tuple[tuple[str, str, float], ...]
    """Full key, upload id, and when it was begun (seconds since the Unix epoch, by the server's clock)."""
    next_marker: tuple[str, str] | None
    """Key and upload id after which the next page begins; None after the last page."""


class S3Api(Protocol):
    """Requests to one bucket. May be used from several threads at once."""

    @property
    def endpoint(self) -> str:
        """The server's base URL, for messages."""
        ...

    def wait_longer(self) -> None:
        """Allow the server the whole ``read_timeout_s`` of silence from now on; before, ``first_silence_s``."""
        ...

    def get(self, full_key: str) -> bytes:
        """Return the whole object; raises `WrongReply` or `TruncatedBody` for anything else."""
        ...

    def get_range(self, full_key: str, start: int, length: int) -> bytes:
        """Return a slice of the object, shorter where the object ends; raises as `get` does."""
        ...

    def put(self, full_key: str, body: bytes, *, if_absent: bool) -> None:
        """Create or replace the object; only create it ``if_absent``."""
        ...

    def delete(self, full_key: str) -> None:
        """Remove the object."""
        ...

    def delete_many(self, full_keys: Sequence[str]) -> Sequence[NotDeleted]:
        """Remove up to 1000 objects; return those that the server would not remove."""
        ...

    def size(self, full_key: str) -> int:
        """Return the object's bytes."""
        ...

    def list_page(self, prefix: str, *, start_after: str, token: str, wanted: int) -> ListPage:
        """Return up to ``wanted`` objects after ``start_after``, or from where ``token`` says."""
        ...

    def create_upload(self, full_key: str) -> str:
        """Begin a multipart upload and return its id."""
        ...

    def upload_part(self, full_key: str, upload_id: str, number: int, body: bytes) -> str:
        """Send a part, the first has number 1; return its ETag."""
        ...

    def complete_upload(self, full_key: str, upload_id: str, etags: Sequence[str]) -> None:
        """Make the object of all parts, in order."""
        ...

    def abort_upload(self, full_key: str, upload_id: str) -> None:
        """Drop the parts sent."""
        ...

    def list_uploads(self, prefix: str, marker: tuple[str, str] | None) -> UploadPage:
        """Return unfinished uploads, from the beginning or after ``marker``."""
        ...

    def close(self) -> None:
        """Close all connections."""
        ...
