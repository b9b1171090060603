"""Locks between threads and processes.

A lock is an flock on a file of its own: it dies with its process, and it never touches the data that it guards.
"""

import contextlib
import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from graft.disk.names import FileId
from graft.errors import BadRequest, GraftError, ReplicaMoved, WriterBusy, local_errors
from pagestore.ownership import create
from pagestore.runtime import SYSTEM, Runtime

_POLL_S = 0.002
_BRIEF_POLL_S, _BRIEF_S_MAX = 0.0005, 5.0
"""How often to retry while another process holds a lock briefly, and for how long: that process may be stopped."""


class HeldLock(Protocol):
    """A lock that is held."""

    def release(self) -> None:
        """Release it."""
        ...


class _Mutex:
    """An flock on a file that also excludes the other threads of its process, which share the descriptor."""

    def __init__(self, path: Path) -> None:
        self._thread_lock = threading.Lock()
        self._name = str(path)
        with local_errors(f"opening {path}"):
            self._descriptor = create(path, os.O_RDWR)
            self._id = FileId.of(os.fstat(self._descriptor))

    @property
    def is_closed(self) -> bool:
        return self._descriptor < 0

    @property
    def has_its_name(self) -> bool:
        """Whether a process that opens the path now locks the same file."""
        try:
            return FileId.of(os.stat(self._name)) == self._id  # noqa: PTH116 - making a path takes longer than this
        except OSError:
            return False

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

    Housekeeping takes it with `held_briefly`, which never makes another caller fail with "busy": a caller that finds
    the lock taken waits until there is no brief holder, which a second lock shows, and tries again.

    A lock on a file that is no longer the one at its path excludes nobody, so acquiring it raises `ReplicaMoved`.

    The child of a fork would share the lock with its parent: it must `close` it at once.
    """

    def __init__(self, path: Path, what: str, *, check: Callable[[], None] | None = None) -> None:
        """Use the file at ``path`` and one beside it, created if absent; messages call the lock ``what``.

        ``check`` is called each time the lock was acquired; if it raises, the lock is released.
        """
        self.path = path
        self._what = what
        self._check = check
        self._mutex = _Mutex(path)
        try:
            self._brief = _Mutex(path.with_suffix(".brief"))
        except BaseException:
            self._mutex.close()
            raise

    def try_acquire(self) -> bool:
        """Acquire the lock if it is free, after waiting for a brief holder; return whether it was acquired.

        Raises `BadRequest` after `close`, and `ReplicaMoved` if the file is no longer the one at its path.
        """
        if self._mutex.is_closed:
            raise BadRequest(f"{self._what}: the replica was closed here, or opened before a fork; open it again")
        if not self._mutex.try_acquire() and not self._try_without_brief_holder():
            return False
        try:
            self._require_valid()
        except BaseException:
            self.release()
            raise
        return True

    def release(self) -> None:
        """Release the lock."""
        self._mutex.release()

    @contextmanager
    def held(self, timeout_s: float, runtime: Runtime = SYSTEM) -> Iterator[None]:
        """Hold the lock for a block; raises `WriterBusy` if it is not free within ``timeout_s`` seconds."""
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
        """Hold the lock for a block that takes milliseconds and waits for no other lock; yield whether it was free."""
        if self._mutex.is_closed or not self._brief.try_acquire():
            yield False
            return
        try:
            taken = self._mutex.try_acquire()
            try:
                yield taken and self._is_valid()
            finally:
                if taken:
                    self.release()
        finally:
            self._brief.release()

    def close(self) -> None:
        """Close the files, which releases a held lock; may be called again."""
        self._mutex.close()
        self._brief.close()

    def _require_valid(self) -> None:
        if not self._mutex.has_its_name:
            raise ReplicaMoved(
                f"{self._what}: {self.path} was deleted or replaced while it was in use, so the lock does not exclude "
                "other processes; nothing was written. Close the replica in all processes, and open it again"
            )
        if self._check is not None:
            self._check()

    def _is_valid(self) -> bool:
        try:
            self._require_valid()
        except GraftError:
            return False
        return True

    def _try_without_brief_holder(self) -> bool:
        """Wait until no process holds the lock briefly, and try again."""
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
    """Distinguishes the first process that opens a directory from those that join it.

    The first process holds the lock exclusively while it recovers. Then all processes share it as long as they have the
    replica open. Converting an exclusive flock into a shared one releases it for a moment; a second flock, the gate,
    excludes other processes meanwhile.
    """

    def __init__(self, path: Path) -> None:
        """Use the file at ``path`` and one beside it; `enter` creates them if absent."""
        self._path = path
        self._descriptor = self._gate = -1

    def enter(self) -> bool:
        """Join; return whether no other process has the directory open. Call `admit_others` after recovery."""
        with local_errors(f"opening {self._path}"):
            self._gate = _locked_by_name(self._path.with_suffix(".gate"))
            self._descriptor = create(self._path, os.O_RDWR)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.admit_others()
            return False
        return True

    def admit_others(self) -> None:
        """Let other processes join."""
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)
        gate, self._gate = self._gate, -1
        os.close(gate)  # which releases its lock

    def close(self) -> None:
        """Leave; may be called again."""
        for descriptor in {self._descriptor, self._gate} - {-1}:
            os.close(descriptor)
        self._descriptor = self._gate = -1


def _locked_by_name(path: Path) -> int:
    """Open and lock a file that is still at its path once locked: a lock on a deleted file excludes nobody."""
    while True:
        descriptor = create(path, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):
                if FileId.of(path.stat()) == FileId.of(os.fstat(descriptor)):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
