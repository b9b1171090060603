"""Durable files and ordered directory walks for `pagestore.stores.local_dir`."""

import errno
import fcntl
import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from operator import itemgetter
from pathlib import Path

from pagestore.errors import LimitReached, ObjectNotFound, StorageFull, StoreRefused, StoreUnavailable
from pagestore.keys import is_key_part
from pagestore.limits import limit_reached
from pagestore.objectstore import Data
from pagestore.ownership import create, make_directory

TEMP_DIR = ".~tmp"

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_MISSING = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR})
_MISPLACED = frozenset({errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY, errno.ENAMETOOLONG})
_NO_LINKS = frozenset({errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV})


@contextmanager
def file_errors(where: str, *, missing_key: str | None = None) -> Iterator[None]:
    """Translate an `OSError` of the block into a `PageStoreError`; ``where`` is the store's URL.

    With ``missing_key``, a missing file means that this object does not exist.
    """
    try:
        yield
    except OSError as error:
        if missing_key is not None and error.errno in _MISSING:
            raise ObjectNotFound(missing_key, where) from error
        limit = limit_reached(error)
        if limit is not None:
            raise LimitReached(f"{where}: {limit}") from error
        if error.errno in _FULL:
            raise StorageFull(f"no space is left in {where}: {error}") from error
        if error.errno in _FORBIDDEN:
            raise StoreRefused(
                f"this user has no permission to use {where}; change its permissions: {error}"
            ) from error
        if error.errno in _MISPLACED:
            raise StoreRefused(f"{where} has another file or folder in the object's place: {error}") from error
        if error.errno in _NO_LINKS:
            raise StoreRefused(
                f"{where} must be on a single file system with hard links; choose another directory: {error}"
            ) from error
        raise StoreUnavailable(f"{where}: {error}") from error


def write_file(path: Path, chunks: Iterable[Data], where: str) -> int:
    """Create ``path`` from the chunks and fsync it; return its size in bytes.

    File-system errors are translated; errors of ``chunks`` pass unchanged. If this raises, the caller removes the file.
    """
    size = 0
    with file_errors(where):
        file = io.FileIO(create(path, os.O_WRONLY | os.O_EXCL), "wb")  # unlike `open`, works while the interpreter ends
    with file:
        for chunk in chunks:
            with file_errors(where), memoryview(chunk) as view:
                written = 0
                while written < view.nbytes:
                    written += os.write(file.fileno(), view.cast("B")[written:])
            size += written
        with file_errors(where):
            _sync(file.fileno())
    return size


def read_at_most(descriptor: int, start: int, length: int) -> bytes:
    """Return ``length`` bytes from ``start``, fewer only at the end of the file."""
    parts: list[bytes] = []
    while length > 0:
        part = os.pread(descriptor, length, start)
        if not part:
            break
        parts.append(part)
        start += len(part)
        length -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def make_dirs(path: Path) -> None:
    """Create the directory and its parents, making each durable before the next."""
    if path.is_dir():
        return
    make_dirs(path.parent)
    make_directory(path)
    fsync_dir(path.parent)


def fsync_dir(path: Path) -> None:
    """Make the names in the directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _sync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems have nothing to sync for a directory
            raise
    finally:
        os.close(descriptor)


def remove_stale_files(directory: Path, *, before_s: float) -> None:
    """Remove the files last written before ``before_s`` (seconds since the Unix epoch)."""
    with os.scandir(directory) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                if entry.is_file() and entry.stat().st_mtime < before_s:
                    Path(entry.path).unlink()


def draft_files(directory: Path) -> Iterator[tuple[str, float]]:
    """Yield the name of each file, and when it was last written (seconds since the Unix epoch)."""
    with suppress(FileNotFoundError), os.scandir(directory) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                if entry.is_file():
                    yield entry.name, entry.stat().st_mtime


def walk_in_key_order(root: Path, prefix: str, start_after: str, where: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield key and entry of each file whose key starts with ``prefix`` and sorts after ``start_after``, in key order.

    Reads a directory only if it can contain such a key, and only when its turn comes.
    """
    folder = prefix.rpartition("/")[0]
    pending = [_matching(root / folder, f"{folder}/" if folder else "", prefix, start_after, where)]
    while pending:
        try:
            key, entry = next(pending[-1])
        except StopIteration:
            pending.pop()
            continue
        if key.endswith("/"):
            pending.append(_matching(Path(entry.path), key, prefix, start_after, where))
        else:
            yield key, entry


def _matching(
    directory: Path, folder: str, prefix: str, start_after: str, where: str
) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield the matching entries of one directory in key order.

    A subdirectory is sorted and yielded as ``name/``: "a-b", "a.b", "a/…", "a0".
    """
    found: list[tuple[str, os.DirEntry[str]]] = []
    with (
        file_errors(where),
        suppress(FileNotFoundError, NotADirectoryError),
        os.scandir(directory) as entries,
    ):
        for entry in entries:
            key = folder + entry.name
            if key.startswith(prefix):
                if entry.is_dir():
                    key += "/"
                if key > start_after or (key.endswith("/") and start_after.startswith(key)):
                    found.append((key, entry))
    found.sort(key=itemgetter(0))
    return (pair for pair in found if is_key_part(pair[1].name))  # expensive, so only for entries that are taken


def _sync(descriptor: int) -> None:
    full_sync = getattr(fcntl, "F_FULLFSYNC", None)  # on macOS, fsync alone leaves data in the drive's cache
    if full_sync is None:
        os.fsync(descriptor)
    else:
        fcntl.fcntl(descriptor, full_sync)
