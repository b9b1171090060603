"""Maps volume errors to SQLite result codes and messages.

    graft.errors          SQLite                apsw            what SQLite or its caller does next
    WriterBusy            BUSY                  BusyError       the busy handler runs, then the caller retries
    StaleSnapshot         BUSY_SNAPSHOT         BusyError       end the read transaction and begin again
    Diverged              ABORT                 AbortError      pull with a policy; a blind retry would not help
    ReadOnly              READONLY              ReadOnlyError   open the volume without `at`
    other BadRequest      ERROR                 SQLError        ask for something else
    LimitReached          IOERR                 IOError         raise the limit, or close something
    ReplicaMoved          READONLY_DBMOVED      ReadOnlyError   close it everywhere and open it again
    DiskFull              FULL                  FullError       free some space
    LocalStorageError     IOERR_WRITE           IOError         repair the local disk
    Corrupt               IOERR_DATA            IOError         report it; never "database disk image is malformed"
    RemoteRefused         IOERR_AUTH            IOError         correct the configuration
    RemoteUnavailable     IOERR                 IOError         retry later
    TooStale              IOERR                 IOError         retry later, or ask for less
    anything else         IOERR                 IOError

While a database is being opened, every error except WriterBusy is CANTOPEN. A commit that the remote did not answer and
that stored nothing is BUSY, so that an explicit transaction stays open and its COMMIT can be tried again.

The raised exception has the message of the `GraftError`, which is its ``__cause__``. graft cannot ensure this in one
case: apsw discards what xLock raises with a BUSY code, and the user reads SQLite's "database is locked".
"""

import apsw

from graft.errors import (
    BadRequest,
    Corrupt,
    DiskFull,
    Diverged,
    GraftError,
    LimitReached,
    LocalStorageError,
    ReadOnly,
    RemoteRefused,
    ReplicaMoved,
    StaleSnapshot,
    WriterBusy,
)
from pagestore.limits import memory

_CODES: tuple[tuple[type[GraftError], int], ...] = (
    (WriterBusy, apsw.SQLITE_BUSY),
    (StaleSnapshot, apsw.SQLITE_BUSY_SNAPSHOT),
    (Diverged, apsw.SQLITE_ABORT),
    (ReadOnly, apsw.SQLITE_READONLY),
    (BadRequest, apsw.SQLITE_ERROR),
    (ReplicaMoved, apsw.SQLITE_READONLY_DBMOVED),
    (DiskFull, apsw.SQLITE_FULL),
    (LocalStorageError, apsw.SQLITE_IOERR_WRITE),
    (Corrupt, apsw.SQLITE_IOERR_DATA),
    (RemoteRefused, apsw.SQLITE_IOERR_AUTH),
)


FAILURES = (GraftError, MemoryError)
"""What a method of a file catches. SQLite recovers from an I/O error in each of them, but not from NOMEM, which is what
apsw makes of a `MemoryError`: after a failed rollback it would go on with pages that were never committed."""


def named(error: GraftError | MemoryError) -> GraftError:
    """Return the error itself, or the one that names the limit."""
    if isinstance(error, GraftError):
        return error
    limit = LimitReached(memory())
    limit.__cause__ = error
    return limit


def result_code(error: GraftError) -> int:
    """Return the extended SQLite result code for an error."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), apsw.SQLITE_IOERR)


def sqlite_error(code: int, message: str) -> Exception:
    """Return the apsw exception that gives SQLite ``code`` and the user ``message``."""
    error = apsw.exception_for(code)
    error.args = (message,)
    return error


def as_sqlite(error: GraftError | MemoryError, code: int | None = None) -> Exception:
    """Return the apsw exception for an error, to be raised ``from named(error)``; ``code`` replaces the table's."""
    told = named(error)
    return sqlite_error(result_code(told) if code is None else code, str(told))


def collected(name: str) -> str:
    """Return the message for a transaction that is rolled back because a finalizer cannot commit it."""
    return (
        f"volume {name}: a statement was garbage collected before its rows were read to the end, at a moment when its "
        "commit could not wait; it was rolled back. Read all rows, or close the cursor"
    )
