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
    """Somebody deleted a file that was there just now."""


@dataclass(slots=True)
class JournalFile:
    """One mapped file, and how far it was read."""

    number: int
    """What locations call it in this process."""
    path: Path
    first_local_lsn: int
    view: memoryview
    appendable: bool
    """Whether records are appended to it, unlike to one that was spilled."""
    end: int = 0
    """Where the next record of the file starts."""
    last_local_lsn: int = 0
    """The newest commit in it that was read; the one before its first where there is none yet."""
    synced_local_lsn: int = 0
    """The newest commit of which it is known that it is on the disk with all before it."""
    name_synced: bool = False
    """Whether it is known that its name is on the disk."""

    def header(self) -> RecordHeader | None:
        """Return the header behind what was read, if there is one whose record the file can hold."""
        header = decode_header(self.view, self.end)
        if header is None or self.end + header.record_bytes > len(self.view):
            return None
        return header

    def start_of(self, commit: LocalCommit) -> int:
        """Return where the record of a commit in this file starts, whatever the file holds now."""
        before_bodies = aligned(HEADER_BYTES + len(commit.slots)) if self.appendable else HEADER_BYTES
        return (commit.first_location & OFFSET_MASK) - before_bodies

    def vouches_for(self, local_lsn: int) -> bool:
        """Tell whether a whole record, somewhere behind what was read, says that this commit had reached the disk."""
        mapped = self.view.obj
        assert isinstance(mapped, mmap.mmap), "BUG: journal files are mapped"
        try:
            if not self.appendable or is_blank(self.path, self.end):
                return False
        except FileNotFoundError:  # a push deleted it, and with it no commit that was not read
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
    """The mapped files; both attributes are replaced, never changed, so that who holds one may keep it."""

    def __init__(self) -> None:
        """Nothing is open yet."""
        self._lock = threading.Lock()  # guards the replacing of the attributes, and _next_number
        self._next_number = 0
        self.all: list[JournalFile] = []
        """Oldest first."""
        self.views: dict[int, memoryview] = {}
        """The mapped bytes by the file's number."""

    @property
    def newest(self) -> JournalFile | None:
        """The file that commits are read from and appended to."""
        return self.all[-1] if self.all else None

    def open(self, first_local_lsn: int, path: Path) -> JournalFile:
        """Map a file behind all others; raises `FileGone`, and `Corrupt` for an empty one."""
        with local_errors(f"opening {path}"):
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError as error:
                raise FileGone(f"{path} is not there any more") from error
            try:
                mapped = mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
            except ValueError as error:
                raise Corrupt(f"{path} is empty") from error
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
        """Let go of a file; who holds the views keeps it."""
        with self._lock:
            self.all = [each for each in self.all if each is not file]
            self.views = {number: view for number, view in self.views.items() if number != file.number}

    def forget_all(self) -> None:
        """Let go of all files."""
        with self._lock:
            self.all, self.views = [], {}


def listed(directory: Path) -> list[tuple[int, Path]]:
    """Return the journal's files on the disk, oldest first, each with the first local LSN in it."""
    with local_errors(f"listing {directory}"):
        return sorted((int(path.stem, 16), path) for path in directory.iterdir() if path.suffix in {".log", ".bulk"})


def is_unborn(path: Path) -> bool:
    """Tell whether a crash came between the creating of an appended file and the setting of its size."""
    try:
        return path.suffix == ".log" and path.stat().st_size == 0
    except FileNotFoundError:
        return False
