"""Imports a plain SQLite database: checks it, and holds a read lock on it while copying."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from graft.errors import BadRequest, DiskFull, local_errors
from graft.operations.hydrate import Progress
from graft.operations.transfer import TransferResult, load_file, require_replaceable
from graft.replica.replica import Replica
from graft_sqlite_vfs import header
from pagestore.pages import check_page_size


def import_database(
    replica: Replica, path: str | os.PathLike[str], *, replace: bool = False, progress: Progress | None = None
) -> TransferResult:
    """Make an SQLite database the volume's content, as one local commit, byte for byte.

    SQLite itself opens the file, so it first rolls back a hot journal. If the file has a WAL, SQLite's backup makes a
    copy that includes the WAL's changes, and the copy is imported. Other connections may read and write the file in the
    meantime, within SQLite's locks. Progress counts bytes.

    Raises `BadRequest` if the file is not a database, has another page size, or has hard links whose journal or WAL may
    hold newer changes, and where `import_file` does; `WriterBusy`; `DiskFull` and `LocalStorageError`.
    """
    source = _source(path)
    page_size = database_page_size(source)
    if page_size != replica.page_size:
        raise BadRequest(
            f"{source} has pages of {page_size} bytes, volume {replica.name} has {replica.page_size}: create a volume "
            f"with page_size={page_size}, or change the file's (PRAGMA page_size={replica.page_size}; VACUUM)"
        )
    require_replaceable(replica.name, replica.snapshot(), replace=replace)
    has_wal = _has_wal(source)
    with _reading(source, checkpoints=not has_wal) as connection, contextlib.ExitStack() as stack:
        if _has_wal(source):
            with local_errors("making a temporary directory for a copy"):
                directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="graft-")))
            source = _backed_up(connection, directory)
        size = source.stat().st_size
        if size % page_size:
            raise BadRequest(f"{source} has {size} bytes, which is not a whole number of pages of {page_size} bytes")
        return load_file(replica, source, replace=replace, progress=progress)


def database_page_size(path: str | os.PathLike[str]) -> int:
    """Return the page size in bytes of a plain SQLite database; SQLite first rolls back a hot journal.

    Raises `BadRequest` if `import_database` would refuse the file.
    """
    source = _source(path)
    with _reading(source, checkpoints=not _has_wal(source)) as connection:
        if not connection.pragma("page_count"):
            raise BadRequest(f"{path} is empty: there is nothing to import")
        return int(connection.pragma("page_size"))


def _source(path: str | os.PathLike[str]) -> Path:
    """Return the resolved path of a database file, if SQLite can find all its changes."""
    with local_errors(f"reading {path}"):
        source = Path(path).resolve(strict=True)
        with source.open("rb") as file:
            start = file.read(header.HEADER_BYTES)
    if start and (len(start) < header.HEADER_BYTES or not header.is_database(start)):
        raise BadRequest(f"{path} is not an SQLite database (or is encrypted)")
    if start:
        try:
            check_page_size(header.page_size_in(start))
        except ValueError as error:
            raise BadRequest(f"{path} is not an SQLite database: {error}") from None
    elif not _has_wal(source):
        raise BadRequest(f"{path} is empty: there is nothing to import")
    _refuse_unknown_names(source)
    return source


def _refuse_unknown_names(path: Path) -> None:
    """Refuse a file whose journal or WAL may belong to another hard link, where SQLite cannot find it."""
    with local_errors(f"reading {path}"):
        mine = path.stat()
        if mine.st_nlink == 1 or any(_side_file(path, end).exists() for end in ("-wal", "-journal")):
            return
        others = [other for other in path.parent.iterdir() if other != path and _is_same(other, mine)]
        beside = [side for other in others for end in ("-wal", "-journal") if (side := _side_file(other, end)).exists()]
    if beside:
        raise BadRequest(
            f"{path} is a hard link, and newer changes are in {beside[0]}: import {beside[0].name.rpartition('-')[0]}"
        )
    if len(others) + 1 < mine.st_nlink:
        raise BadRequest(
            f"{path} has {mine.st_nlink} hard links, some in other directories, and newer changes may be in a journal "
            "or WAL there: import it by the name that its application uses, or import a copy"
        )


def _is_same(path: Path, found: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.lstat(), found)
    except FileNotFoundError:
        return False


def _side_file(path: Path, end: str) -> Path:
    return path.with_name(path.name + end)


def _has_wal(path: Path) -> bool:
    wal = _side_file(path, "-wal")
    with local_errors(f"reading {wal}"):
        return wal.exists() and wal.stat().st_size > 0


def _backed_up(connection: apsw.Connection, directory: Path) -> Path:
    """Copy the version that a connection reads, including its WAL, and return the copy's path."""
    copy = directory / "copy.db"
    target = apsw.Connection(str(copy))
    try:
        with target.backup("main", connection, "main") as backup:
            backup.step()
    except apsw.FullError as error:
        raise DiskFull(f"copying a database with a WAL to {directory}: {error}") from error
    finally:
        target.close()
    return copy


@contextmanager
def _reading(path: Path, *, checkpoints: bool) -> Iterator[apsw.Connection]:
    """Hold an SQLite read transaction open, so that neither the file's bytes nor the version being read change.

    If no other connection has the file open, closing it ``checkpoints`` a WAL; without that, the WAL is left alone.
    """
    try:
        # Not SQLITE_OPEN_READONLY: SQLite would leave behind the -wal and -shm files that it creates to read.
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, int(not checkpoints))
            connection.execute("PRAGMA query_only=1; BEGIN; SELECT 1 FROM sqlite_schema")
            yield connection
        finally:
            connection.close()
    except apsw.Error as error:
        raise BadRequest(f"SQLite cannot read {path}: {error}") from error
