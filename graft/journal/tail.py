"""The file that records are appended to, as the holder of the writer lock keeps it open.

Invariant: up to `_laid_out` the file has zeros or records, so that a commit overwrites what the file system has
assigned already, in its memory and on the disk.
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
    """Where records may be appended, all of them up to `limit`, in place of what is zeros now."""

    view: memoryview
    """The mapped file."""
    path: bytes
    """Its name, which it may lose."""
    descriptor: int
    """The same, to be written to; another must not be opened, since a file may have lost its name to another."""
    start: int
    limit: int
    synced: bool
    """Whether everything before `start` is on the disk."""


class Tail:
    """One file, to be written at its end; used under the writer lock."""

    __slots__ = ("_descriptor", "_laid_out", "_path", "file")

    def __init__(self, file: JournalFile) -> None:
        """Open the file; raises `FileNotFoundError` where it is gone."""
        self.file = file
        self._laid_out = 0
        self._path = os.fsencode(file.path)
        self._descriptor = os.open(file.path, os.O_WRONLY | os.O_CLOEXEC)

    def is_there(self) -> bool:
        """Tell whether the file still has its name: what is appended to one that was deleted would be lost."""
        return os.fstat(self._descriptor).st_nlink > 0

    def room(self, *, synced: bool) -> Room:
        """Return what is laid out behind what was read."""
        return Room(self.file.view, self._path, self._descriptor, self.file.end, self._laid_out, synced)

    def write(self, parts: Sequence[Data], start: int, end: int, *, sync: bool) -> None:
        """Write a record that reaches from ``start`` to ``end``; with ``sync`` it is on the disk on return."""
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

        Syncing blocks that are new to the file makes the file system commit its own metadata, which costs more than
        the data; and a write to pages that it does not have in memory takes twice as long as one over what is there.
        What these zeros come too late for, the record's own write and sync take along.
        """
        ahead = min(len(_AHEAD), len(self.file.view) - end)
        self._laid_out = end + ahead
        with contextlib.suppress(OSError):  # no room for zeros does not say that there is none for the record
            write_all(self._descriptor, [_AHEAD[:ahead]], end)


def create(path: Path, size: int) -> None:
    """Make an empty file to append to, with its size and its name on the disk on return."""
    descriptor = ownership.create(path, os.O_RDWR | os.O_TRUNC)
    try:
        os.ftruncate(descriptor, size)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    failpoint("rotation: after file")
    sync_directory(path.parent)
    failpoint("rotation: after name")
