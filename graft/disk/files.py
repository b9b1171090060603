"""File operations of the journal: complete writes, synced directories, and wiping without truncation.

A file that other processes map is never shortened: they would die of SIGBUS when they read past its new end.
"""

import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from pagestore import ownership
from pagestore.objectstore import Data

_IOV_MAX = 512
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
"""Errors of file systems without hard links."""
_ZEROS = bytes(1024 * 1024)


def write_all(descriptor: int, parts: Sequence[Data], position: int) -> None:
    """Write all parts one after the other; a single write may be short when the disk is almost full."""
    for start in range(0, len(parts), _IOV_MAX):
        batch = parts[start : start + _IOV_MAX]
        expected = sum(map(len, batch))
        written = os.pwritev(descriptor, batch, position)
        if written < expected:
            rest = memoryview(b"".join(batch))
            while written < expected:
                written += os.pwrite(descriptor, rest[written:], position + written)
        position += expected


def write_new(path: Path, content: bytes) -> None:
    """Write a file, replacing an older one; its content is on the disk on return, its name may not be."""
    descriptor = ownership.create(path, os.O_WRONLY | os.O_TRUNC)
    try:
        write_all(descriptor, [content], 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file to a new one, with holes where the source has holes."""
    reading = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            for position, length in _pieces(reading, 0):
                write_all(writing, [os.pread(reading, length, position)], position)
            os.ftruncate(writing, os.fstat(reading).st_size)
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def take_name(draft: Path, path: Path) -> None:
    """Give ``draft`` the name ``path``, which must be free; it may keep its old name. Raises `FileExistsError`."""
    try:
        os.link(draft, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        draft.rename(path)


def is_blank(path: Path, start: int) -> bool:
    """Return whether a file has only zeros from ``start`` on."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return all(
            data.count(0) == len(data)
            for position, length in _pieces(descriptor, start)
            for data in (os.pread(descriptor, length, position),)
        )
    finally:
        os.close(descriptor)


def wipe(path: Path, start: int) -> None:
    """Overwrite a file with zeros from ``start`` on; the zeros are on the disk on return."""
    if is_blank(path, start):
        return
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        for position, length in list(_pieces(descriptor, start)):
            write_all(descriptor, [_ZEROS[:length]], position)
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def _pieces(descriptor: int, start: int) -> Iterator[tuple[int, int]]:
    """Yield position and length of the parts from ``start`` on that are no holes, in pieces of bounded length."""
    size = os.fstat(descriptor).st_size
    while start < size:
        try:
            start = os.lseek(descriptor, start, os.SEEK_DATA)
        except OSError:  # a hole up to the end
            return
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        for position in range(start, end, len(_ZEROS)):
            yield position, min(len(_ZEROS), end - position)
        start = end


def sync_file(path: Path) -> None:
    """Wait until the content of a file is on the disk."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """Wait until the names in a directory are on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: Path) -> None:
    """Create a directory and its missing parents; their names are on the disk on return."""
    for above in make_unsynced_directory(path):
        sync_directory(above)


def make_unsynced_directory(path: Path) -> list[Path]:
    """Create a directory and its missing parents; return the directories to sync so that their names last."""
    missing = [directory for directory in (path, *path.parents) if not directory.exists()]
    for directory in reversed(missing):
        ownership.make_directory(directory)
    return [directory.parent for directory in reversed(missing)]
