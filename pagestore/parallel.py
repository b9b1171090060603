"""`Parallel` and `Helpers`: the one place in the page store where threads live, but for those of an upload."""

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

from pagestore.runtime import SYSTEM

Item = TypeVar("Item")
Result = TypeVar("Result")

_IDLE_S_MAX = 10.0
"""A helper thread that was idle for so long ends."""


class WorkerPool(ThreadPoolExecutor):
    """Threads that begin calls, as many as are to be had; the caller's own where there are none.

    None are where a limit was reached, and once the interpreter is ending: from before the first function of `atexit`.
    """

    def begin(self, function: Callable[..., Result], *args: Any) -> "Future[Result]":
        """Begin a call, in a thread of the pool if there is one."""
        try:
            future = self.submit(function, *args)
        except RuntimeError:  # the interpreter is ending
            return _done_here(function, *args)
        return _done_here(function, *args) if not self._threads and future.cancel() else future

    def _adjust_thread_count(self) -> None:
        """Leave the call in the queue where no further thread can be started, rather than raise with it in there."""
        with suppress(RuntimeError):
            super()._adjust_thread_count()


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
        self._pool: WorkerPool | None = None
        self._closed = False

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """Yield ``function(item)`` for each item, in the order of ``items``.

        Begins with the first ``next``. At most ``threads`` calls run or hold a result that was not yet taken,
        so memory is bounded by as many results. The first item to fail ends the iteration: calls that have
        not begun never do, those that run are waited for, then its error is raised. Closing the iterator
        early does the same without an error. A single item runs in the caller's thread, and so does one whose
        turn has come while all threads are busy for others: nobody waits for calls that are not theirs.
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
        """Yield ``function(item)`` for each item, in order, while further items are still being made.

        Calls begin as their items come, ``ahead_max`` by ``weigh`` before the one whose result is taken next, and one
        item more. What fails, a call or ``items``, ends the iteration as with `map`, once its turn has come. A single
        item runs in the caller's thread, and so does one whose turn has come while all threads are busy.
        """
        with self._lock:
            self._check_open()
        coming = _Coming(items)
        begun = list(islice(coming, 2)) if self.threads > 1 else []
        if len(begun) < 2:
            yield from map(function, chain(begun, coming))
            coming.raise_error()
            return
        pool, weight = self._started_pool(), 0
        ahead: deque[tuple[Item, Future[Result]]] = deque()
        try:
            for item in chain(begun, coming):
                ahead.append((item, pool.begin(function, item)))
                weight += weigh(item)
                while weight > ahead_max and len(ahead) > 1:
                    weight -= weigh(ahead[0][0])
                    yield _result(function, *ahead.popleft())
            while ahead:
                yield _result(function, *ahead.popleft())
            coming.raise_error()
        finally:
            _end([future for _, future in ahead])

    def begin(self, work: Callable[[], Result]) -> Callable[[], Result]:
        """Begin a call in another thread; who calls what is returned waits for its result, or its error.

        Where no thread came to it until then, it runs in the thread of whoever waits.
        """
        if self.threads == 1:
            return work
        future = self._started_pool().begin(work)
        return lambda: work() if future.cancel() else future.result()

    @contextmanager
    def beside(self, work: Callable[[], None]) -> Iterator[None]:
        """Call ``work`` in another thread while a block waits for something; after the block if there are no others.

        It is done when the block is left, and what it raises is raised then. If the block fails, what was begun is
        waited for, and its errors are dropped.
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


def _done_here(function: Callable[..., Result], *args: Any) -> "Future[Result]":
    future: Future[Result] = Future()
    future.set_running_or_notify_cancel()
    try:
        future.set_result(function(*args))
    except Exception as error:  # noqa: BLE001 - raised where the result is asked for
        future.set_exception(error)
    return future


class _Coming(Iterator[Item]):
    """Items up to where making them fails, and why it did."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._items = iter(items)
        self._error: Exception | None = None

    def __next__(self) -> Item:
        try:
            return next(self._items)
        except StopIteration:
            raise
        except Exception as error:  # noqa: BLE001 - raised again when its turn has come
            self._error = error
            raise StopIteration from None

    def raise_error(self) -> None:
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # which refers to all that was under way


def _result(function: Callable[[Item], Result], item: Item, future: "Future[Result]") -> Result:
    """Return the result of a call, made here if it has not begun."""
    return function(item) if future.cancel() else future.result()


def _end(futures: "Sequence[Future[Result]]") -> None:
    """See to it that none of the calls runs any more."""
    wait([future for future in futures if not future.cancel()])


class Helpers:
    """Threads for work that may outlive its use: bounded, without a queue, ended by the process's end.

    Work that finds no thread free is refused at once, so that nobody waits for a thread. May be used from several
    threads at once. A forked process has no helpers: it is refused everything.
    """

    def __init__(self, threads_max: int) -> None:
        """Allow that many threads; each is made when first needed."""
        self._threads_max = threads_max
        self._pid = os.getpid()
        self._lock = Lock()  # guards the members below
        self._threads: set[Thread] = set()
        self._idle: list[SimpleQueue[Callable[[], None] | None]] = []  # inboxes; the last one was busy last
        self._closed = False

    def try_run(self, work: Callable[[], None]) -> bool:
        """Begin ``work``, which must not raise, in another thread; tell whether there was one."""
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
            thread.start()
        except RuntimeError:  # a limit was reached, or the interpreter is ending
            with self._lock:
                self._threads.discard(thread)
            return False
        return True

    def close(self) -> None:
        """Begin nothing more; running work ends by itself, and is not waited for."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for inbox in idle:
            inbox.put(None)

    def end(self, timeout_s: float) -> None:
        """Begin nothing more, and wait for what runs, so long at most."""
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
            following = None  # whatever it holds is not kept alive by an idle thread
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
        return inbox.get()  # some work came at that very moment
