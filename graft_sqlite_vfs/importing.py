"""Import of a plain SQLite database: checked, and held still while it is read."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from graft.errors import BadRequest, local_errors
from graft.operations.hydrate import Progress
from graft.operations.transfer import TransferResult, import_file
from graft.replica.replica import Replica
from graft_sqlite_vfs import header
from pagestore.pages import check_page_size


def import_database(
    replica: Replica, path: str | os.PathLike[str], *, progress: Progress | None = None
) -> TransferResult:
    """Make an SQLite database the volume's content, byte for byte, as one local commit.

    Others may read and write the file meanwhile as far as SQLite lets them: a read lock is held. Progress counts bytes.
    Raises `BadRequest` for a file that is no database, has another page size, or whose newest changes are still in its
    journal or WAL; `WriterBusy`; `DiskFull` and `LocalStorageError`.
    """
    source = Path(path)
    page_size = database_page_size(source)
    if page_size != replica.page_size:
        raise BadRequest(
            f"{source} has pages of {page_size} bytes, volume {replica.name} has {replica.page_size}: make a volume "
            f"with page_size={page_size}, or change the file's (PRAGMA page_size={replica.page_size}; VACUUM)"
        )
    _refuse_hot_journal(source)
    _refuse_wal(source)
    with _read_locked(source):
        _refuse_wal(source)  # again, now that none can appear any more
        size = source.stat().st_size
        if size % page_size:
            raise BadRequest(f"{source} has {size} bytes, which is not a whole number of pages of {page_size} bytes")
        return import_file(replica, source, progress=progress)


def database_page_size(path: str | os.PathLike[str]) -> int:
    """Return the page size in bytes of a plain SQLite database; raises `BadRequest` if the file is none."""
    with local_errors(f"reading {path}"), Path(path).open("rb") as file:
        start = file.read(header.HEADER_BYTES)
    if not start:
        raise BadRequest(f"{path} is empty: there is nothing to import")
    if len(start) < header.HEADER_BYTES or not header.is_database(start):
        raise BadRequest(f"{path} is not an SQLite database (or is encrypted)")
    try:
        return check_page_size(header.page_size_in(start))
    except ValueError as error:
        raise BadRequest(f"{path} is not an SQLite database: {error}") from error


def _refuse_hot_journal(path: Path) -> None:
    journal = path.with_name(path.name + "-journal")
    with local_errors(f"reading {journal}"):
        if not journal.exists():
            return
        with journal.open("rb") as file:
            start = file.read(1)
    if start.strip(b"\0"):  # journal_mode=PERSIST leaves one whose header is zeros
        raise BadRequest(
            f"{path} has a journal, {journal.name}: a transaction is open, or was cut off by a crash. Finish it; "
            "opening the database once with SQLite and reading from it settles a crash"
        )


def _refuse_wal(path: Path) -> None:
    wal = path.with_name(path.name + "-wal")
    with local_errors(f"reading {wal}"):
        pending = wal.exists() and wal.stat().st_size
    if pending:
        raise BadRequest(
            f"{path} has newer changes in {wal.name}: run PRAGMA wal_checkpoint(TRUNCATE) on it first, with no other "
            "connection in the way"
        )


@contextmanager
def _read_locked(path: Path) -> Iterator[None]:
    """Keep an SQLite read transaction open, so that nobody changes the file's bytes."""
    try:
        # Not SQLITE_OPEN_READONLY, with which SQLite leaves the -wal and -shm files that reading makes behind.
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.execute("PRAGMA query_only=1; BEGIN; SELECT 1 FROM sqlite_schema")
            yield
        finally:
            connection.close()
    except apsw.Error as error:
        raise BadRequest(f"SQLite cannot read {path}: {error}") from error
