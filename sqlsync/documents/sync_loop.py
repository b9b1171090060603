"""The thread that synchronizes a document, so that the application need not call `sync`."""

import logging
import threading
from collections.abc import Callable

from graft.errors import GraftError
from sqlsync.documents.session import Client
from sqlsync.documents.sync import sync
from sqlsync.errors import SqlSyncError

POLL_S = 1.0
_WAIT_S = 5.0
_BACKOFF_FACTOR_MAX = 30
_log = logging.getLogger(__name__)


class SyncLoop:
    """Synchronizes after each mutation, and every ``poll_s`` seconds to fetch changes; retries after errors."""

    def __init__(self, client: Client, poll_s: float, on_error: Callable[[Exception], None] | None) -> None:
        """Start the thread. ``on_error`` is called for failed rounds, which are retried with growing delays."""
        self._client = client
        self._poll_s = poll_s
        self._on_error = on_error
        self._wanted = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="sqlsync-document", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Start a round soon."""
        self._wanted.set()

    def stop(self) -> None:
        """Stop the thread after its current round."""
        self._ended = True
        self._wanted.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        failures = 0
        while not self._ended:
            self._wanted.clear()
            least_s = 0.0
            try:
                sync(self._client, wait_s=min(_WAIT_S, self._poll_s))
                self._repeat_presence()
                failures = 0
            except Exception as error:  # noqa: BLE001 - a call-back, too, may raise anything; the thread goes on
                failures += 1
                least_s = getattr(error, "retry_after_s", None) or 0.0
                self._tell(error)
            if failures:
                # A mutation does not repair the network: only `stop` ends this wait.
                backoff_s = self._poll_s * min(2 ** (failures - 1), _BACKOFF_FACTOR_MAX)
                self._pause(max(least_s, backoff_s))
            else:
                self._wanted.wait(self._poll_s)

    def _repeat_presence(self) -> None:
        """Refresh this client's presence; a failure does not delay mutations."""
        try:
            if self._client.presence is not None:
                self._client.presence.repeat()
        except SqlSyncError as error:
            self._tell(error)

    def _tell(self, error: Exception) -> None:
        if not isinstance(error, GraftError | SqlSyncError):
            _log.error("synchronizing a document failed, and is tried again: %s", error, exc_info=error)
        try:
            if self._on_error is not None:
                self._on_error(error)
        except Exception:  # noqa: BLE001 - whatever the application raises
            _log.exception("on_error of a document failed")

    def _pause(self, seconds: float) -> None:
        deadline_s = self._client.runtime.monotonic_s() + seconds
        while not self._ended and (left := deadline_s - self._client.runtime.monotonic_s()) > 0:
            self._wanted.clear()
            self._wanted.wait(min(left, self._poll_s))
