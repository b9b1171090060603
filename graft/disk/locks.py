"""Locks between threads and processes.

A lock is an flock on a file of its own: it dies with its process, and it never touches the data that it guards.
"""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from graft.errors import BadRequest, WriterBusy, local_errors
from pagestore.ownership import create
from pagestore.runtime import SYSTEM, Runtime

_POLL_S = 0.002
_BRIEF_POLL_S, _BRIEF_S_MAX = 0.0005, 5.0
"""How one waits for who holds a lock briefly, and for how long at most: that process may be stopped."""


class HeldLock(Protocol):
    """A lock that somebody has."""

    def release(self) -> None:
        """Give it back."""
        ...


class _Mutex:
    """An flock on a file that also keeps out the other threads of its process, which share the descriptor."""

    def __init__(self, path: Path) -> None:
        self._thread_lock = threading.Lock()
        with local_errors(f"opening {path}"):
            self._descriptor = create(path, os.O_RDWR)

    @property
    def is_closed(self) -> bool:
        return self._descriptor < 0

    def try_acquire(self) -> bool:
        if not self._thread_lock.acquire(blocking=False):
            return False
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._thread_lock.release()
            return False
        except BaseException:
            self._thread_lock.release()
            raise
        return True

    def release(self) -> None:
        if self._descriptor >= 0:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        self._thread_lock.release()

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class FileLock:
    """An exclusive lock over all threads of all processes; not reentrant.

    Who tidies up takes it with `held_briefly`, and nobody is told "busy" for that: one who finds the lock taken
    waits until no such holder is there, which a second lock says, and looks again.

    The children of a fork would share it with their parent: they must `close` it at once.
    """

    def __init__(self, path: Path, what: str) -> None:
        """Use the file at ``path``, and one beside it, created if absent; ``what`` is for messages."""
        self.path = path
        self._what = what
        self._mutex = _Mutex(path)
        try:
            self._brief = _Mutex(path.with_suffix(".brief"))
        except BaseException:
            self._mutex.close()
            raise

    def try_acquire(self) -> bool:
        """Take the lock if nobody has it, but for a brief holder; raises `BadRequest` after `close`."""
        if self._mutex.is_closed:
            raise BadRequest(f"{self._what}: the replica was closed here, or opened before a fork; open it again")
        return self._mutex.try_acquire() or self._try_without_brief_holder()

    def release(self) -> None:
        """Give the lock back."""
        self._mutex.release()

    @contextmanager
    def held(self, timeout_s: float, runtime: Runtime = SYSTEM) -> Iterator[None]:
        """Hold the lock for a block; raises `WriterBusy` when it is not to be had in time."""
        deadline_s = runtime.monotonic_s() + timeout_s
        while not self.try_acquire():
            if runtime.monotonic_s() >= deadline_s:
                raise WriterBusy(f"{self._what} is busy in another connection or process (waited {timeout_s:g} s)")
            runtime.sleep_s(_POLL_S)
        try:
            yield
        finally:
            self.release()

    @contextmanager
    def held_briefly(self) -> Iterator[bool]:
        """Hold the lock for a block that takes milliseconds and waits for no lock; tell whether it was to be had."""
        if self._mutex.is_closed or not self._brief.try_acquire():
            yield False
            return
        try:
            taken = self._mutex.try_acquire()
            try:
                yield taken
            finally:
                if taken:
                    self.release()
        finally:
            self._brief.release()

    def close(self) -> None:
        """Close the files; a held lock is released. May be called again."""
        self._mutex.close()
        self._brief.close()

    def _try_without_brief_holder(self) -> bool:
        """Try again when nobody holds the lock briefly, which is soon."""
        deadline_s = SYSTEM.monotonic_s() + _BRIEF_S_MAX
        while not self._brief.try_acquire():
            if SYSTEM.monotonic_s() >= deadline_s:
                return False
            SYSTEM.sleep_s(_BRIEF_POLL_S)
        try:
            return self._mutex.try_acquire()
        finally:
            self._brief.release()


class PresenceLock:
    """Tells the first process that opens a directory from those that join it.

    The first one holds it exclusively while it recovers, then all share it for as long as they have the replica open.
    Turning an exclusive flock into a shared one lets it go for a moment; a second one, the gate, keeps others out then.
    """

    def __init__(self, path: Path) -> None:
        """Use the file at ``path`` and one beside it, created if absent."""
        self._descriptor = self._gate = -1
        with local_errors(f"opening {path}"):
            self._descriptor = create(path, os.O_RDWR)
            try:
                self._gate = create(path.with_suffix(".gate"), os.O_RDWR)
            except BaseException:
                os.close(self._descriptor)
                raise

    def enter(self) -> bool:
        """Join; tell whether nobody else was there. Call `settled` after recovering."""
        fcntl.flock(self._gate, fcntl.LOCK_EX)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.settled()
            return False
        return True

    def settled(self) -> None:
        """Let others in."""
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)
        fcntl.flock(self._gate, fcntl.LOCK_UN)

    def close(self) -> None:
        """Leave; may be called again."""
        for descriptor in {self._descriptor, self._gate} - {-1}:
            os.close(descriptor)
        self._descriptor = self._gate = -1
