"""What a finalizer may do: nothing that waits. It hands its work to a thread.

Python's collector runs finalizers wherever its thread happens to allocate, so that thread may hold any lock, or be in
the middle of what a reentrant lock guards. A finalizer that takes a lock then waits for itself for ever. So do the
locks of the collector's own thread matter, and those of every thread that waits for one of them.

    the collector is at work in this thread      hand over what needs a lock (`hand_over`); refuse what cannot wait
    the interpreter is ending                    see `may_still_wait`

A process that ends before the work was done leaves what a killed one leaves, which loses nothing.
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
"""Held while a thread does what waits; nobody ever waits for it."""


class _OfThisThread(threading.local):
    """The figures of the collections that this thread began, under "start", and ended."""

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
    collecting = next(reversed(_of_any_thread)) == "start"
    return collecting and _of_this_thread.start is _of_any_thread["start"] and not sys.is_finalizing()


def may_still_wait() -> bool:
    """Return whether a lock may be waited for: not once an ending interpreter has frozen threads that may hold it."""
    return not sys.is_finalizing() or len(sys._current_frames()) == 1  # noqa: SLF001 - it takes no lock, `threading` does


def hand_over(work: Callable[[], None]) -> None:
    """Have ``work`` done soon by another thread; takes no lock itself. If no thread can begin, `do_waiting` does it."""
    _waiting.append(work)
    if _at_work.acquire(blocking=False):
        try:
            _thread.start_new_thread(_do_and_end, ())  # `threading.Thread` takes locks
        except RuntimeError:  # no thread is to be had
            _at_work.release()


def do_waiting() -> None:
    """Do in this thread, which holds no lock, what finalizers have handed over and nobody has begun."""
    while _waiting:
        try:
            work = _waiting.popleft()
        except IndexError:  # another thread was faster
            return
        try:
            work()
        except Exception:  # noqa: BLE001 - whatever it is, the rest is still to be done
            _LOG.exception("letting go of what was collected failed")


def _do_and_end() -> None:
    while True:
        try:
            do_waiting()
        finally:
            _at_work.release()
        if not _waiting or not _at_work.acquire(blocking=False):
            return


def _after_fork() -> None:
    """In a fork's child: what waits is the parent's to do, and so is the thread that does it."""
    global _at_work  # noqa: PLW0603 - the thread that held it is not here
    _at_work = _thread.allocate_lock()
    _waiting.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
