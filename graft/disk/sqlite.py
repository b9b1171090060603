"""The replica's own small databases, through the standard library's SQLite."""

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from graft.errors import Corrupt, DiskFull, GraftError, LimitReached, LocalStorageError, Unsupported, WriterBusy
from pagestore.limits import limit_on_opening, memory
from pagestore.ownership import create

MEMORY = Path(":memory:")
"""A database without a file."""
_BUSY_TIMEOUT_S = 10.0
_CANNOT_OPEN = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR})
"""Codes that SQLite returns when it gets no descriptor, and for other reasons."""
_NO_MEMORY = frozenset({sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_IOERR_NOMEM, sqlite3.SQLITE_IOERR_SHMMAP})
"""Codes of memory that ran out, and of shared memory that could not be mapped."""
_FILES_OF_DATABASE = 4
"""The database, its WAL, its shared memory, and one that SQLite opens for a moment."""
_FREE_PAGES_MIN, _FREE_SHARE = 16, 8
"""A database is vacuumed if more than this many of its pages are free, and more than one in this many."""


def opened(
    path: Path,
    schema: str,
    version: int,
    *,
    synchronous: str,
    upgrades: Mapping[int, Sequence[str]] | None = None,
) -> sqlite3.Connection:
    """Open a database that several processes and threads use, creating its tables; callers lock between threads.

    A database of an older version is upgraded by the statements in ``upgrades`` from that version on; if there are
    none, its tables are created again.

    Raises `Unsupported` if a newer version of graft made the database, and the errors of `sqlite3`.
    """
    if path != MEMORY and not path.exists():
        os.close(create(path, os.O_RDWR))
    connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        if found > version:
            raise Unsupported(f"{path} has format {found}; this release knows {version}: upgrade graft")
        connection.execute(f"PRAGMA synchronous = {synchronous}")  # first, since changing to WAL may sync, too
        connection.execute("PRAGMA journal_mode = WAL")
        if found in (upgrades or {}):
            _upgrade(connection, upgrades or {})
        elif found < version:
            connection.executescript(f"BEGIN IMMEDIATE; {schema} PRAGMA user_version = {version}; COMMIT;")
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def write_transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Make the changes of a block visible at once, or not at all; no other process writes meanwhile."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _upgrade(connection: sqlite3.Connection, upgrades: Mapping[int, Sequence[str]]) -> None:
    with write_transaction(connection):
        # Read again: another process may have upgraded it meanwhile.
        while statements := upgrades.get(found := connection.execute("PRAGMA user_version").fetchone()[0]):
            for statement in (*statements, f"PRAGMA user_version = {found + 1}"):
                connection.execute(statement)


def shrink(connection: sqlite3.Connection) -> None:
    """Free the unused pages of a database and its WAL, unless another process is using it."""
    (path,) = [row[2] for row in connection.execute("PRAGMA database_list").fetchall() if row[1] == "main"]
    (free,), (count,) = (connection.execute(f"PRAGMA {name}").fetchone() for name in ("freelist_count", "page_count"))
    wal = Path(f"{path}-wal")
    wasteful = free >= _FREE_PAGES_MIN and free > count // _FREE_SHARE
    if not wasteful and not (wal.exists() and wal.stat().st_size):
        return
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        if wasteful:
            connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            raise
    finally:
        connection.execute(f"PRAGMA busy_timeout = {int(_BUSY_TIMEOUT_S * 1000)}")


_abandoned: list[sqlite3.Connection] = []


def abandon(connection: sqlite3.Connection) -> None:
    """Neither use a connection again nor close it: after a fork it belongs to the parent."""
    _abandoned.append(connection)


@contextmanager
def database_errors(doing: str) -> Iterator[None]:
    """Translate the errors of `sqlite3` into this package's; ``doing`` says what failed, with the path."""
    try:
        yield
    except (UnicodeDecodeError, OverflowError) as error:  # names and numbers that an undamaged database never holds
        raise Corrupt(f"{doing}: {error}") from error
    except MemoryError as error:
        raise LimitReached(f"{doing}: {memory()}") from error
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) in _NO_MEMORY:
            raise LimitReached(f"{doing}: {memory()}") from error
        limit = limit_on_opening(_FILES_OF_DATABASE) if _code(error) in _CANNOT_OPEN else None
        if limit is not None:
            raise LimitReached(f"{doing}: {limit}") from error
        raise _kind(error)(f"{doing}: {error}") from error


def _kind(error: sqlite3.Error) -> type[GraftError]:
    code = _code(error)
    if code == sqlite3.SQLITE_FULL:
        return DiskFull
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return WriterBusy
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}:
        return Corrupt  # SQLITE_ERROR: a table is missing, since the statements are correct
    return LocalStorageError


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
