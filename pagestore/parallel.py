"""`Parallel`: the one place in the page store where threads live."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import islice
from threading import Lock
from types import TracebackType
from typing import Self, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Parallel:
    """A bounded pool of threads, made when first needed. May be used from several threads at once.

    A function that runs inside it must not call its `map` again: all threads could end up waiting for others.
    """

    def __init__(self, threads: int) -> None:
        """Allow ``threads`` calls at once; with 1, everything runs in the caller's thread."""
        if threads < 1:
            raise ValueError(f"at least one thread is needed, not {threads}")
        self.threads = threads
        self._lock = Lock()  # guards _pool and _closed
        self._pool: ThreadPoolExecutor | None = None
        self._closed = False

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """Yield ``function(item)`` for each item, in the order of ``items``.

        Begins with the first ``next``. At most ``threads`` calls run or hold a result that was not yet taken,
        so memory is bounded by as many results. The first item to fail ends the iteration: calls that have
        not begun never do, those that run are waited for, then its error is raised. Closing the iterator
        early does the same without an error. A single item runs in the caller's thread.
        """
        if self.threads == 1 or len(items) <= 1:
            with self._lock:
                self._check_open()
            yield from map(function, items)
            return
        pool = self._started_pool()
        todo = iter(items)
        ahead: deque[Future[Result]] = deque(pool.submit(function, item) for item in islice(todo, self.threads))
        try:
            while ahead:
                result = ahead.popleft().result()
                ahead.extend(pool.submit(function, item) for item in islice(todo, 1))
                yield result
        finally:
            for future in ahead:
                future.cancel()
            wait(ahead)

    def close(self) -> None:
        """Wait for running calls and end the threads; `map` raises `RuntimeError` afterwards."""
        with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _started_pool(self) -> ThreadPoolExecutor:
        with self._lock:
            self._check_open()
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="pagestore")
            return self._pool

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("this Parallel is closed")
