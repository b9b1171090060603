"""Runs blocking calls in lanes: each lane has its own threads and queue, so that a full lane does not block others.

    run --> queue (at most `waiting_max`) --> a thread of the lane --> result, or `Overloaded` after `timeout_s`

An abandoned call occupies its thread until it returns, since it cannot be cancelled. The threads are daemons, so that a
store that never answers does not prevent the process from ending.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeAlias, TypeVar

Result = TypeVar("Result")
_Call: TypeAlias = tuple["Future[Any]", Callable[..., Any], tuple[Any, ...]]


class Overloaded(Exception):
    """A call would wait too long, or has; try again later."""


class Lane:
    """Runs calls in order of arrival, until `close`. Any thread may use it."""

    def __init__(self, name: str, *, threads: int, waiting_max: int) -> None:
        """Run at most ``threads`` calls at once, and let at most ``waiting_max`` others wait."""
        self.name = name
        self._threads_max = threads
        self._waiting_max = waiting_max
        self._changed = threading.Condition()  # guards all that follows
        self._waiting: deque[_Call] = deque()
        self._threads = 0
        self._idle = 0
        self._is_closed = False

    async def run(self, call: Callable[..., Result], *args: Any, timeout_s: float | None = None) -> Result:
        """Run a call and return its result; raises `Overloaded` after ``timeout_s`` seconds."""
        future = self._queued(call, args)
        try:
            async with asyncio.timeout(timeout_s) as limit:
                return await asyncio.wrap_future(future)
        except TimeoutError:
            if not limit.expired():
                raise  # the call's own
            raise Overloaded(f"{self.name} is busy: no answer within {timeout_s:g} s; try again later") from None

    def close(self) -> None:
        """Accept no more calls, and refuse the waiting ones."""
        with self._changed:
            self._is_closed = True
            waiting, self._waiting = self._waiting, deque()
            self._changed.notify_all()
        for future, _, _ in waiting:
            if future.set_running_or_notify_cancel():
                future.set_exception(self._closed())

    def _closed(self) -> Overloaded:
        return Overloaded(f"{self.name} is being closed; try again")

    def _queued(self, call: Callable[..., Result], args: tuple[Any, ...]) -> "Future[Result]":
        future = Future[Result]()
        with self._changed:
            if self._is_closed:
                raise self._closed()
            if len(self._waiting) >= self._waiting_max:
                raise Overloaded(f"{self.name} is busy: {len(self._waiting)} calls wait; try again later")
            self._waiting.append((future, call, args))
            if len(self._waiting) > self._idle and self._threads < self._threads_max:
                self._threads += 1
                threading.Thread(target=self._work, name=f"graft-server: {self.name}", daemon=True).start()
            else:
                self._changed.notify()
        return future

    def _work(self) -> None:
        while (taken := self._taken()) is not None:
            future, call, args = taken
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = call(*args)
            except BaseException as error:  # noqa: BLE001 - raised again in the waiting caller
                future.set_exception(error)
            else:
                future.set_result(result)
            del taken, future, call, args

    def _taken(self) -> _Call | None:
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            self._idle -= 1
            if self._waiting:
                return self._waiting.popleft()
            self._threads -= 1
            return None
