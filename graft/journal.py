"""The journal: local commits that the remote does not have yet, in append-only files that processes share.

    journal/0000000000000001.log     appended records, mapped whole; the name is the first local LSN in it
    journal/000000000000002a.bulk    one spilled transaction or import

Invariants: local LSNs ascend over the files in name order, without gaps behind the sync point; only the holder of the
writer lock appends; bytes below the end of the last whole record never change; a file is deleted only once all its
commits are in the remote or given up, and the one that a writer may be appending to only by a holder of the writer
lock; before a record goes to a new file, the file before it is on the disk.
"""

import contextlib
import mmap
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from graft.errors import Corrupt, LocalStorageError, local_errors
from graft.failpoints import failpoint
from graft.journal_files import is_blank, sync_directory, sync_file, wipe, write_all
from graft.journal_format import (
    ALIGNMENT,
    MAGIC,
    RecordHeader,
    aligned,
    appended_header,
    decode_header,
    encode_header,
    is_whole,
    page_list,
    spilled_header,
)
from graft.locations import JOURNAL_TAG, OFFSET_BITS
from metastore.placement import U64
from pagestore.objectstore import Data
from pagestore.pages import page_count_of

_AHEAD_BYTES = 1024 * 1024


class FileGone(LocalStorageError):
    """Somebody deleted a file that was there just now."""


@dataclass(frozen=True, slots=True)
class LocalCommit:
    """A commit of the journal and where its pages are."""

    local_lsn: int
    byte_size: int
    page_count: int
    min_page_count: int
    timestamp_us: int
    pages: npt.NDArray[np.int64]
    """The pages that it changed, each once, in the record's order."""
    locations: U64
    """Where each of them is."""


@dataclass(slots=True)
class _File:
    number: int
    path: Path
    first_local_lsn: int
    view: memoryview
    appendable: bool
    """Whether records are appended to it, unlike to one that was spilled."""
    end: int = 0
    """Where the next record of the file starts."""
    laid_out: int = 0
    """Up to where zeros were written, so that a commit overwrites blocks that the file system has assigned."""
    last_local_lsn: int = 0
    """The newest commit in it that was read; the one before its first where there is none yet."""
    synced_local_lsn: int = 0
    """The newest commit of which it is known that it is on the disk with all before it."""


