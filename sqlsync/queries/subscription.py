"""One subscriber: the result that it received last, the newest result, and the notification that they differ.

Invariants: `_known` only advances when the subscriber takes a change, so a slow subscriber gets one change for several,
and always the final state. The thread that runs queries never waits for a subscriber.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from types import TracebackType
from typing import Self

from sqlsync.queries.row_diff import Change, Row, difference, is_same
from sqlsync.queries.traced_query import Examined
from sqlsync.reducers.reducer import Bindings

_LOG = logging.getLogger("sqlsync.queries.subscription")


class Subscription:
    """A live query. Take its changes in one way: iterate, iterate with ``async for``, `wait`, or by a callback.

    Threads may share it. Use as a context manager, or `close` it.
    """

    def __init__(
        self,
        sql: str,
        bindings: Bindings,
        *,
        key: Sequence[str] | None,
        callback: Callable[[Change], object] | None,
        on_close: Callable[["Subscription"], None],
    ) -> None:
        """Created by `sqlsync.documents.live_queries.LiveQueries`."""
        self.sql, self.bindings = sql, bindings
        self._key = key
        self._callback = callback
        self._on_close = on_close
        self._changed = threading.Condition()  # guards what follows
        self._newest: Examined | None = None
        self._known: tuple[Row, ...] | None = None
        self._error: Exception | None = None
        self._is_closed = False
        self._is_delivering = False
        self._wakers: list[Callable[[], object]] = []

    @property
    def closed(self) -> bool:
        """Whether no more changes come."""
        return self._is_closed

    @property
    def rows(self) -> tuple[Row, ...]:
        """The newest result, taken or not."""
        newest = self._newest
        return newest.rows if newest is not None else ()

    def take(self) -> Change | None:
        """Return the change since the last one taken, None if there is none; raises the query's error."""
        with self._changed:
            return self._taken()

    def wait(self, timeout_s: float | None = None) -> Change:
        """Wait for the next change and return it; the first one is the first result, with all its rows added.

        Raises the query's error, `TimeoutError` if nothing changed in time, `EOFError` once it is closed.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._is_closed or self._is_ready(), timeout_s):
                raise TimeoutError(f"nothing changed in {timeout_s:g} s: {self.sql}")
            change = self._taken()
            if change is None:
                raise EOFError(f"the subscription was closed: {self.sql}")
            return change

    def __iter__(self) -> Iterator[Change]:
        return self

    def __next__(self) -> Change:
        try:
            return self.wait()
        except EOFError:
            raise StopIteration from None

    async def __aiter__(self) -> AsyncIterator[Change]:
        loop, ready = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed
                loop.call_soon_threadsafe(ready.set)

        with self._changed:
            self._wakers.append(wake)
        try:
            while True:
                ready.clear()
                with self._changed:
                    change, ended = self._taken(), self._is_closed
                if change is not None:
                    yield change
                elif ended:
                    return
                else:
                    await ready.wait()
        finally:
            with self._changed:
                self._wakers.remove(wake)

    def close(self) -> None:
        """End the subscription and wake its waiters. May be called again, also in a callback."""
        with self._changed:
            if self._is_closed:
                return
            self._is_closed = True
            self._newest = None
            wakers = self._notify()
        self._on_close(self)
        for wake in wakers:
            wake()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def showed(self, found: Examined | Exception) -> None:
        """Record the query's newest result."""
        with self._changed:
            if self._is_closed:
                return
            if isinstance(found, Exception):
                self._error = found
            else:
                self._newest, self._error = found, None
            wakers = self._notify() if self._is_ready() else []
        for wake in wakers:
            wake()

    def _notify(self) -> list[Callable[[], object]]:
        """Wake waiting threads, and return functions that wake the other waiters; the caller holds the lock."""
        self._changed.notify_all()
        wakers = list(self._wakers)
        if self._callback is not None and not self._is_delivering and not self._is_closed:
            self._is_delivering = True
            wakers.append(threading.Thread(target=self._deliver, name="sqlsync-subscriber", daemon=True).start)
        return wakers

    def _is_ready(self) -> bool:
        if self._error is not None:
            return True
        newest = self._newest
        return newest is not None and (self._known is None or not is_same(self._known, newest.rows))

    def _taken(self) -> Change | None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        newest = self._newest
        if newest is None or not self._is_ready():
            return None
        before, self._known = self._known or (), newest.rows
        return difference(newest.columns, before, newest.rows, newest.places(self._key))

    def _deliver(self) -> None:
        """Call the callback until no change is left; one such thread runs at a time."""
        assert self._callback is not None, "BUG: no callback"
        while True:
            try:
                with self._changed:
                    change = self._taken()
                    if change is None:
                        self._is_delivering = False
                        return
                self._callback(change)
            except Exception:  # noqa: BLE001 - the application's code may raise anything
                _LOG.exception("a subscriber of %s failed", self.sql)
