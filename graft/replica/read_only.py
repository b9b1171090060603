"""A replica that this process cannot write is opened for reading: as a private copy of its small files.

    DIR                                    a temporary directory, removed on closing
    state.db                               a copy, by SQLite where it can read the file
    journal/*                              copies: local commits that the remote does not have
    cache/index.db                         a copy
    cache/*.frames, cache/dictionaries/*   symbolic links; the cache is frozen

The copy shows the version that the directory had when it was opened, works offline for pages in the cache, and never
writes to the directory.
"""

import os
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from graft.disk.files import copy_file
from graft.errors import GraftError, LocalStorageError, local_errors
from graft.replica.directory import STATE_FILE

_TRIES = 5


def why_read_only(path: Path) -> str | None:
    """Return why this process cannot write to a replica; None if it can."""
    for name in (path, path / STATE_FILE, path / "journal"):
        if name.exists() and not os.access(name, os.W_OK):
            return (
                f"{path} is open for reading only: {name} cannot be written (permissions, or a read-only file system)"
            )
    return None


def private_copy(path: Path) -> Path:
    """Return a new directory with a copy of a replica; the caller removes it.

    The owner of the replica may write meanwhile. If the copied files may not belong together, the copy is made again.
    """
    for tries in range(1, _TRIES + 1):
        before = _stamps(path)
        copy = Path(tempfile.mkdtemp(prefix="graft-read-only-"))
        try:
            with local_errors(f"copying {path} to {copy}"):
                _copy(path, copy)
        except (GraftError, sqlite3.Error, OSError) as error:
            shutil.rmtree(copy, ignore_errors=True)
            if tries == _TRIES:
                raise LocalStorageError(f"opening {path} for reading: {error}") from error
            continue
        if _stamps(path) == before or tries == _TRIES:
            return copy
        shutil.rmtree(copy, ignore_errors=True)
    raise AssertionError("BUG: the last try returns or raises")


def _stamps(path: Path) -> list[tuple[str, int, int]]:
    """Return sizes and times that change whenever the owner commits, pushes or pulls."""
    watched = [path / STATE_FILE, path / f"{STATE_FILE}-wal", *sorted((path / "journal").glob("*"))]
    found = []
    for name in watched:
        try:
            stat = name.stat()
        except FileNotFoundError:
            continue
        found.append((name.name, stat.st_size, stat.st_mtime_ns))
    return found


def _copy(path: Path, copy: Path) -> None:
    _copy_database(path / STATE_FILE, copy / STATE_FILE)
    (copy / "journal").mkdir()
    for file in (path / "journal").glob("*"):
        copy_file(file, copy / "journal" / file.name)
    cache = path / "cache"
    (copy / "cache" / "dictionaries").mkdir(parents=True)
    if not (cache / "index.db").exists():
        return
    for file in [*cache.glob("*.frames"), *(cache / "dictionaries").glob("*")]:
        (copy / file.relative_to(path)).symlink_to(file.resolve())
    _copy_database(cache / "index.db", copy / "cache" / "index.db")


def _copy_database(source: Path, target: Path) -> None:
    """Copy a database through SQLite, or file by file if SQLite cannot open it."""
    try:
        with (
            closing(sqlite3.connect(f"file:{quote(str(source))}?mode=ro", uri=True)) as reading,
            closing(sqlite3.connect(target)) as writing,
        ):
            reading.backup(writing)
    except sqlite3.Error:  # a WAL needs a -shm file, which cannot be made there
        target.unlink(missing_ok=True)
        for end in ("", "-wal"):
            file = source.with_name(source.name + end)
            if file.exists():
                copy_file(file, target.with_name(target.name + end))
