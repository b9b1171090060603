"""Runs the work of finalizers in a thread, since a finalizer must not wait for a lock.

Python's collector runs finalizers wherever its thread happens to allocate. That thread may hold any lock, or be inside
a block that a reentrant lock guards. A finalizer that acquires a lock there would wait for itself for ever, or for a
thread that waits for it.

    the collector runs in this thread      hand over work that needs a lock (`hand_over`); refuse work that cannot wait
    the interpreter is ending              see `may_still_wait`

A process that ends before the work was done leaves the same state as a killed process, which loses nothing.
"""

import _thread
import gc
import logging
import os
import sys
import threading
from collections import OrderedDict, deque
from collections.abc import Callable

_LOG = logging.getLogger("graft")

_waiting: deque[Callable[[], None]] = deque()
_at_work = _thread.allocate_lock()
"""Held while a thread does waiting work; no thread ever waits for it."""


class _OfThisThread(threading.local):
    """The figures of the last collection that this thread began, under "start"."""

    start: object = None


# The collector calls each of these with a phase, "start" or "stop", and one dictionary of figures. They must not run
# bytecode: Python would raise a pending Ctrl-C there, which the collector prints and drops.
_of_this_thread = _OfThisThread()
_of_any_thread: OrderedDict[str, object] = OrderedDict(start=None, stop=None)
_note_collection: list[Callable[..., None]] = [
    _of_this_thread.__setattr__,
    _of_any_thread.__setitem__,
    _of_any_thread.move_to_end,
]
gc.callbacks += _note_collection


def in_finalizer() -> bool:
    """Return whether Python's collector is at work in this thread, which may then hold any lock."""
    if _of_this_thread.start is not _of_any_thread["start"] or sys.is_finalizing():
        return False  # the newest collection, which may still be at work, is another thread's
    try:
        return next(reversed(_of_any_thread)) == "start"
    except RuntimeError:  # another thread began or ended a collection meanwhile: there is never more than one
        return False


def may_still_wait() -> bool:
    """Return whether waiting for a lock can end: an ending interpreter may have frozen the thread that holds it."""
    if not sys.is_finalizing():
        return True
    return len(sys._current_frames()) == 1  # noqa: SLF001 - it takes no lock, `threading` does


def hand_over(work: Callable[[], None]) -> None:
    """Let another thread do ``work`` soon; acquires no lock. If no thread can start, `do_waiting` does it."""
    _waiting.append(work)
    if _at_work.acquire(blocking=False):
        try:
            _thread.start_new_thread(_do_and_end, ())  # `threading.Thread` takes locks
        except RuntimeError:  # no thread can start
            _at_work.release()


def do_waiting() -> None:
    """Do the work that finalizers handed over and no thread has begun; the caller holds no lock."""
    while _waiting:
        try:
            work = _waiting.popleft()
        except IndexError:  # another thread took it
            return
        try:
            work()
        except Exception:  # noqa: BLE001 - the remaining work must still be done
            _LOG.exception("closing an object that was garbage-collected failed")


def _do_and_end() -> None:
    while True:
        try:
            do_waiting()
        finally:
            _at_work.release()
        if not _waiting or not _at_work.acquire(blocking=False):
            return


def _after_fork() -> None:
    """In the child of a fork: drop the waiting work, which the parent does."""
    global _at_work  # noqa: PLW0603 - a thread of the parent may have held it
    _at_work = _thread.allocate_lock()
    _waiting.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
