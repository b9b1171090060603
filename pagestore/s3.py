"""Objects in a bucket of AWS S3 or of any server that speaks its protocol."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, TypedDict
from urllib.parse import urlencode

from pagestore.errors import ObjectNotFound, UnsafeStore
from pagestore.keys import check_key, check_key_prefix, check_limit, check_range
from pagestore.objectstore import Data, ObjectInfo
from pagestore.runtime import SYSTEM, Runtime
from pagestore.s3_client import S3Requests
from pagestore.s3_errors import Answer, not_an_s3_object, unexpected
from pagestore.s3_replies import ranged_body, whole_body
from pagestore.s3_settings import S3Settings
from pagestore.s3_upload import MultipartUpload, content_md5, cut_parts

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}", re.ASCII)


class S3Store:
    """The `ObjectStore` of a bucket and a prefix within it.

    Credentials, region and endpoint come from the standard AWS variables and profiles where ``settings``
    name none. Use `pagestore.probe` once on a new endpoint: some servers accept conditional writes without
    honouring them.
    """

    def __init__(
        self, bucket: str, prefix: str = "", *, settings: S3Settings | None = None, runtime: Runtime = SYSTEM
    ) -> None:
        """Open ``prefix`` (shaped like a key, or empty) of ``bucket``; nothing is asked of the server yet."""
        if not _BUCKET.fullmatch(bucket):
            raise ValueError(f"{bucket!r} is no name that a bucket can have")
        self._bucket = bucket
        self._base = f"{check_key(prefix)}/" if prefix else ""
        self._settings = settings or S3Settings()
        self._requests = S3Requests(bucket, self._settings, runtime)

    @property
    def url(self) -> str:
        """``s3://bucket/prefix``, with the endpoint and region if they were given."""
        options = {"endpoint": self._settings.endpoint, "region": self._settings.region}
        query = urlencode({name: value for name, value in options.items() if value}, safe=":/")
        return f"s3://{self._bucket}/{self._base}".rstrip("/") + (f"?{query}" if query else "")

    @property
    def parallelism(self) -> int:
        """The setting."""
        return self._settings.parallelism

    def get(self, key: str) -> bytes:
        """Return the whole object."""
        full_key = self._full_key(key)

        def request(client: "S3Client") -> bytes:
            reply = client.get_object(Bucket=self._bucket, Key=full_key)
            return whole_body(reply, key, self._requests.where)

        return self._existing(key, self._requests.send(request))

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return a slice of the object, once the reply has proved to be that slice."""
        check_range(start, length)
        full_key = self._full_key(key)

        def request(client: "S3Client") -> bytes:
            asked = f"bytes={start}-{start + length - 1}"
            reply = client.get_object(Bucket=self._bucket, Key=full_key, Range=asked)
            return ranged_body(reply, key, start, length, self._requests.where)

        found = self._requests.send(request)
        if isinstance(found, Answer) and found.status == 416:
            return self._nothing_from(key, start)
        return self._existing(key, found)

    def put(self, key: str, data: Data) -> None:
        """Create or replace the object."""
        answer = self._put(key, data, {})
        if answer is not None:
            raise unexpected(answer, self._requests.where)

    def put_if_absent(self, key: str, data: Data) -> bool:
        """Create the object unless there is one, by If-None-Match.

        Raises `UnsafeStore` if the server says that it does not know conditional writes.
        """
        match self._put(key, data, {"IfNoneMatch": "*"}):
            case None:
                return True
            case Answer(status=412):
                return False
            case Answer(status=400 | 501) as answer:
                raise UnsafeStore(
                    f"{self._requests.where} refuses conditional writes ({answer.status} {answer.code}), "
                    "without which two writers would lose data; use a server that honours If-None-Match"
                )
            case answer:
                raise unexpected(answer, self._requests.where)

    def put_stream(self, key: str, chunks: Iterable[bytes]) -> int:
        """Send the chunks in parts; one that is no longer than a part is a plain put."""
        full_key = self._full_key(key)
        parts = cut_parts(chunks, self._settings.part_bytes)
        first = next(parts, b"")
        second = next(parts, None)
        if second is None:
            self.put(key, first)
            return len(first)
        upload = MultipartUpload(self._requests, self._bucket, full_key, self._settings)
        return upload.run(chain((first, second), parts))

    def list(self, prefix: str, *, start_after: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        """Yield matching objects, a page of at most 1000 keys for each request."""
        check_key_prefix(prefix)
        check_limit(limit)
        return self._iterate(prefix, start_after, limit)

    def delete(self, key: str) -> None:
        """Remove the object if there is one."""
        full_key = self._full_key(key)

        def request(client: "S3Client") -> None:
            client.delete_object(Bucket=self._bucket, Key=full_key)

        answer = self._requests.send(request)
        if isinstance(answer, Answer) and answer.code != "NoSuchKey":
            raise unexpected(answer, self._requests.where)

    def close(self) -> None:
        """Close all connections."""
        self._requests.close()

    def _full_key(self, key: str) -> str:
        return self._base + check_key(key)

    def _put(self, key: str, data: Data, condition: "_Condition") -> Answer | None:
        full_key = self._full_key(key)
        body = bytes(data)
        digest = content_md5(body)

        def request(client: "S3Client") -> None:
            client.put_object(Bucket=self._bucket, Key=full_key, Body=body, ContentMD5=digest, **condition)

        return self._requests.send(request)

    def _existing(self, key: str, found: bytes | Answer) -> bytes:
        if not isinstance(found, Answer):
            return found
        if found.code == "NoSuchKey":  # a bare 404 may come from a server that is no S3 at all
            raise ObjectNotFound(key, self.url)
        raise unexpected(found, self._requests.where)

    def _nothing_from(self, key: str, start: int) -> bytes:
        """Return no bytes if the object exists and ends before ``start``, as a 416 claims."""
        full_key = self._full_key(key)

        def request(client: "S3Client") -> int:
            return client.head_object(Bucket=self._bucket, Key=full_key)["ContentLength"]

        size = self._requests.send(request)
        if isinstance(size, Answer):
            if size.status == 404:
                raise ObjectNotFound(key, self.url)
            raise unexpected(size, self._requests.where)
        if size > start:
            reason = f"byte {start} was refused as beyond the end, but there are {size}"
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
            for info in page.objects[:wanted]:
                if info.key <= last_key:
                    raise UnsafeStore(
                        f"{self._requests.where} lists {info.key} after {last_key}; "
                        "use a server that lists in key order, or other names"
                    )
                last_key = info.key
                yield info
            if not page.next_token:
                return
            token = page.next_token
            remaining = None if remaining is None else remaining - len(page.objects)

    def _list_page(self, prefix: str, start_after: str, wanted: int, token: str) -> "_Page":
        position: _Position = {"StartAfter": self._base + start_after} if start_after else {}
        if token:
            position = {"ContinuationToken": token}

        def request(client: "S3Client") -> _Page:
            reply = client.list_objects_v2(Bucket=self._bucket, Prefix=self._base + prefix, MaxKeys=wanted, **position)
            objects = tuple(
                ObjectInfo(found["Key"].removeprefix(self._base), found["Size"], found["LastModified"].timestamp())
                for found in reply.get("Contents", ())
            )
            return _Page(objects, reply.get("NextContinuationToken", "") if reply["IsTruncated"] else "")

        page = self._requests.send(request)
        if isinstance(page, Answer):
            raise unexpected(page, self._requests.where)
        return page


class _Condition(TypedDict, total=False):
    IfNoneMatch: str


class _Position(TypedDict, total=False):
    StartAfter: str
    ContinuationToken: str


@dataclass(frozen=True, slots=True)
class _Page:
    objects: tuple[ObjectInfo, ...]
    next_token: str
    """Empty after the last page."""
