"""Streamed uploads: parts are sent in parallel, memory is bounded, and the object becomes visible only when complete.

All parts but the last have the same size, since some servers require it.
"""

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress

from pagestore.errors import PageStoreError, StoreUnavailable
from pagestore.objectstore import Data
from pagestore.parallel import WorkerPool
from pagestore.s3.api import S3Api
from pagestore.s3.client import Reply, S3Requests
from pagestore.s3.errors import Answer, unexpected
from pagestore.s3.settings import PARTS_MAX, S3Settings


def cut_parts(chunks: Iterable[bytes], part_bytes: int) -> Iterator[tuple[bytes, bool]]:
    """Yield the bytes of ``chunks`` in parts of ``part_bytes``, each with whether it is the last one.

    A part is yielded as soon as that is known. The last part may be shorter. Only for empty input is there an empty
    part.
    """
    pieces: list[Data] = []
    size = 0
    for chunk in chunks:
        rest = memoryview(chunk)
        while size + len(rest) > part_bytes:
            pieces.append(rest[: part_bytes - size])
            rest = rest[part_bytes - size :]
            part, pieces, size = b"".join(pieces), [], 0
            yield part, False
        pieces.append(rest)
        size += len(rest)
    yield b"".join(pieces), True


class MultipartUpload:
    """One streamed upload, to be used once; its threads end with it."""

    def __init__(self, requests: S3Requests, full_key: str, settings: S3Settings) -> None:
        """Prepare an upload to ``full_key``, which includes the store's prefix."""
        self._requests = requests
        self._key = full_key
        self._settings = settings
        self._upload_id = ""
        self._cancelled = threading.Event()

    def run(self, parts: Iterable[bytes]) -> int:
        """Send the parts and make the object visible; return its size.

        On any error, also one of ``parts``, the parts sent are deleted before it is raised. If that fails too, only a
        life-cycle rule of the bucket (AbortIncompleteMultipartUpload) deletes them.
        """
        try:
            etags, size = self._send_all(parts)
            self._complete(etags, size)
        except BaseException:
            if self._upload_id:
                with suppress(PageStoreError):
                    self._abort()
            raise
        return size

    def _send_all(self, parts: Iterable[bytes]) -> tuple[list[str], int]:
        etags: list[str] = []
        in_flight: deque[Future[str]] = deque()
        size = 0
        parallelism = self._settings.part_parallelism
        with WorkerPool(parallelism, thread_name_prefix="graft-upload") as threads:
            created = threads.begin(self._create)
            try:
                for number, body in enumerate(parts, start=1):
                    self._check_part_number(number)
                    if len(in_flight) == parallelism:
                        etags.append(in_flight.popleft().result())
                    in_flight.append(threads.begin(self._send_part, created, number, body))
                    size += len(body)
                etags.extend(future.result() for future in in_flight)
            except BaseException:
                self._cancelled.set()
                threads.shutdown(wait=False, cancel_futures=True)
                raise
        return etags, size

    def _check_part_number(self, number: int) -> None:
        if number > PARTS_MAX:
            raise ValueError(
                f"{self._key} is longer than {PARTS_MAX} parts of {self._settings.part_bytes} bytes; "
                "set a larger part_bytes"
            )

    def _create(self) -> None:
        self._upload_id = self._accepted(self._requests.send(lambda api: api.create_upload(self._key)))

    def _send_part(self, created: "Future[None]", number: int, body: bytes) -> str:
        created.result()

        def request(api: S3Api) -> str:
            return api.upload_part(self._key, self._upload_id, number, body)

        return self._accepted(self._requests.send(request, cancelled=self._cancelled.is_set))

    def _complete(self, etags: list[str], size: int) -> None:
        answer = self._requests.send(lambda api: api.complete_upload(self._key, self._upload_id, etags))
        if isinstance(answer, Answer):
            if answer.code == "NoSuchUpload" and self._visible_size() == size:
                return  # an earlier try landed and its reply was lost
            raise self._refusal(answer)

    def _accepted(self, reply: Reply | Answer) -> Reply:
        if isinstance(reply, Answer):
            raise self._refusal(reply)
        return reply

    def _refusal(self, answer: Answer) -> PageStoreError:
        if answer.code == "NoSuchUpload":
            return StoreUnavailable(
                f"{self._requests.where} has deleted the parts of {self._key} during the upload, as a life-cycle rule "
                f"may; try again ({answer.said})"
            )
        return unexpected(answer, self._requests.where)

    def _visible_size(self) -> int | None:
        found = self._requests.send(lambda api: api.size(self._key))
        return None if isinstance(found, Answer) else found

    def _abort(self) -> None:
        self._requests.send(lambda api: api.abort_upload(self._key, self._upload_id))
