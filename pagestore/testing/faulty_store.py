"""A store that fails as told: requests or replies get lost, somebody else is faster, the user presses Ctrl-C."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NoReturn, TypeAlias

from pagestore.errors import StoreUnavailable
from pagestore.objectstore import Data, ObjectInfo, ObjectStore, UnfinishedUpload

Fault: TypeAlias = Callable[..., Any]
"""Takes the place of a call: it gets the method of the store below and its arguments, and may call it or not."""


class FaultyStore:
    """An `ObjectStore` over another one, for tests: chosen calls go through a `Fault`.

    A call goes through the first waiting fault of its method whose ``key_part`` is in its key, which is then used
    up; else through ``always``, if there is one.
    """

    def __init__(self, inner: ObjectStore) -> None:
        """Pass everything on to ``inner`` until a fault is set."""
        self.inner = inner
        self.faults: dict[str, list[tuple[str, Fault]]] = {}
        """The waiting faults with their ``key_part``, by the name of the method."""
        self.always: Fault | None = None
        """The fault of every call for which none is waiting."""
        self.down = False
        """Whether every call raises `StoreUnavailable`; no waiting fault is used up by that."""

    def fail_next(self, method: str, fault: Fault, *, key_part: str = "") -> None:
        """Let the next call of a method whose key contains ``key_part`` go through ``fault``."""
        self.faults.setdefault(method, []).append((key_part, fault))

    @property
    def url(self) -> str:
        """The URL of the store below."""
        return self.inner.url

    @property
    def parallelism(self) -> int:
        """As of the store below."""
        return self.inner.parallelism

    def get(self, key: str) -> bytes:
        """See `ObjectStore.get`."""
        found: bytes = self._call("get", (key,), key)
        return found

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """See `ObjectStore.get_range`."""
        found: bytes = self._call("get_range", (key,), key, start, length)
        return found

    def put(self, key: str, data: Data) -> None:
        """See `ObjectStore.put`."""
        self._call("put", (key,), key, data)

    def put_if_absent(self, key: str, data: Data) -> bool:
        """See `ObjectStore.put_if_absent`."""
        created: bool = self._call("put_if_absent", (key,), key, data)
        return created

    def put_stream(self, key: str, chunks: Iterable[bytes]) -> int:
        """See `ObjectStore.put_stream`."""
        size: int = self._call("put_stream", (key,), key, chunks)
        return size

    def list(self, prefix: str, *, start_after: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        """See `ObjectStore.list`; a fault takes the place of the whole listing, and its key is the prefix."""
        found: Iterator[ObjectInfo] = self._call("list", (prefix,), prefix, start_after=start_after, limit=limit)
        return found

    def delete(self, key: str) -> None:
        """See `ObjectStore.delete`."""
        self._call("delete", (key,), key)

    def delete_many(self, keys: Sequence[str]) -> None:
        """See `ObjectStore.delete_many`; a fault takes the place of the whole call if any of the keys fits."""
        self._call("delete_many", keys, keys)

    def unfinished_uploads(self, prefix: str = "") -> Iterator[UnfinishedUpload]:
        """See `ObjectStore.unfinished_uploads`."""
        found: Iterator[UnfinishedUpload] = self._call("unfinished_uploads", (prefix,), prefix)
        return found

    def abort_upload(self, upload: UnfinishedUpload) -> None:
        """See `ObjectStore.abort_upload`."""
        self._call("abort_upload", (upload.key,), upload)

    def close(self) -> None:
        """Close the store below."""
        self.inner.close()

    def _call(self, name: str, keys: Sequence[str], *arguments: object, **options: object) -> Any:
        if self.down:
            raise StoreUnavailable(f"{self.url} does not answer")
        method = getattr(self.inner, name)
        fault = self._fault_of(name, keys)
        return method(*arguments, **options) if fault is None else fault(method, *arguments, **options)

    def _fault_of(self, name: str, keys: Sequence[str]) -> Fault | None:
        waiting = self.faults.get(name, [])
        for position, (key_part, fault) in enumerate(waiting):
            if any(key_part in key for key in keys):
                del waiting[position]
                return fault
        return self.always


def lost_before(_method: Callable[..., Any], *_arguments: object, **_options: object) -> NoReturn:
    """Lose the request: it never arrives, and `StoreUnavailable` is raised."""
    raise StoreUnavailable("no route to host")


def lost_after(method: Callable[..., Any], *arguments: object, **options: object) -> NoReturn:
    """Lose the reply: the request is carried out, and `StoreUnavailable` is raised."""
    method(*arguments, **options)
    raise StoreUnavailable("connection reset")


def lost_and_retried(method: Callable[..., Any], *arguments: object, **options: object) -> Any:
    """Carry the request out, lose its reply, and try again, as a client below the store does."""
    method(*arguments, **options)
    return method(*arguments, **options)


def interrupted(method: Callable[..., Any], *arguments: object, **options: object) -> NoReturn:
    """Raise `KeyboardInterrupt` once the request was carried out."""
    method(*arguments, **options)
    raise KeyboardInterrupt


def interrupted_before(_method: Callable[..., Any], *_arguments: object, **_options: object) -> NoReturn:
    """Raise `KeyboardInterrupt` before the request leaves."""
    raise KeyboardInterrupt


def preceded_by(action: Callable[[], object]) -> Fault:
    """Return a fault that calls ``action`` and then carries the request out, as if somebody else had been faster."""

    def fault(method: Callable[..., Any], *arguments: object, **options: object) -> Any:
        action()
        return method(*arguments, **options)

    return fault
