"""What went wrong in a library that cannot be told: one that takes nothing but SQLite's result codes."""

import logging
import threading

from graft.errors import GraftError, StaleSnapshot, WriterBusy

_LOG = logging.getLogger("graft")


class _Last(threading.local):
    error: BaseException | None = None


_last = _Last()


def last_error() -> BaseException | None:
    """Return the newest error that this thread met in such a library, None if there was none.

    It is a `GraftError`, unless it was our mistake; its message has what SQLite's ("disk I/O error") lacks.
    """
    return _last.error


def remember(error: BaseException) -> None:
    """Keep an error for `last_error`, and log it unless it only says that another writer was first."""
    cause = error.__cause__
    _last.error = cause if isinstance(cause, GraftError) else error
    if not isinstance(cause, WriterBusy | StaleSnapshot):
        _LOG.error("%s", error)