class Journal:
    """One process's view of the journal's files.

    The replica's lock guards reading, the writer lock guards appending; both may happen at once.
    """

    def __init__(self, directory: Path, page_size: int, *, file_bytes: int) -> None:
        """Use the files in ``directory``, which must exist."""
        self._directory = directory
        self._name = str(directory)  # for messages: formatting a path takes as long as a system call
        self._page_size = page_size
        self._file_bytes = file_bytes
        self._lock = threading.Lock()  # guards the replacing of _files and views, and _next_number
        self._files: list[_File] = []
        self._next_number = 0
        self._tail: tuple[_File, int] | None = None
        self._tail_synced = True
        self.last_local_lsn = 0
        self.views: dict[int, memoryview] = {}
        """The mapped files by number; replaced, never changed, so that a snapshot may keep the one it was made with."""

    def start_after(self, local_lsn: int) -> None:
        """Begin reading behind this commit; all before it are in the remote."""
        self.close()
        self.last_local_lsn = local_lsn
        self._tail_synced = False
        known = [each for each in self._listed() if each[0] <= local_lsn + 1]
        file = None
        if known and not _is_unborn(known[-1][1]):
            with contextlib.suppress(FileGone):  # a push has just deleted it, and with it nothing that is not pushed
                file = self._opened(*known[-1])
        if file is not None:
            while (header := self._header_at(file)) and header.local_lsn <= local_lsn:
                file.end += header.record_bytes
                file.last_local_lsn = header.local_lsn
                self._tail_synced = header.synced
            if file.last_local_lsn < local_lsn and file.first_local_lsn <= local_lsn:
                self._forget(file)  # all its records are in the remote, and were recycled

    def read_new(self, upto: int | None = None) -> Iterator[LocalCommit]:
        """Yield the commits that were not read yet, at most to ``upto``.

        Without ``upto`` this is recovery: it reads as far as records are whole and checks each one.
        """
        while upto is None or self.last_local_lsn < upto:
            commit = self._next(check=upto is None)
            if commit is None:
                if upto is not None:
                    raise Corrupt(f"{self._directory}: local commit {self.last_local_lsn + 1} of {upto} is not there")
                self._tail_synced = False  # its writer may have died waiting for the disk
                if self._files:
                    self._files[-1].synced_local_lsn = 0
                return
            yield commit

    def drop_torn_tail(self) -> None:
        """After recovery: wipe what a crash left behind the last whole record; the caller is the only writer.

        Raises `Corrupt`, and drops nothing, where more is missing than a crash can take.
        """
        damaged = self.last_local_lsn + 1
        later = [path.name for first, path in self._listed() if first > damaged]
        if not later and self._lost_synced(damaged):
            later = ["one that was written after it was on the disk"]
        if later:
            raise Corrupt(
                f"{self._directory}: local commit {damaged} is damaged, yet {later[0]} follows; nothing was dropped"
            )
        with local_errors(f"tidying {self._directory}"):
            self._remove_spills()
            if self._files and self._files[-1].end:
                self._wipe_behind(self._files[-1])
            for first, path in self._listed():
                if first == damaged:
                    path.unlink()
            for file in [file for file in self._files if file.last_local_lsn < file.first_local_lsn]:
                self._forget(file)

    def sync(self) -> None:
        """Wait until all that was read or written is on the disk."""
        if self._files and not self._tail_synced:
            with local_errors(f"syncing {self._files[-1].path}"):
                sync_file(self._files[-1].path)
            self._tail_synced = True
            self._files[-1].synced_local_lsn = self._files[-1].last_local_lsn

    def sync_through(self, local_lsn: int) -> None:
        """Wait until a commit that was read, and all before it, are on the disk; needs no lock."""
        file = next((file for file in reversed(self._files) if file.first_local_lsn <= local_lsn), None)
        if file is not None and file.synced_local_lsn < local_lsn <= file.last_local_lsn:
            with local_errors(f"syncing {file.path}"):
                sync_file(file.path)
                sync_directory(self._directory)

    def append(
        self,
        pages: Sequence[int],
        bodies: Sequence[Data],
        *,
        byte_size: int,
        min_page_count: int,
        timestamp_us: int,
        sync: bool,
    ) -> LocalCommit:
        """Write one commit and return it; with ``sync`` it is on the disk.

        On an error nothing counts as written. The caller holds the writer lock and has read all commits.
        """
        local_lsn = self.last_local_lsn + 1
        header = appended_header(
            self._page_size, local_lsn, len(pages), byte_size, min_page_count, timestamp_us,
            synced=sync, after_synced=self._tail_synced,
        )  # fmt: skip
        listed = np.array(pages, "<u4").tobytes()
        padding = bytes(header.bodies_offset - header.list_offset - len(listed))
        with local_errors(f"writing local commit {local_lsn} to {self._name}"):
            file = self._room_for(header)
            start = b"".join((encode_header(header, listed, bodies), listed, padding))
            try:
                self._write(file, header, [start, *bodies])
            except BaseException:
                self._cut(file, file.end)
                raise
        first = JOURNAL_TAG | file.number << OFFSET_BITS | file.end + header.bodies_offset
        locations = np.arange(first, first + len(pages) * self._page_size, self._page_size, dtype=np.uint64)
        return self._taken(file, header, np.array(pages, np.int64), locations)

    def spill_path(self) -> Path:
        """Return where the one writer's transaction may write its bodies; what dead writers left there is removed."""
        with local_errors(f"tidying {self._directory}"):
            self._remove_spills()
        return self._directory / f"{os.getpid()}-{self._next_number}.tmp"

    def adopt(
        self,
        spill: Path,
        descriptor: int,
        slots: Sequence[int],
        *,
        byte_size: int,
        min_page_count: int,
        timestamp_us: int,
    ) -> LocalCommit:
        """Make a file of spilled bodies the next commit; it is on the disk on return."""
        local_lsn = self.last_local_lsn + 1
        header = spilled_header(self._page_size, local_lsn, len(slots), byte_size, min_page_count, timestamp_us)
        path = self._directory / f"{local_lsn:016x}.bulk"
        listed = np.asarray(slots, "<u4").tobytes()
        with local_errors(f"writing local commit {local_lsn} to {path}"):
            self.sync()
            write_all(descriptor, [listed], header.list_offset)
            os.ftruncate(descriptor, header.record_bytes)
            with mmap.mmap(descriptor, header.record_bytes, prot=mmap.PROT_READ) as mapped:
                view = memoryview(mapped)
                bodies = view[header.bodies_offset :][: len(slots) * self._page_size]
                encoded = encode_header(header, listed, (bodies,))
                bodies.release()
                view.release()
            write_all(descriptor, [encoded], 0)
            os.fsync(descriptor)
            spill.rename(path)
            try:
                sync_directory(self._directory)
                return self._found(self._opened(local_lsn, path), header)
            except BaseException:
                path.rename(spill)
                raise

    def undo_last(self, commit: LocalCommit, spill: Path | None) -> None:
        """Take back the newest commit, which was never published, for good; a spilled one becomes ``spill`` again."""
        file = self._files[-1]
        assert commit.local_lsn == self.last_local_lsn == file.last_local_lsn, "BUG: undo of another than the newest"
        self.last_local_lsn -= 1
        with local_errors(f"taking back local commit {commit.local_lsn}"):
            if spill is not None:
                self._forget(file)
                file.path.rename(spill)
                sync_directory(self._directory)
            else:
                self._cut(file, self._record_before_end(file))

    def delete_through(self, local_lsn: int, *, spare_last: bool) -> None:
        """Delete the files whose commits are all at or before ``local_lsn``; who maps one keeps it.

        With ``spare_last``, the file that a writer may be appending to stays.
        """
        listed = self._listed()
        # The newest file may be one that another process made since: it holds its first commit at least.
        ends = [first - 1 for first, _ in listed[1:]] + [max(self.last_local_lsn, first) for first, _ in listed[-1:]]
        if spare_last and listed and listed[-1][1].suffix == ".log":
            listed.pop()
        gone = {path for (_, path), last in zip(listed, ends, strict=False) if last <= local_lsn}
        for file in [file for file in self._files if file.path in gone]:
            self._forget(file)
        with local_errors(f"tidying {self._directory}"):
            for path in sorted(gone):
                path.unlink(missing_ok=True)
                failpoint("deletion: between files")

    def forget_through(self, local_lsn: int) -> None:
        """Let go of files whose commits are all at or before ``local_lsn``, but for the newest one."""
        for file in self._files[:-1]:
            if file.last_local_lsn <= local_lsn:
                self._forget(file)

    def disk_bytes(self) -> int:
        """Return what the files take on the disk."""
        return sum(_blocks(path) * 512 for _, path in self._listed())

    def close(self) -> None:
        """Let go of the files."""
        self._close_tail()
        with self._lock:
            self._files, self.views = [], {}

    def _next(self, *, check: bool) -> LocalCommit | None:
        wanted = self.last_local_lsn + 1
        file = self._files[-1] if self._files else None
        header = self._header_at(file) if file else None
        if file is None or header is None or header.local_lsn != wanted:
            found = [path for first, path in self._listed() if first == wanted]
            if not found or _is_unborn(found[0]):
                return None
            if file is None or file.path != found[0]:
                file = self._opened(wanted, found[0])
                header = self._header_at(file)
            if header is None or header.local_lsn != wanted:
                self._forget(file)
                if file.path.suffix == ".bulk":
                    raise Corrupt(f"{file.path}: local commit {wanted} is damaged; nothing was dropped")
                return None
        # A spilled record was renamed into place after it was synced: only appended ones can be torn.
        if check and file.path.suffix == ".log" and not is_whole(file.view, header, file.end):
            if not file.end:
                self._forget(file)
            return None
        if header.page_size != self._page_size:
            raise Corrupt(f"{file.path}: local commit {wanted} has pages of {header.page_size} bytes")
        return self._found(file, header)

    def _found(self, file: _File, header: RecordHeader) -> LocalCommit:
        """Take in the record at the end of what was read of a file."""
        slots = page_list(file.view, header, file.end)
        start = file.end + header.bodies_offset
        used = np.flatnonzero(slots)
        offsets = used.astype(np.uint64) * np.uint64(self._page_size) + np.uint64(start)
        locations = np.uint64(JOURNAL_TAG | file.number << OFFSET_BITS) | offsets
        return self._taken(file, header, slots[used].astype(np.int64), locations)

    def _taken(self, file: _File, header: RecordHeader, pages: npt.NDArray[np.int64], locations: U64) -> LocalCommit:
        file.end += header.record_bytes
        file.last_local_lsn = self.last_local_lsn = header.local_lsn
        self._tail_synced = header.synced
        if header.synced:
            file.synced_local_lsn = header.local_lsn
        return LocalCommit(
            header.local_lsn,
            header.byte_size,
            page_count_of(header.byte_size, self._page_size),
            header.min_page_count,
            header.timestamp_us,
            pages,
            locations,
        )

    def _header_at(self, file: _File) -> RecordHeader | None:
        header = decode_header(file.view, file.end)
        if header is None or file.end + header.record_bytes > len(file.view):
            return None
        return header

    def _cut(self, file: _File, end: int) -> None:
        """Take back the newest record, for good, whether it was written well or not.

        A file without a record does not stay: other processes would go on in the one before it.
        """
        if end == 0:
            self._forget(file)
            file.path.unlink()
            sync_directory(self._directory)
        else:
            file.end, file.last_local_lsn = end, self.last_local_lsn
            self._wipe_behind(file)
        self._tail_synced = False

    def _record_before_end(self, file: _File) -> int:
        position = 0
        while (header := decode_header(file.view, position)) and position + header.record_bytes < file.end:
            position += header.record_bytes
        return position

    def _listed(self) -> list[tuple[int, Path]]:
        with local_errors(f"listing {self._directory}"):
            return sorted(
                (int(path.stem, 16), path) for path in self._directory.iterdir() if path.suffix in {".log", ".bulk"}
            )

    def _opened(self, first_local_lsn: int, path: Path) -> _File:
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
            file = _File(
                self._next_number, path, first_local_lsn, memoryview(mapped), path.suffix == ".log",
                last_local_lsn=first_local_lsn - 1,
            )  # fmt: skip
            self._next_number += 1
            self._files = [*self._files, file]
            self.views = {**self.views, file.number: file.view}
            return file

    def _forget(self, file: _File) -> None:
        with self._lock:
            self._files = [each for each in self._files if each is not file]
            self.views = {number: view for number, view in self.views.items() if number != file.number}

    def _remove_spills(self) -> None:
        for path in self._directory.glob("*.tmp"):
            path.unlink(missing_ok=True)

    def _lost_synced(self, damaged: int) -> bool:
        """Tell whether a whole record behind a damaged one says that what is missing there had reached the disk."""
        if self._files and self._follows_synced(self._files[-1]):
            return True
        for first, path in self._listed():
            if first == damaged and not _is_unborn(path):
                file = self._opened(first, path)
                try:
                    return self._follows_synced(file)
                finally:
                    self._forget(file)
        return False

    def _follows_synced(self, file: _File) -> bool:
        mapped = file.view.obj
        assert isinstance(mapped, mmap.mmap), "BUG: journal files are mapped"
        if file.path.suffix != ".log" or is_blank(file.path, file.end):
            return False
        position = file.end
        while (position := mapped.find(MAGIC, position + 1)) >= 0:
            header = decode_header(file.view, position) if position % ALIGNMENT == 0 else None
            if header is None or header.local_lsn <= self.last_local_lsn + 1 or not header.after_synced:
                continue
            if is_whole(file.view, header, position):
                return True
        return False

    def _room_for(self, header: RecordHeader) -> _File:
        last = self._files[-1] if self._files else None
        if (
            last
            and last.appendable
            and last.last_local_lsn == header.local_lsn - 1
            and last.end + header.record_bytes <= len(last.view)
            and self._is_there(last)
        ):
            return last
        self.sync()
        failpoint("rotation: after sync")
        path = self._directory / f"{header.local_lsn:016x}.log"
        size = max(self._file_bytes, aligned(header.record_bytes))
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            os.ftruncate(descriptor, size)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        failpoint("rotation: after file")
        sync_directory(self._directory)
        failpoint("rotation: after name")
        return self._opened(header.local_lsn, path)

    def _write(self, file: _File, header: RecordHeader, parts: Sequence[Data]) -> None:
        descriptor = self._descriptor_of(file)
        end = file.end + header.record_bytes
        if header.synced and end > file.laid_out:
            # Syncing blocks that are new to the file makes the file system commit its own metadata, which costs more
            # than the data. What these zeros come too late for, the record's own sync takes along.
            ahead = min(_AHEAD_BYTES, len(file.view) - end)
            file.laid_out = end + ahead
            with contextlib.suppress(OSError):  # no room for zeros does not say that there is none for the record
                write_all(descriptor, [bytes(ahead)], end)
        write_all(descriptor, parts, file.end)
        if header.synced:
            os.fdatasync(descriptor)

    def _is_there(self, file: _File) -> bool:
        """Tell whether a file still has its name: what is appended to one that was deleted would be lost."""
        try:
            return os.fstat(self._descriptor_of(file)).st_nlink > 0
        except FileNotFoundError:
            return False

    def _descriptor_of(self, file: _File) -> int:
        """Return the descriptor that records are written with; for the holder of the writer lock."""
        if self._tail is None or self._tail[0] is not file:
            self._close_tail()
            self._tail = file, os.open(file.path, os.O_WRONLY | os.O_CLOEXEC)
        return self._tail[1]

    def _close_tail(self) -> None:
        tail, self._tail = self._tail, None
        if tail is not None:
            os.close(tail[1])

    def _wipe_behind(self, file: _File) -> None:
        if file.path.suffix == ".log":
            with local_errors(f"wiping the end of {file.path}"):
                wipe(file.path, file.end)


def _blocks(path: Path) -> int:
    try:
        return path.stat().st_blocks
    except FileNotFoundError:  # deleted by a push, just now
        return 0


def _is_unborn(path: Path) -> bool:
    """Tell whether a crash came between the creating of an appended file and the setting of its size."""
    try:
        return path.suffix == ".log" and path.stat().st_size == 0
    except FileNotFoundError:
        return False
