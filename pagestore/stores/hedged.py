"""`HedgedStore`: sends a late read a second time and takes the first good answer.

One or two of a hundred requests to an object store take ten times as long as the others, for reasons that a second,
identical request mostly avoids. Objects are immutable, so either answer is right. Writes pass through unchanged.

A read that may be hedged runs in a thread of a small private pool while the caller waits, since a blocked caller could
not take another answer. If the pool has no free thread, the budget is spent, or too little is known about latency, the
read runs in the caller's thread and is not hedged. So nothing ever queues for a thread, and callers may themselves be
threads of a `Parallel`. The slower request is left to finish on its own, in a daemon thread.
"""

import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from pagestore.errors import ObjectNotFound
from pagestore.objectstore import Data, ObjectInfo, ObjectStore, UnfinishedUpload
from pagestore.parallel import Helpers
from pagestore.runtime import SYSTEM, Runtime
from pagestore.stores.hedge_ledger import HedgeLedger, HedgePolicy

_SMALL_BYTES = 64 * 1024
_MIDDLE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Answered:
    """How one try ended."""

    body: bytes | BaseException
    is_hedge: bool

    @property
    def is_good(self) -> bool:
        """Whether waiting for the other try is useless; "no such object" is a good answer too."""
        return isinstance(self.body, bytes | ObjectNotFound)


@dataclass(frozen=True, slots=True)
class HedgeCounts:
    """What a `HedgedStore` has done so far."""

    reads: int = 0
    hedges: int = 0
    """Second requests sent."""
    wins: int = 0
    """Second requests that were answered first."""


def wait_for(answers: "SimpleQueue[Answered]", seconds: float) -> Answered | None:
    """Return the next answer, or None if there is none after ``seconds``."""
    try:
        return answers.get(timeout=seconds)
    except Empty:
        return None


class HedgedStore:
    """An `ObjectStore` that hedges the reads of ``inner``."""

    def __init__(
        self,
        inner: ObjectStore,
        *,
        policy: HedgePolicy | None = None,
        runtime: Runtime = SYSTEM,
        wait: Callable[["SimpleQueue[Answered]", float], Answered | None] = wait_for,
    ) -> None:
        """Wrap ``inner``, with up to twice ``inner.parallelism`` threads."""
        self._inner = inner
        self._runtime = runtime
        self._wait = wait
        self._helpers = Helpers(2 * inner.parallelism)
        self._lock = threading.Lock()  # guards the members below
        self._ledger = HedgeLedger(policy or HedgePolicy())
        self._counts = HedgeCounts()

    @property
    def inner(self) -> ObjectStore:
        """The wrapped store."""
        return self._inner

    @property
    def url(self) -> str:
        """That of the inner store."""
        return self._inner.url

    @property
    def parallelism(self) -> int:
        """That of the inner store."""
        return self._inner.parallelism

    def counts(self) -> HedgeCounts:
        """Return the counts so far."""
        with self._lock:
            return self._counts

    def get(self, key: str) -> bytes:
        """Return the whole object."""
        return self._read((_first_part(key), "whole"), lambda: self._inner.get(key))

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return a slice of the object."""
        size = "small" if length <= _SMALL_BYTES else "middle" if length <= _MIDDLE_BYTES else "large"
        return self._read((_first_part(key), size), lambda: self._inner.get_range(key, start, length))

    def put(self, key: str, data: Data) -> None:
        """Pass the call on."""
        self._inner.put(key, data)

    def put_if_absent(self, key: str, data: Data) -> bool:
        """Pass the call on."""
        return self._inner.put_if_absent(key, data)

    def put_stream(self, key: str, chunks: Iterable[bytes]) -> int:
        """Pass the call on."""
        return self._inner.put_stream(key, chunks)

    def list(self, prefix: str, *, start_after: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        """Pass the call on."""
        return self._inner.list(prefix, start_after=start_after, limit=limit)

    def delete(self, key: str) -> None:
        """Pass the call on."""
        self._inner.delete(key)

    def delete_many(self, keys: Sequence[str]) -> None:
        """Pass on."""
        self._inner.delete_many(keys)

    def unfinished_uploads(self, prefix: str = "") -> Iterator[UnfinishedUpload]:
        """Pass on."""
        return self._inner.unfinished_uploads(prefix)

    def abort_upload(self, upload: UnfinishedUpload) -> None:
        """Pass on."""
        self._inner.abort_upload(upload)

    def close(self) -> None:
        """Close the inner store; a slower request that is still running finds it closed."""
        self._helpers.close()
        self._inner.close()

    def _read(self, kind: Hashable, read: Callable[[], bytes]) -> bytes:
        with self._lock:
            late_s = self._ledger.begin(kind)
            self._count(reads=1)
        answers: SimpleQueue[Answered] = SimpleQueue()
        if late_s is None or not self._helpers.try_run(lambda: answers.put(self._try(kind, read, is_hedge=False))):
            return _unwrap(self._try(kind, read, is_hedge=False))
        first = self._wait(answers, late_s)
        if first is None and self._hedge(lambda: answers.put(self._try(kind, read, is_hedge=True))):
            first = self._first_good(answers)
        return _unwrap(first or answers.get())

    def _hedge(self, work: Callable[[], None]) -> bool:
        with self._lock:
            paid = self._ledger.spend()
        begun = paid and self._helpers.try_run(work)
        if begun:
            with self._lock:
                self._count(hedges=1)
        return begun

    def _first_good(self, answers: "SimpleQueue[Answered]") -> Answered:
        """Return the first good answer of two tries; if both fail, that of the first try."""
        answer = answers.get()
        if not answer.is_good:
            other = answers.get()
            answer = other if other.is_good or answer.is_hedge else answer
        if answer.is_hedge:
            with self._lock:
                self._count(wins=1)
        return answer

    def _try(self, kind: Hashable, read: Callable[[], bytes], *, is_hedge: bool) -> Answered:
        begun_s = self._runtime.monotonic_s()
        try:
            answer = Answered(read(), is_hedge)
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread if this answer is taken
            answer = Answered(error, is_hedge)
        if answer.is_good:
            with self._lock:
                self._ledger.record(kind, self._runtime.monotonic_s() - begun_s)
        return answer

    def _count(self, *, reads: int = 0, hedges: int = 0, wins: int = 0) -> None:
        """Add to the counts; the caller holds the lock."""
        old = self._counts
        self._counts = HedgeCounts(old.reads + reads, old.hedges + hedges, old.wins + wins)


def _unwrap(answer: Answered) -> bytes:
    if isinstance(answer.body, BaseException):
        raise answer.body
    return answer.body


def _first_part(key: str) -> str:
    return key.partition("/")[0]
