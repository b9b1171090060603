"""Maps exceptions to a one-line message and an exit code.

    graft.errors                                        exit code
    Diverged                                            3   choose a policy
    RemoteUnavailable                                   4   try again later
    RemoteRefused                                       5   correct the configuration
    Corrupt, HistoryLost                                6   report it
    WriterBusy, StaleSnapshot, sqlsync's DocumentBusy   7   try again soon
    TooStale                                            8   try again later, or accept an older version
    BadRequest, LocalStorageError, Unsupported, others  1   do what the message says

This module is imported only after a failure, since it needs packages that `graft --help` does not.
"""

from graft.errors import (
    Corrupt,
    Diverged,
    GraftError,
    RemoteRefused,
    RemoteUnavailable,
    StaleSnapshot,
    TooStale,
    WriterBusy,
)
from graft_cli.exitcodes import ExitCode
from sqlsync.errors import DocumentBusy, SqlSyncError

EXIT_CODES: tuple[tuple[type[Exception], ExitCode], ...] = (
    (Diverged, ExitCode.DIVERGED),
    (RemoteUnavailable, ExitCode.UNAVAILABLE),
    (RemoteRefused, ExitCode.REFUSED),
    (Corrupt, ExitCode.CORRUPT),
    (WriterBusy, ExitCode.BUSY),
    (StaleSnapshot, ExitCode.BUSY),
    (DocumentBusy, ExitCode.BUSY),
    (TooStale, ExitCode.TOO_STALE),
)


def exit_code(error: Exception) -> ExitCode:
    """Return the exit code for an exception."""
    return next((code for kind, code in EXIT_CODES if isinstance(error, kind)), ExitCode.FAILED)


def sentence(error: Exception) -> str:
    """Return the message for the user, on one line."""
    if isinstance(error, (GraftError, SqlSyncError, OSError, UnicodeError)):
        return " ".join(str(error).split())
    what = " ".join(f"{type(error).__name__}: {error}".split())
    return f"an error in graft itself ({what}); please report it with the output of `graft --traceback …`"
