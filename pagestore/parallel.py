"""`Parallel` and `Helpers`: all threads of the page store, except those of an upload."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from itertools import chain, islice
from queue import Empty, SimpleQueue
from threading import Lock, Thread, current_thread
from types import TracebackType
from typing import Any, Self, TypeVar

from pagestore.limits import require_room_for_thread
from pagestore.runtime import SYSTEM

Item = TypeVar("Item")
Result = TypeVar("Result")

_IDLE_S_MAX = 10.0
"""A helper thread that has been idle this long ends."""


class WorkerPool(ThreadPoolExecutor):
    """A thread pool that falls back to the caller's thread if no thread can be started.

    That is the case if a limit is reached, and while the interpreter ends: from before the first `atexit` function on.
    """

    def begin(self, function: Callable[..., Result], *args: Any) -> "Future[Result]":
        """Begin a call in a thread of the pool, or make it now in the caller's if the pool has no thread."""
        try:
            future = self.submit(function, *args)
        except RuntimeError:  # the interpreter is ending
            return _run_inline(function, *args)
        return _run_inline(function, *args) if not self._threads and future.cancel() else future

    def _adjust_thread_count(self) -> None:
        """Leave the call in the queue if no further thread can be started, instead of raising after queueing it."""
        with suppress(RuntimeError):
            if len(self._threads) < self._max_workers:
                require_room_for_thread()
            super()._adjust_thread_count()


class Parallel:
    """A bounded pool of threads, started when first needed. May be used from several threads at once.

    A function that runs in it must not call its `map` again: all threads could end up waiting for each other.
    """

    def __init__(self, threads: int) -> None:
        """Allow ``threads`` concurrent calls; with 1, everything runs in the caller's thread."""
        if threads < 1:
            raise ValueError(f"at least one thread is needed, not {threads}")
        self.threads = threads
        self._lock = Lock()  # guards _pool and _closed
        self._pool: WorkerPool | None = None
        self._closed = False

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """Yield ``function(item)`` for each item, in the order of ``items``.

        Starts at the first ``next``. At most ``threads`` calls are running or hold a result that has not been taken, so
        memory is bounded by that many results. The first failing item ends the iteration: pending calls are cancelled,
        running ones are waited for, then the item's error is raised. Closing the iterator early does the same without
        an error. A single item runs in the caller's thread. So does the next item if all threads are still busy with
        other callers' work: no caller waits for calls that are not its own.
        """
        if self.threads == 1 or len(items) <= 1:
            with self._lock:
                self._check_open()
            yield from map(function, items)
            return
        pool = self._started_pool()
        todo = iter(items)
        ahead: deque[tuple[Item, Future[Result]]] = deque()
        ahead.extend((item, pool.begin(function, item)) for item in islice(todo, self.threads))
        try:
            while ahead:
                item, future = ahead.popleft()
                result = _result(function, item, future)
                ahead.extend((item, pool.begin(function, item)) for item in islice(todo, 1))
                yield result
        finally:
            _end([future for _, future in ahead])

    def map_ahead(
        self, function: Callable[[Item], Result], items: Iterable[Item], weigh: Callable[[Item], int], ahead_max: int
    ) -> Iterator[Result]:
        """Yield ``function(item)`` for each item, in order, while later items are still being produced.

        Calls begin as items arrive, at most ``ahead_max`` (summed by ``weigh``) plus one item ahead of the result that
        is taken next. A failing call, or a failure of ``items``, ends the iteration as in `map` when its turn comes. A
        single item runs in the caller's thread, and so does the next item if all threads are busy.
        """
        with self._lock:
            self._check_open()
        source = _FallibleItems(items)
        begun = list(islice(source, 2)) if self.threads > 1 else []
        if len(begun) < 2:
            yield from map(function, chain(begun, source))
            source.raise_error()
            return
        pool, weight = self._started_pool(), 0
        ahead: deque[tuple[Item, Future[Result]]] = deque()
        try:
            for item in chain(begun, source):
                ahead.append((item, pool.begin(function, item)))
                weight += weigh(item)
                while weight > ahead_max and len(ahead) > 1:
                    weight -= weigh(ahead[0][0])
                    yield _result(function, *ahead.popleft())
            while ahead:
                yield _result(function, *ahead.popleft())
            source.raise_error()
        finally:
            _end([future for _, future in ahead])

    def begin(self, work: Callable[[], Result]) -> Callable[[], Result]:
        """Begin a call in another thread; return a function that waits for its result or raises its error.

        If no thread has begun the call by then, it runs in the waiting thread.
        """
        if self.threads == 1:
            return work
        future = self._started_pool().begin(work)
        return lambda: work() if future.cancel() else future.result()

    @contextmanager
    def beside(self, work: Callable[[], None]) -> Iterator[None]:
        """Call ``work`` in another thread while the block runs, or after the block if there is no other thread.

        The call has finished when the block is left, and its error is raised there. If the block fails, a running call
        is waited for and its error is dropped.
        """
        future = self._started_pool().begin(work) if self.threads > 1 else None
        try:
            yield
        except BaseException:
            if future is not None and not future.cancel():
                wait([future])
            raise
        if future is None or future.cancel():
            work()
        else:
            future.result()

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

    def _started_pool(self) -> WorkerPool:
        with self._lock:
            self._check_open()
            if self._pool is None:
                self._pool = WorkerPool(self.threads, thread_name_prefix="pagestore")
            return self._pool

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("this Parallel is closed")


