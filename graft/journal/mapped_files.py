"""The journal's files that this process has mapped, oldest first."""

import mmap
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from graft.disk.files import is_blank
from graft.errors import Corrupt, LocalStorageError, local_errors
from graft.journal.format import ALIGNMENT, HEADER_BYTES, MAGIC, RecordHeader, aligned, decode_header, is_whole
from graft.journal.local_commit import LocalCommit
from graft.pagemap.locations import OFFSET_MASK


class FileGone(LocalStorageError):
    """Another process deleted a file between listing and opening it."""


@dataclass(slots=True)
class JournalFile:
    """One mapped file, and how far this process has read it."""

    number: int
    """Its number in this process's locations."""
    path: Path
    first_local_lsn: int
    view: memoryview
    appendable: bool
    """Whether records are appended to it; False for a spilled record."""
    end: int = 0
    """Where the next record of the file starts."""
    last_local_lsn: int = 0
    """The newest commit that was read from it; one less than its first if none was."""
    synced_local_lsn: int = 0
    """The newest commit that is known to be on the disk together with all before it."""
    name_synced: bool = False
    """Whether its name is known to be on the disk."""

    def header(self) -> RecordHeader | None:
        """Return the header of the next record, None if there is none that fits into the file."""
        header = decode_header(self.view, self.end)
        if header is None or self.end + header.record_bytes > len(self.view):
            return None
        return header

    def start_of(self, commit: LocalCommit) -> int:
        """Return where the record of a commit starts, without reading the file."""
        before_bodies = aligned(HEADER_BYTES + len(commit.slots)) if self.appendable else HEADER_BYTES
        return (commit.first_location & OFFSET_MASK) - before_bodies

    def vouches_for(self, local_lsn: int) -> bool:
        """Return whether a whole record behind those that were read says that this commit had reached the disk."""
        mapped = self.view.obj
        assert isinstance(mapped, mmap.mmap), "BUG: journal files are mapped"
        try:
            if not self.appendable or is_blank(self.path, self.end):
                return False
        except FileNotFoundError:  # a push deleted it; all its commits had been read
            return False
        position = self.end
        while (position := mapped.find(MAGIC, position + 1)) >= 0:
            header = decode_header(self.view, position) if position % ALIGNMENT == 0 else None
            if header is None or header.local_lsn <= local_lsn or not header.after_synced:
                continue
            if is_whole(self.view, header, position):
                return True
        return False


class OpenFiles:
    """The mapped files; both attributes are replaced, never changed, so a caller may hold on to their values."""

    def __init__(self) -> None:
        """Start with no files."""
        self._lock = threading.Lock()  # guards the replacement of the attributes, and _next_number
        self._next_number = 0
        self.all: list[JournalFile] = []
        """Oldest first."""
        self.views: dict[int, memoryview] = {}
        """The mapped bytes by the file's number."""

    @property
    def newest(self) -> JournalFile | None:
        """The file that commits are read from and appended to, None if no file is open."""
        return self.all[-1] if self.all else None

    def open(self, first_local_lsn: int, path: Path) -> JournalFile:
        """Map a file as the newest one; raises `FileGone`, and `Corrupt` if it is empty."""
        with local_errors(f"opening {path}"):
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError as error:
                raise FileGone(f"{path} was deleted while it was being opened") from error
            try:
                mapped = mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
            except ValueError as error:
                raise Corrupt(f"{path} is empty; restore it from a backup") from error
            finally:
                os.close(descriptor)
        with self._lock:
            file = JournalFile(
                self._next_number, path, first_local_lsn, memoryview(mapped), path.suffix == ".log",
                last_local_lsn=first_local_lsn - 1,
            )  # fmt: skip
            self._next_number += 1
            self.all = [*self.all, file]
            self.views = {**self.views, file.number: file.view}
            return file

    def forget(self, file: JournalFile) -> None:
        """Forget a file; its mapping ends with the last view of it."""
        with self._lock:
            self.all = [each for each in self.all if each is not file]
            self.views = {number: view for number, view in self.views.items() if number != file.number}

    def forget_all(self) -> None:
        """Forget all files."""
        with self._lock:
            self.all, self.views = [], {}


def listed(directory: Path) -> list[tuple[int, Path]]:
    """Return the journal's files in the directory, oldest first, each with its first local LSN."""
    with local_errors(f"listing {directory}"):
        return sorted((int(path.stem, 16), path) for path in directory.iterdir() if path.suffix in {".log", ".bulk"})


def merge_name(local_lsn: int) -> str:
    """Return the name of the file of a merge that is no commit yet."""
    return f"{local_lsn:016x}.merged"


def is_unborn(path: Path) -> bool:
    """Return whether a file for appended records is still empty: a crash interrupted its creation."""
    try:
        return path.suffix == ".log" and path.stat().st_size == 0
    except FileNotFoundError:
        return False
