"""A background thread that does a small piece of work every second."""

import contextlib
import threading
from collections.abc import Callable
from weakref import WeakMethod

from pagestore.limits import require_room_for_thread

_EVERY_S = 1.0


class Housekeeper:
    """Calls a method every second, from the first `begin` until `close` or until the method's object is collected."""

    def __init__(self, work: Callable[[], None]) -> None:
        """Call the bound method ``work``, which must not raise, once `begin` was called."""
        self._work = WeakMethod(work)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()  # guards _thread
        self._closed = threading.Event()

    def begin(self) -> None:
        """Start the thread unless it is running."""
        if self._thread is None:
            with self._lock:
                if self._thread is None and not self._closed.is_set():
                    thread = threading.Thread(target=self._run, name="graft-housekeeper", daemon=True)
                    with contextlib.suppress(RuntimeError):  # no thread can start: closing does the work
                        require_room_for_thread()
                        thread.start()
                        self._thread = thread

    def close(self) -> None:
        """Stop, and wait until running work is done."""
        self._closed.set()
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while not self._closed.wait(_EVERY_S):
            work = self._work()
            if work is None:
                return
            work()
            del work
