"""Objects in a bucket of AWS S3 or of an S3-compatible server."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from urllib.parse import urlencode

from pagestore.errors import ObjectNotFound, UnsafeStore
from pagestore.keys import check_key, check_key_prefix, check_limit, check_range
from pagestore.objectstore import Data, ObjectInfo, UnfinishedUpload
from pagestore.runtime import SYSTEM, Runtime
from pagestore.s3.api import ListPage, S3Api, UploadPage
from pagestore.s3.batch_delete import delete_many
from pagestore.s3.client import S3Requests
from pagestore.s3.errors import Answer, WrongReply, not_an_s3_object, unexpected
from pagestore.s3.settings import URL_OPTIONS, S3Settings
from pagestore.s3.upload import MultipartUpload, cut_parts

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}", re.ASCII)


class S3Store:
    """The `ObjectStore` of a bucket and a prefix within it.

    Credentials come from the standard AWS variables and profiles; so do region and endpoint unless ``settings`` name
    them. Run `pagestore.stores.probe` once on a new endpoint: some servers accept conditional writes without honouring
    them.
    """

    def __init__(
        self, bucket: str, prefix: str = "", *, settings: S3Settings | None = None, runtime: Runtime = SYSTEM
    ) -> None:
        """Open ``prefix`` (with the syntax of a key, or empty) of ``bucket``; nothing is sent yet."""
        if not _BUCKET.fullmatch(bucket):
            raise ValueError(f"{bucket!r} is not a valid bucket name")
        self._base = f"{check_key(prefix)}/" if prefix else ""
        self._settings = settings or S3Settings()
        self._requests = S3Requests(bucket, self._settings, runtime)
        given = self._settings.model_dump(include=set(URL_OPTIONS), exclude_defaults=True)
        query = urlencode({name: given[name] for name in URL_OPTIONS if name in given}, safe=":/")
        self._url = f"s3://{bucket}/{self._base}".rstrip("/") + (f"?{query}" if query else "")

    @property
    def url(self) -> str:
        """``s3://bucket/prefix``, with the URL options that differ from their defaults."""
        return self._url

    @property
    def parallelism(self) -> int:
        """The setting of this name."""
        return self._settings.parallelism

    def get(self, key: str) -> bytes:
        """Return the whole object."""
        full_key = self._full_key(key)
        return self._existing(key, self._read(key, lambda api: api.get(full_key)))

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return a slice of the object, after checking that the reply is that slice."""
        check_range(start, length)
        full_key = self._full_key(key)
        found = self._read(key, lambda api: api.get_range(full_key, start, length))
        if isinstance(found, Answer) and found.status == 416:
            return self._nothing_from(key, start)
        return self._existing(key, found)

    def put(self, key: str, data: Data) -> None:
        """Create or replace the object."""
        answer = self._put(key, data, if_absent=False)
        if answer is not None:
            raise unexpected(answer, self._requests.where)

    def put_if_absent(self, key: str, data: Data) -> bool:
        """Create the object unless the key exists, by If-None-Match.

        Raises `UnsafeStore` if the server says that it does not support conditional writes.
        """
        match self._put(key, data, if_absent=True):
            case None:
                return True
            case Answer(status=412):
                return False
            case Answer(refuses_conditions=True) as answer:
                raise UnsafeStore(
                    f"{self._requests.where} refuses conditional writes ({answer.said}), "
                    "without which two writers would lose data; use a server that honours If-None-Match"
                )
            case answer:
                raise unexpected(answer, self._requests.where)

    def put_stream(self, key: str, chunks: Iterable[bytes]) -> int:
        """Send the chunks as a multipart upload, or with a plain put if they fit in one part."""
        full_key = self._full_key(key)
        parts = cut_parts(chunks, self._settings.part_bytes)
        first, is_whole = next(parts)
        if is_whole:
            self.put(key, first)
            return len(first)
        upload = MultipartUpload(self._requests, full_key, self._settings)
        return upload.run(chain(_taken_from([first]), (part for part, _ in parts)))

    def list(self, prefix: str, *, start_after: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        """Yield matching objects; each request fetches a page of at most 1000 keys."""
        check_key_prefix(prefix)
        check_limit(limit)
        return self._iterate(prefix, start_after, limit)

    def delete(self, key: str) -> None:
        """Remove the object if it exists."""
        self._delete(self._full_key(key))

    def delete_many(self, keys: Sequence[str]) -> None:
        """Remove the objects, a thousand per request."""
        delete_many(self._requests, [self._full_key(key) for key in keys], self._delete)

    def unfinished_uploads(self, prefix: str = "") -> Iterator[UnfinishedUpload]:
        """Yield unfinished uploads below the store's prefix."""
        check_key_prefix(prefix)
        marker: tuple[str, str] | None = None
        while True:
            page = self._upload_page(self._base + prefix, marker)
            for full_key, upload_id, begun_s in page.uploads:
                if full_key.startswith(self._base + prefix):  # some servers ignore the prefix
                    yield UnfinishedUpload(full_key.removeprefix(self._base), upload_id, begun_s)
            if page.next_marker is None:
                return
            marker = page.next_marker

    def abort_upload(self, upload: UnfinishedUpload) -> None:
        """Delete the parts sent so far."""
        full_key = self._base + upload.key
        answer = self._requests.send(lambda api: api.abort_upload(full_key, upload.upload_id))
        if isinstance(answer, Answer) and answer.status != 404:
            raise unexpected(answer, self._requests.where)

    def close(self) -> None:
        """Close all connections."""
        self._requests.close()

    def _delete(self, full_key: str) -> None:
        answer = self._requests.send(lambda api: api.delete(full_key))
        if isinstance(answer, Answer) and answer.code != "NoSuchKey":
            raise unexpected(answer, self._requests.where)

    def _upload_page(self, prefix: str, marker: tuple[str, str] | None) -> UploadPage:
        page = self._requests.send(lambda api: api.list_uploads(prefix, marker))
        if isinstance(page, Answer):
            raise unexpected(page, self._requests.where)
        return page

    def _full_key(self, key: str) -> str:
        return self._base + check_key(key)

    def _put(self, key: str, data: Data, *, if_absent: bool) -> Answer | None:
        full_key = self._full_key(key)
        body = bytes(data)
        return self._requests.send(lambda api: api.put(full_key, body, if_absent=if_absent))

    def _read(self, key: str, request: Callable[[S3Api], bytes]) -> bytes | Answer:
        try:
            return self._requests.send(request)
        except WrongReply as error:
            raise not_an_s3_object(key, str(error), self._requests.where) from error

    def _existing(self, key: str, found: bytes | Answer) -> bytes:
        if not isinstance(found, Answer):
            return found
        if found.code == "NoSuchKey":  # a bare 404 may come from a server that is not S3 at all
            raise ObjectNotFound(key, self.url)
        raise unexpected(found, self._requests.where)

    def _nothing_from(self, key: str, start: int) -> bytes:
        """Return no bytes after verifying what a 416 claims: the object exists and ends at or before ``start``."""
        full_key = self._full_key(key)
        size = self._requests.send(lambda api: api.size(full_key))
        if isinstance(size, Answer):
            if size.status == 404:
                raise ObjectNotFound(key, self.url)
            raise unexpected(size, self._requests.where)
        if size > start:
            reason = f"byte {start} was refused as beyond the end, but the object has {size} bytes"
            raise not_an_s3_object(key, reason, self._requests.where)
        return b""

    def _iterate(self, prefix: str, start_after: str, limit: int | None) -> Iterator[ObjectInfo]:
        last_key = start_after
        remaining = limit
        token = ""
        while remaining is None or remaining > 0:
            page_keys = self._settings.list_page_keys
            wanted = page_keys if remaining is None else min(remaining, page_keys)
            page = self._list_page(prefix, start_after, wanted, token)
            for found in page.objects[:wanted]:
                key = found.full_key.removeprefix(self._base)
                if key <= last_key:
                    raise UnsafeStore(
                        f"{self._requests.where} lists {key} after {last_key}; "
                        "use a server that lists in key order, or other names"
                    )
                last_key = key
                yield ObjectInfo(key, found.size, found.modified_s, found.etag)
            if not page.next_token:
                return
            token = page.next_token
            remaining = None if remaining is None else remaining - len(page.objects)

    def _list_page(self, prefix: str, start_after: str, wanted: int, token: str) -> ListPage:
        after = self._base + start_after if start_after else ""

        def request(api: S3Api) -> ListPage:
            return api.list_page(self._base + prefix, start_after=after, token=token, wanted=wanted)

        try:
            page = self._requests.send(request)
        except WrongReply as error:
            raise UnsafeStore(f"{self._requests.where} cannot be listed: {error}; use another server") from error
        if isinstance(page, Answer):
            raise unexpected(page, self._requests.where)
        return page


def _taken_from(parts: list[bytes]) -> Iterator[bytes]:
    """Yield the parts, removing each from the list so that its memory can be freed."""
    while parts:
        yield parts.pop(0)
