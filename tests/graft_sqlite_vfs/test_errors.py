"""Every error has a result code that makes SQLite, and its caller, do the right thing."""

import apsw
import pytest

from graft import errors
from graft_sqlite_vfs.errors import as_sqlite, result_code

CODES = {
    errors.WriterBusy: (apsw.SQLITE_BUSY, apsw.BusyError),
    errors.StaleSnapshot: (apsw.SQLITE_BUSY_SNAPSHOT, apsw.BusyError),
    errors.Diverged: (apsw.SQLITE_ABORT, apsw.AbortError),
    errors.ReadOnly: (apsw.SQLITE_READONLY, apsw.ReadOnlyError),
    errors.BadRequest: (apsw.SQLITE_ERROR, apsw.SQLError),
    errors.NoSuchVersion: (apsw.SQLITE_ERROR, apsw.SQLError),
    errors.DiskFull: (apsw.SQLITE_FULL, apsw.FullError),
    errors.LocalStorageError: (apsw.SQLITE_IOERR_WRITE, apsw.IOError),
    errors.Corrupt: (apsw.SQLITE_IOERR_DATA, apsw.IOError),
    errors.HistoryLost: (apsw.SQLITE_IOERR_DATA, apsw.IOError),
    errors.RemoteRefused: (apsw.SQLITE_IOERR_AUTH, apsw.IOError),
    errors.RemoteUnavailable: (apsw.SQLITE_IOERR, apsw.IOError),
    errors.Unsupported: (apsw.SQLITE_IOERR, apsw.IOError),
    errors.GraftError: (apsw.SQLITE_IOERR, apsw.IOError),
}


@pytest.mark.parametrize("kind", CODES)
def test_codes(kind):
    code, exception = CODES[kind]
    made = as_sqlite(kind("volume v at LSN 3, page 7"))
    assert result_code(kind("x")) == code
    assert isinstance(made, exception)
    assert made.extendedresult == code
    assert str(made) == "volume v at LSN 3, page 7"


def test_nothing_reads_as_a_malformed_database():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.GraftError)]
    assert len(kinds) > 15
    for kind in kinds:
        assert result_code(kind("x")) & 0xFF not in {apsw.SQLITE_CORRUPT, apsw.SQLITE_NOTADB, apsw.SQLITE_OK}


def test_the_code_can_be_overridden():
    made = as_sqlite(errors.NoSuchVersion("why"), apsw.SQLITE_CANTOPEN)
    assert isinstance(made, apsw.CantOpenError)
    assert str(made) == "why"
