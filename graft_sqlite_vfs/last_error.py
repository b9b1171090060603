"""Stores the last error of each thread, for SQLite libraries that receive only a result code."""

import logging
import threading

from graft.errors import GraftError, StaleSnapshot, WriterBusy

_LOG = logging.getLogger("graft")


class _Last(threading.local):
    error: BaseException | None = None


_last = _Last()


def last_error() -> BaseException | None:
    """Return the newest error that this thread met in such a library, None if there was none.

    It is a `GraftError`, unless graft has a bug. Its message has the details that SQLite's ("disk I/O error") lacks.
    """
    return _last.error


def remember(error: BaseException) -> None:
    """Store an error for `last_error`, and log it unless it only means that another writer was first."""
    cause = error.__cause__
    _last.error = cause if isinstance(cause, GraftError) else error
    if not isinstance(cause, WriterBusy | StaleSnapshot):
        _LOG.error("%s", error)
