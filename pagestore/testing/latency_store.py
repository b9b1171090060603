"""A store whose requests take time, as over a network."""

from collections.abc import Iterable, Iterator, Sequence

from pagestore.keys import LIST_PAGE_KEYS
from pagestore.objectstore import Data, ObjectInfo, ObjectStore, UnfinishedUpload
from pagestore.runtime import SYSTEM, Runtime


class LatencyStore:
    """An `ObjectStore` over another one, each of whose requests waits first; requests of several threads wait at once.

    A listing or a deletion of many keys waits once for each thousand, a stream once in all. ``latency_s`` and
    ``bytes_per_s`` may be changed at any time.
    """

    def __init__(
        self, inner: ObjectStore, latency_s: float, *, bytes_per_s: float | None = None, runtime: Runtime = SYSTEM
    ) -> None:
        """Let requests to ``inner`` wait ``latency_s``, and for their body at ``bytes_per_s``; None: not for that."""
        self.inner = inner
        self.latency_s = latency_s
        self.bytes_per_s = bytes_per_s
        self._runtime = runtime

    @property
    def url(self) -> str:
        """The URL of the store below."""
        return self.inner.url

    @property
    def parallelism(self) -> int:
        """At least 16, as over a network, where requests at once cost no more time than one."""
        return max(self.inner.parallelism, 16)

    def get(self, key: str) -> bytes:
        """Wait, and get."""
        found = self.inner.get(key)
        self._wait(len(found))
        return found

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Wait, and get a range."""
        found = self.inner.get_range(key, start, length)
        self._wait(len(found))
        return found

    def put(self, key: str, data: Data) -> None:
        """Wait, and put."""
        self._wait(memoryview(data).nbytes)
        self.inner.put(key, data)

    def put_if_absent(self, key: str, data: Data) -> bool:
        """Wait, and put unless there is one."""
        self._wait(memoryview(data).nbytes)
        return self.inner.put_if_absent(key, data)

    def put_stream(self, key: str, chunks: Iterable[bytes]) -> int:
        """Wait once, then for each chunk as long as its bytes take."""
        self._wait(0)

        def slowly() -> Iterator[bytes]:
            for chunk in chunks:
                self._transfer(len(chunk))
                yield chunk

        return self.inner.put_stream(key, slowly())

    def list(self, prefix: str, *, start_after: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        """Yield what the store below lists; each thousand waits."""
        return self._paced(self.inner.list(prefix, start_after=start_after, limit=limit))

    def delete(self, key: str) -> None:
        """Wait, and delete."""
        self._wait(0)
        self.inner.delete(key)

    def delete_many(self, keys: Sequence[str]) -> None:
        """Wait once for each thousand, and delete."""
        for _ in range(0, len(keys), LIST_PAGE_KEYS):
            self._wait(0)
        self.inner.delete_many(keys)

    def unfinished_uploads(self, prefix: str = "") -> Iterator[UnfinishedUpload]:
        """Wait, and list the uploads that are not finished."""
        self._wait(0)
        return self.inner.unfinished_uploads(prefix)

    def abort_upload(self, upload: UnfinishedUpload) -> None:
        """Wait, and abort."""
        self._wait(0)
        self.inner.abort_upload(upload)

    def close(self) -> None:
        """Close the store below."""
        self.inner.close()

    def _paced(self, found: Iterator[ObjectInfo]) -> Iterator[ObjectInfo]:
        self._wait(0)
        for taken, info in enumerate(found):
            if taken and taken % LIST_PAGE_KEYS == 0:
                self._wait(0)
            yield info

    def _wait(self, byte_count: int) -> None:
        self._sleep(self.latency_s + self._transfer_s(byte_count))

    def _transfer(self, byte_count: int) -> None:
        self._sleep(self._transfer_s(byte_count))

    def _transfer_s(self, byte_count: int) -> float:
        return byte_count / self.bytes_per_s if self.bytes_per_s else 0.0

    def _sleep(self, seconds: float) -> None:
        if seconds > 0:
            self._runtime.sleep_s(seconds)
