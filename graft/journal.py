"""The journal: local commits that the remote does not have yet, in append-only files that processes share.

    journal/0000000000000001.log     appended records, mapped whole; the name is the first local LSN in it
    journal/000000000000002a.bulk    one spilled transaction or import

Invariants: local LSNs are dense over the files in name order; only the holder of the writer lock appends; bytes below
the end of the last whole record never change; a file is deleted only once all its commits are in the remote.
"""

import mmap
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from graft.errors import Corrupt, local_errors
from graft.journal_format import (
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

_IOV_MAX = 512


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
    end: int = 0
    """Where the next record of the file starts."""
    last_local_lsn: int = 0


class Journal:
    """One process's view of the journal's files; the replica's lock guards it."""

    def __init__(self, directory: Path, page_size: int, *, file_bytes: int) -> None:
        """Use the files in ``directory``, which must exist."""
        self._directory = directory
        self._page_size = page_size
        self._file_bytes = file_bytes
        self._files: list[_File] = []
        self._next_number = 0
        self.last_local_lsn = 0
        self.views: dict[int, memoryview] = {}
        """The mapped files by number; replaced, never changed, so that a snapshot may keep the one it was made with."""

    def start_after(self, local_lsn: int) -> None:
        """Begin reading behind this commit; all before it are in the remote."""
        self._files, self.views = [], {}
        self.last_local_lsn = local_lsn
        files = self._listed()
        known = [each for each in files if each[0] <= local_lsn + 1]
        if known:
            file = self._opened(*known[-1])
            while (header := self._header_at(file)) and header.local_lsn <= local_lsn:
                file.end += header.record_bytes
                file.last_local_lsn = header.local_lsn
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
                return
            yield commit

    def drop_torn_tail(self) -> None:
        """After recovery, with nobody else there: wipe what a crash left behind the last whole record."""
        later = [path for first, path in self._listed() if first > self.last_local_lsn + 1]
        if later:
            raise Corrupt(
                f"{self._directory}: local commit {self.last_local_lsn + 1} is damaged, yet {later[0].name} follows; "
                "nothing was dropped"
            )
        for path in self._directory.glob("*.tmp"):
            path.unlink()
        if self._files:
            self._wipe_behind(self._files[-1])
        for first, path in self._listed():
            if first == self.last_local_lsn + 1 and not any(file.path == path for file in self._files):
                path.unlink()

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
        header = appended_header(self._page_size, local_lsn, len(pages), byte_size, min_page_count, timestamp_us)
        with local_errors(f"writing local commit {local_lsn} to {self._directory}"):
            file = self._room_for(header, sync=sync)
            listed = np.asarray(pages, "<u4").tobytes()
            padding = bytes(header.bodies_offset - header.list_offset - len(listed))
            try:
                self._write(file, [encode_header(header, listed, tuple(bodies)), listed + padding, *bodies], sync=sync)
            except BaseException:
                self._wipe_behind(file)
                raise
        return self._taken(file, header)

    def spill_path(self) -> Path:
        """Return where a transaction that outgrows memory may write its bodies."""
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
            os.pwrite(descriptor, listed, header.list_offset)
            os.ftruncate(descriptor, header.record_bytes)
            with mmap.mmap(descriptor, header.record_bytes, prot=mmap.PROT_READ) as mapped:
                view = memoryview(mapped)
                bodies = view[header.bodies_offset :][: len(slots) * self._page_size]
                encoded = encode_header(header, listed, (bodies,))
                bodies.release()
                view.release()
            os.pwrite(descriptor, encoded, 0)
            os.fsync(descriptor)
            spill.rename(path)
            self._sync_directory()
        file = self._opened(local_lsn, path)
        return self._taken(file, header)

    def undo_last(self, commit: LocalCommit) -> None:
        """Take back the newest commit, which was never published."""
        file = self._files[-1]
        assert commit.local_lsn == self.last_local_lsn == file.last_local_lsn, "BUG: undo of another than the newest"
        self.last_local_lsn -= 1
        if file.first_local_lsn == commit.local_lsn:
            self._forget(file)
            file.path.unlink()
            return
        header = self._record_before_end(file)
        file.end, file.last_local_lsn = header, commit.local_lsn - 1
        self._wipe_behind(file)

    def delete_through(self, local_lsn: int) -> None:
        """Delete the files whose commits are all at or before ``local_lsn``; who maps one keeps it."""
        for file in list(self._files):
            if file.last_local_lsn <= local_lsn and file.last_local_lsn:
                self._forget(file)
        kept = {file.path for file in self._files}
        listed = self._listed()
        ends = [first - 1 for first, _ in listed[1:]] + [self.last_local_lsn]
        for (_, path), last in zip(listed, ends, strict=False):
            if last <= local_lsn and path not in kept:
                path.unlink(missing_ok=True)

    def disk_bytes(self) -> int:
        """Return what the files take on the disk."""
        return sum(path.stat().st_blocks * 512 for _, path in self._listed())

    def close(self) -> None:
        """Let go of the files."""
        self._files, self.views = [], {}

    def _next(self, *, check: bool) -> LocalCommit | None:
        wanted = self.last_local_lsn + 1
        file = self._files[-1] if self._files else None
        header = self._header_at(file) if file else None
        if file is None or header is None or header.local_lsn != wanted:
            found = [path for first, path in self._listed() if first == wanted]
            if not found or (file and file.path == found[0]):
                return None
            file = self._opened(wanted, found[0])
            header = self._header_at(file)
            if header is None or header.local_lsn != wanted:
                return None
        # A spilled record was renamed into place after it was synced: only appended ones can be torn.
        if check and file.path.suffix == ".log" and not is_whole(file.view, header, file.end):
            return None
        if header.page_size != self._page_size:
            raise Corrupt(f"{file.path}: local commit {wanted} has pages of {header.page_size} bytes")
        return self._taken(file, header)

    def _taken(self, file: _File, header: RecordHeader) -> LocalCommit:
        slots = page_list(file.view, header, file.end)
        start = file.end + header.bodies_offset
        used = np.flatnonzero(slots)
        offsets = used.astype(np.uint64) * np.uint64(self._page_size) + np.uint64(start)
        locations = np.uint64(JOURNAL_TAG | file.number << OFFSET_BITS) | offsets
        file.end += header.record_bytes
        file.last_local_lsn = self.last_local_lsn = header.local_lsn
        return LocalCommit(
            header.local_lsn,
            header.byte_size,
            page_count_of(header.byte_size, self._page_size),
            header.min_page_count,
            header.timestamp_us,
            slots[used].astype(np.int64),
            locations,
        )

    def _header_at(self, file: _File) -> RecordHeader | None:
        header = decode_header(file.view, file.end)
        if header is None or file.end + header.record_bytes > len(file.view):
            return None
        return header

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
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                mapped = mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
            except ValueError as error:
                raise Corrupt(f"{path} is empty") from error
            finally:
                os.close(descriptor)
        file = _File(self._next_number, path, first_local_lsn, memoryview(mapped))
        self._next_number += 1
        self._files.append(file)
        self.views = {**self.views, file.number: file.view}
        return file

    def _forget(self, file: _File) -> None:
        self._files.remove(file)
        self.views = {number: view for number, view in self.views.items() if number != file.number}

    def _room_for(self, header: RecordHeader, *, sync: bool) -> _File:
        last = self._files[-1] if self._files else None
        if last and last.path.suffix == ".log" and last.end + header.record_bytes <= len(last.view):
            return last
        path = self._directory / f"{header.local_lsn:016x}.log"
        size = max(self._file_bytes, aligned(header.record_bytes))
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            os.ftruncate(descriptor, size)
            if sync:
                os.fsync(descriptor)
                self._sync_directory()
        finally:
            os.close(descriptor)
        return self._opened(header.local_lsn, path)

    def _write(self, file: _File, parts: Sequence[Data], *, sync: bool) -> None:
        descriptor = os.open(file.path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            position = file.end
            for start in range(0, len(parts), _IOV_MAX):
                batch = parts[start : start + _IOV_MAX]
                expected = sum(len(part) for part in batch)
                written = os.pwritev(descriptor, batch, position)
                if written != expected:
                    _write_rest(descriptor, b"".join(batch), written, position)
                position += expected
            if sync:
                os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def _wipe_behind(self, file: _File) -> None:
        if file.path.suffix != ".log":
            return
        with local_errors(f"wiping the end of {file.path}"):
            size = len(file.view)
            os.truncate(file.path, file.end)
            os.truncate(file.path, size)

    def _sync_directory(self) -> None:
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _write_rest(descriptor: int, data: bytes, done: int, position: int) -> None:
    while done < len(data):
        done += os.pwrite(descriptor, memoryview(data)[done:], position + done)