def _run_inline(function: Callable[..., Result], *args: Any) -> "Future[Result]":
    """Make the call in this thread and return its outcome as a future."""
    future: Future[Result] = Future()
    future.set_running_or_notify_cancel()
    try:
        future.set_result(function(*args))
    except Exception as error:  # noqa: BLE001 - raised when the result is taken
        future.set_exception(error)
    return future


class _FallibleItems(Iterator[Item]):
    """Yields items up to the point where their iterator fails, and holds its error until `raise_error`."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._items = iter(items)
        self._error: Exception | None = None

    def __next__(self) -> Item:
        try:
            return next(self._items)
        except StopIteration:
            raise
        except Exception as error:  # noqa: BLE001 - raised again by `raise_error`
            self._error = error
            raise StopIteration from None

    def raise_error(self) -> None:
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # its traceback refers to all calls under way


def _result(function: Callable[[Item], Result], item: Item, future: "Future[Result]") -> Result:
    """Return the result of a call; make it in this thread if it has not begun."""
    return function(item) if future.cancel() else future.result()


def _end(futures: "Sequence[Future[Result]]") -> None:
    """Cancel the calls that have not begun and wait for those that run."""
    wait([future for future in futures if not future.cancel()])


class Helpers:
    """Daemon threads for work that may outlive its caller: bounded, and without a queue.

    If no thread is free, work is refused at once, so no caller waits for a thread. May be used from several threads at
    once. A forked process has no helpers: all its work is refused.
    """

    def __init__(self, threads_max: int) -> None:
        """Allow ``threads_max`` threads; each is started when first needed."""
        self._threads_max = threads_max
        self._pid = os.getpid()
        self._lock = Lock()  # guards the members below
        self._threads: set[Thread] = set()
        self._idle: list[SimpleQueue[Callable[[], None] | None]] = []  # inboxes, the most recently used last
        self._closed = False

    def try_run(self, work: Callable[[], None]) -> bool:
        """Begin ``work``, which must not raise, in another thread; return False if none is free."""
        if self._pid != os.getpid():
            return False
        with self._lock:
            if self._closed:
                return False
            if self._idle:
                self._idle.pop().put(work)
                return True
            if len(self._threads) == self._threads_max:
                return False
            thread = Thread(target=self._serve, args=(work,), name="pagestore-helper", daemon=True)
            self._threads.add(thread)
        try:
            require_room_for_thread()
            thread.start()
        except RuntimeError:  # a limit is reached, or the interpreter is ending
            with self._lock:
                self._threads.discard(thread)
            return False
        return True

    def close(self) -> None:
        """Accept no more work; do not wait for running work."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for inbox in idle:
            inbox.put(None)

    def end(self, timeout_s: float) -> None:
        """Accept no more work, and wait up to ``timeout_s`` for running work."""
        self.close()
        with self._lock:
            threads = list(self._threads)
        deadline_s = SYSTEM.monotonic_s() + timeout_s
        for thread in threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline_s - SYSTEM.monotonic_s()))

    def _serve(self, work: Callable[[], None]) -> None:
        inbox: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        following: Callable[[], None] | None = work
        while following is not None:
            following()
            following = None  # an idle thread must not hold references to its last work
            with self._lock:
                if self._closed:
                    break
                self._idle.append(inbox)
            following = self._next(inbox)
        with self._lock:
            self._threads.discard(current_thread())

    def _next(self, inbox: "SimpleQueue[Callable[[], None] | None]") -> Callable[[], None] | None:
        try:
            return inbox.get(timeout=_IDLE_S_MAX)
        except Empty:
            with self._lock:
                if inbox in self._idle:
                    self._idle.remove(inbox)
                    return None
        return inbox.get()  # `try_run` took the inbox just before
