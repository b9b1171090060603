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
        self._name = str(path)
        with local_errors(f"opening {path}"):
            self._descriptor = create(path, os.O_RDWR)
            self._id = FileId.of(os.fstat(self._descriptor))

    @property
    def is_closed(self) -> bool:
        return self._descriptor < 0

    @property
    def has_its_name(self) -> bool:
        """Whether others that open the path lock the same file."""
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

    Who tidies up takes it with `held_briefly`, and nobody is told "busy" for that: one who finds the lock taken
    waits until no such holder is there, which a second lock says, and looks again.

    A lock on a file that is not the one at its path any more keeps nobody out: who gets it is refused (`ReplicaMoved`).

    The children of a fork would share it with their parent: they must `close` it at once.
    """

    def __init__(self, path: Path, what: str, *, check: Callable[[], None] | None = None) -> None:
        """Use the file at ``path``, and one beside it, created if absent; ``what`` is for messages.

        ``check`` is called each time that the lock was taken; where it raises, the lock is given back.
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
        """Take the lock if nobody has it, but for a brief holder.

        Raises `BadRequest` after `close`, and `ReplicaMoved` where the file is not the one at its path any more.
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
                yield taken and self._is_valid()
            finally:
                if taken:
                    self.release()
        finally:
            self._brief.release()

    def close(self) -> None:
        """Close the files; a held lock is released. May be called again."""
        self._mutex.close()
        self._brief.close()

    def _require_valid(self) -> None:
        if not self._mutex.has_its_name:
            raise ReplicaMoved(
                f"{self._what}: {self.path} was deleted or replaced while it was in use, so that the lock keeps nobody "
                "out; nothing was written. Close everything that uses it, in all processes, and open it again"
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
        """Use the file at ``path`` and one beside it, created if absent, from `enter` on."""
        self._path = path
        self._descriptor = self._gate = -1

    def enter(self) -> bool:
        """Join; tell whether nobody else was there. Call `admit_others` after recovering."""
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
        """Let others in."""
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)
        gate, self._gate = self._gate, -1
        os.close(gate)  # which lets go of its lock

    def close(self) -> None:
        """Leave; may be called again."""
        for descriptor in {self._descriptor, self._gate} - {-1}:
            os.close(descriptor)
        self._descriptor = self._gate = -1


def _locked_by_name(path: Path) -> int:
    """Open and lock a file that has its name when it is locked: a lock on one that was deleted keeps nobody out."""
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
