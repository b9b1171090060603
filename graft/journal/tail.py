"""The journal file that records are appended to; the holder of the writer lock has it open.

Invariant: up to `_laid_out` the file holds records or written zeros, so a commit overwrites blocks that the file system
has already allocated, in memory and on the disk.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from graft.disk.files import sync_directory, write_all
from graft.failpoints import failpoint
from graft.journal.mapped_files import JournalFile
from pagestore import ownership
from pagestore.objectstore import Data

_AHEAD = memoryview(bytes(1024 * 1024))


class Room(NamedTuple):
    """Where records may be appended: in place of the zeros between `start` and `limit`."""

    view: memoryview
    """The mapped file."""
    path: bytes
    """Its path, which may later name another file."""
    descriptor: int
    """For writing; the path must not be opened again, since it may name another file by then."""
    start: int
    limit: int
    synced: bool
    """Whether everything before `start` is on the disk."""


class Tail:
    """A journal file open for appending; used under the writer lock."""

    __slots__ = ("_descriptor", "_laid_out", "_path", "file")

    def __init__(self, file: JournalFile) -> None:
        """Open the file; raises `FileNotFoundError` if it was deleted."""
        self.file = file
        self._laid_out = 0
        self._path = os.fsencode(file.path)
        self._descriptor = os.open(file.path, os.O_WRONLY | os.O_CLOEXEC)

    def is_there(self) -> bool:
        """Return whether the file still has a name: records appended to a deleted file would be lost."""
        return os.fstat(self._descriptor).st_nlink > 0

    def room(self, *, synced: bool) -> Room:
        """Return the zeros that are laid out behind the last record."""
        return Room(self.file.view, self._path, self._descriptor, self.file.end, self._laid_out, synced)

    def write(self, parts: Sequence[Data], start: int, end: int, *, sync: bool) -> None:
        """Write a record from ``start`` to ``end``; with ``sync`` it is on the disk on return."""
        if end > self._laid_out:
            self._lay_out(end)
        write_all(self._descriptor, parts, start)
        if sync:
            os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _lay_out(self, end: int) -> None:
        """Write zeros behind a record that is about to be written.

        Syncing newly allocated blocks makes the file system commit its own metadata, which costs more than the data.
        And a write to pages that are not in the page cache takes twice as long as one over pages that are. The record's
        own write and sync allocate the blocks that these zeros do not cover.
        """
        ahead = min(len(_AHEAD), len(self.file.view) - end)
        self._laid_out = end + ahead
        with contextlib.suppress(OSError):  # without room for zeros there may still be room for the record
            write_all(self._descriptor, [_AHEAD[:ahead]], end)


def create(path: Path, size: int) -> None:
    """Create an empty file for appended records; its size and its name are on the disk on return."""
    descriptor = ownership.create(path, os.O_RDWR | os.O_TRUNC)
    try:
        os.ftruncate(descriptor, size)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    failpoint("rotation: after file")
    sync_directory(path.parent)
    failpoint("rotation: after name")
