"""The thread in which a coordinator applies its inbox: it runs until it is stopped, and outlives every error.

After an error it logs what went wrong, waits a second and tries again; nothing is lost meanwhile.
"""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

_RETRY_S = 1.0
_PRESENCE_S = 5.0
"""The longest delay with which silent clients are removed from the presence."""
_log = logging.getLogger(__name__)


class ApplyThread:
    """The thread of one coordinator."""

    def __init__(
        self,
        path: Path,
        moved: threading.Condition,
        *,
        is_due: Callable[[], bool],
        step: Callable[[], object],
        expire_presence: Callable[[], float | None],
    ) -> None:
        """Prepare a thread that calls ``step`` when ``is_due``; ``path`` names the coordinator in log messages.

        ``moved`` is notified when ``is_due`` may have changed, and when the thread is to stop. ``is_due`` is called
        with its lock held. ``expire_presence`` returns the seconds until it has to be called again, None for any.
        """
        self.trouble: BaseException | None = None
        """The error of the last attempt to apply something; None if it succeeded."""
        self.is_stopping = False
        """Whether `stop` was called; guarded by the lock of ``moved``."""
        self._path = path
        self._moved = moved
        self._is_due = is_due
        self._step = step
        self._expire_presence = expire_presence
        self._thread: threading.Thread | None = None  # guarded by the lock of `_moved`

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs; the caller holds the lock of ``moved``."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Start the thread."""
        with self._moved:
            assert self._thread is None, "BUG: started twice"
            self.is_stopping = False
            self._thread = threading.Thread(target=self._run, name="sqlsync-coordinator", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop the thread and wait for its end; may be called again."""
        with self._moved:
            self.is_stopping = True
            self._moved.notify_all()
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while not self.is_stopping:
            try:
                if self._wait_until_due():
                    self._step()
                self._set_trouble(None)
            except BaseException as error:  # noqa: BLE001 - only `stop` may end the thread
                self._set_trouble(error)
                with self._moved:
                    self._moved.wait_for(lambda: self.is_stopping, _RETRY_S)

    def _wait_until_due(self) -> bool:
        silent_s = self._expire_presence()
        with self._moved:
            is_due = self._moved.wait_for(
                lambda: self.is_stopping or self._is_due(),
                _PRESENCE_S if silent_s is None else min(silent_s, _PRESENCE_S),
            )
            return is_due and not self.is_stopping

    def _set_trouble(self, error: BaseException | None) -> None:
        before = self.trouble
        if error is None:
            if before is not None:
                _log.info("coordinator in %s: applying mutations again", self._path)
        elif before is None or repr(before) != repr(error):
            _log.error("coordinator in %s: cannot apply mutations: %s", self._path, error, exc_info=error)
        self.trouble = error
