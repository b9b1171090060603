"""The journal: local commits that the remote does not have yet, in append-only files that processes share.

    journal/0000000000000001.log     appended records, mapped whole; the name is the first local LSN in it
    journal/000000000000002a.bulk    one spilled transaction or import
    journal/000000000000002a.merged  a merge that is no commit yet; a ``.bulk`` file once the state says so

    format.py          the bytes of a record
    mapped_files.py    the files, mapped for reading
    reader.py          reads commits in order
    tail.py            the file that records are appended to
    syncing.py         which commits are on the disk
    recovery.py        what a crash may have torn
    verification.py    whether records are as they were written
    deletion.py        files whose commits the remote has
    journal.py         appends commits and takes them back

Invariants: local LSNs ascend over the files in name order, without gaps behind the sync point. Only the holder of the
writer lock appends. Bytes below the end of the last whole record never change. A file is deleted only once all its
commits are in the remote or given up; the file that a writer may be appending to is deleted only by a holder of the
writer lock. Before a record goes to a new file, the file before it is on the disk.
"""

import contextlib
import mmap
import os
import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from graft.disk.files import sync_directory, write_all
from graft.errors import GraftError, local_errors
from graft.failpoints import failpoint
from graft.journal import deletion, recovery, syncing
from graft.journal.deletion import PushedFiles
from graft.journal.format import RecordHeader, aligned, appended_header, encode_header, spilled_header
from graft.journal.local_commit import LocalCommit
from graft.journal.mapped_files import FileGone, JournalFile, merge_name
from graft.journal.reader import JournalReader
from graft.journal.tail import Room, Tail, create
from graft.journal.verification import require_whole
from pagestore.objectstore import Data

_PUSHED_BYTES_MAX = 1024 * 1024
"""A larger file that holds only pushed commits gets no further record: with one, it could not be deleted."""


class Journal:
    """One process's view of the journal's files.

    The replica's lock guards reading, the writer lock guards appending; both may happen at once.
    """

    def __init__(
        self, directory: Path, page_size: int, *, file_bytes: int, on_rotation: Callable[[int], None] | None = None
    ) -> None:
        """Use the files in ``directory``, which must exist.

        ``on_rotation`` is called with the newest local LSN when that commit and all before it are on the disk, and the
        next one goes to a new file.
        """
        self._on_rotation = on_rotation
        self._directory = directory
        self._name = str(directory)  # for messages: formatting a path takes as long as a system call
        self._page_size = page_size
        self._file_bytes = file_bytes
        self._reader = JournalReader(directory, page_size)
        self._files = self._reader.files
        self._pushed = PushedFiles(self._reader)
        self._spills = 0
        self._tail: Tail | None = None

    @property
    def views(self) -> dict[int, memoryview]:
        """The mapped files by number; replaced, never changed, so a snapshot may hold the one it was made with."""
        return self._files.views

    @property
    def last_local_lsn(self) -> int:
        """The newest commit that was read or appended."""
        return self._reader.last_local_lsn

    def start_after(self, local_lsn: int) -> None:
        """Read from behind this commit on; the remote has all commits up to it."""
        self._close_tail()
        self._reader.start_after(local_lsn)

    def read_new(self, upto: int | None = None) -> Iterator[LocalCommit]:
        """Yield the commits that were not read yet, up to ``upto``; see `JournalReader.read_new`."""
        return self._reader.read_new(upto)

    def drop_torn_tail(self, written: int = 0) -> None:
        """After recovery, wipe what a crash left behind the last whole record; see `recovery.drop_torn_tail`."""
        recovery.drop_torn_tail(self._reader, written)

    def sync(self) -> None:
        """Wait until all that was read or written is on the disk."""
        newest = self._files.newest
        if newest and not self._reader.tail_synced:
            syncing.sync_whole(newest)
            self._reader.tail_synced = True

    def is_synced_through(self, local_lsn: int) -> bool:
        """Return whether `sync_through` has nothing to wait for."""
        return syncing.unsynced(self._files, local_lsn) is None

    def sync_through(self, local_lsn: int) -> None:
        """Wait until a commit that was read, and all before it, are on the disk or in the remote; needs no lock."""
        syncing.sync_through(self._files, local_lsn)

    def append(
        self,
        pages: Collection[int],
        bodies: Collection[Data],
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
            synced=sync, after_synced=self._reader.tail_synced,
        )  # fmt: skip
        slots = struct.pack(f"<{len(pages)}I", *pages)
        padding = bytes(header.bodies_offset - header.list_offset - len(slots))
        with local_errors(f"writing local commit {local_lsn} to {self._name}"):
            file, tail = self._room_for(local_lsn, header.record_bytes)
            start = b"".join((encode_header(header, slots, bodies), slots, padding))
            try:
                tail.write([start, *bodies], file.end, file.end + header.record_bytes, sync=sync)
            except BaseException:
                self._cut(file, file.end)
                raise
        return self._reader.advance(file, header, slots)

    def room(self) -> Room | None:
        """Return where the next record may be appended; the caller holds the writer lock and has read all commits."""
        tail, newest = self._tail, self._files.newest
        return tail.room(synced=self._reader.tail_synced) if tail is not None and tail.file is newest else None

    def spill_path(self) -> Path:
        """Return where the writer's transaction may spill its bodies; removes what dead writers left there."""
        with local_errors(f"tidying {self._directory}"):
            recovery.remove_spills(self._directory)
        self._spills += 1
        return self._directory / f"{os.getpid()}-{self._spills}.tmp"

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
        path = self._directory / f"{local_lsn:016x}.bulk"
        with local_errors(f"writing local commit {local_lsn} to {path}"):
            self._finish_file()
            header, encoded_slots = self._sealed(
                descriptor, slots, local_lsn=local_lsn, byte_size=byte_size, min_page_count=min_page_count,
                timestamp_us=timestamp_us,
            )  # fmt: skip
            spill.rename(path)
            try:
                sync_directory(self._directory)
                return self._reader.advance(self._files.open(local_lsn, path), header, encoded_slots)
            except BaseException:
                path.rename(spill)
                raise

    def prepare_merge(
        self,
        spill: Path,
        descriptor: int,
        slots: Sequence[int],
        *,
        local_lsn: int,
        byte_size: int,
        min_page_count: int,
        timestamp_us: int,
    ) -> None:
        """Put a file of spilled bodies on the disk, which becomes commit ``local_lsn`` when the state says so.

        Until `finish_merge` it is no part of the journal. The caller holds the writer lock.
        """
        path = self._directory / merge_name(local_lsn)
        with local_errors(f"writing local commit {local_lsn} to {path}"):
            recovery.remove_merges(self._directory)
            self._sealed(
                descriptor, slots, local_lsn=local_lsn, byte_size=byte_size, min_page_count=min_page_count,
                timestamp_us=timestamp_us,
            )  # fmt: skip
            spill.rename(path)
            sync_directory(self._directory)

    def finish_merge(self, local_lsn: int) -> None:
        """Make a prepared merge a commit of the journal, if no process has done so yet; needs no lock."""
        path = self._directory / merge_name(local_lsn)
        with local_errors(f"renaming {path}"), contextlib.suppress(FileNotFoundError):
            path.rename(path.with_suffix(".bulk"))
            sync_directory(self._directory)

    def _sealed(
        self,
        descriptor: int,
        slots: Sequence[int],
        *,
        local_lsn: int,
        byte_size: int,
        min_page_count: int,
        timestamp_us: int,
    ) -> tuple[RecordHeader, bytes]:
        """Complete a file of spilled bodies to a record, on the disk; return its header and encoded page list."""
        header = spilled_header(self._page_size, local_lsn, len(slots), byte_size, min_page_count, timestamp_us)
        encoded_slots = np.asarray(slots, "<u4").tobytes()
        write_all(descriptor, [encoded_slots], header.list_offset)
        os.ftruncate(descriptor, header.record_bytes)
        with mmap.mmap(descriptor, header.record_bytes, prot=mmap.PROT_READ) as mapped:
            view = memoryview(mapped)
            bodies = view[header.bodies_offset :][: len(slots) * self._page_size]
            encoded = encode_header(header, encoded_slots, (bodies,))
            bodies.release()
            view.release()
        write_all(descriptor, [encoded], 0)
        os.fsync(descriptor)
        return header, encoded_slots

    def undo_last(self, commit: LocalCommit, spill: Path | None) -> None:
        """Take back the newest commit for good, before it is published; a spilled one becomes ``spill`` again."""
        file = self._files.all[-1]
        assert commit.local_lsn == self.last_local_lsn == file.last_local_lsn, "BUG: undo of an older commit"
        self._reader.last_local_lsn -= 1
        with local_errors(f"taking back local commit {commit.local_lsn}"):
            if spill is not None:
                self._files.forget(file)
                file.path.rename(spill)
                sync_directory(self._directory)
            else:
                self._cut(file, file.start_of(commit))

    def require_whole(self, commits: Iterable[LocalCommit]) -> None:
        """Raise `Corrupt` unless the records of these unpushed commits are as they were written."""
        require_whole(self._files.all, commits)

    def delete_through(self, local_lsn: int, *, spare_last: bool, sync: Callable[[], None]) -> None:
        """Delete the files whose commits are all at or before ``local_lsn``; see `PushedFiles.delete_through`."""
        self._pushed.delete_through(local_lsn, spare_last=spare_last, sync=sync)

    def forget_through(self, local_lsn: int) -> None:
        """Unmap files whose commits are all at or before ``local_lsn``, except the newest file."""
        self._reader.forget_through(local_lsn)

    def disk_bytes(self) -> int:
        """Return how much disk space the files take."""
        return deletion.disk_bytes(self._directory)

    def close(self) -> None:
        """Unmap and close the files."""
        self._close_tail()
        self._files.forget_all()

    def _cut(self, file: JournalFile, end: int) -> None:
        """Take back the newest record for good, whether it was written whole or not.

        A file without a record is deleted: other processes would append to the file before it.
        """
        if end == 0:
            self._files.forget(file)
            file.path.unlink()
            sync_directory(self._directory)
        else:
            file.end, file.last_local_lsn = end, self.last_local_lsn
            recovery.wipe_behind(file)
        self._reader.tail_synced = False

    def _room_for(self, local_lsn: int, record_bytes: int) -> tuple[JournalFile, Tail]:
        """Return the file that the next record goes to: the newest one if the record fits there, else a new one."""
        last = self._files.newest
        if last and last.appendable and last.last_local_lsn == local_lsn - 1 and not self._is_retired(last):
            tail = self._tail_of(last)
            if tail and last.end + record_bytes <= len(last.view) and tail.is_there():
                return last, tail
        self._finish_file()
        failpoint("rotation: after sync")
        path = self._directory / f"{local_lsn:016x}.log"
        try:
            create(path, max(self._file_bytes, aligned(record_bytes)))
            file = self._files.open(local_lsn, path)
        except (OSError, GraftError):
            # A smaller record may still go into the previous file, so no file may follow that one yet.
            path.unlink(missing_ok=True)
            raise
        tail = self._tail_of(file)
        if tail is None:
            raise FileGone(f"{path} was deleted while it was being opened")
        return file, tail

    def _finish_file(self) -> None:
        """Sync everything before the next record goes to a new file."""
        self.sync()
        newest, pushed = self._files.newest, self._reader.pushed_local_lsn
        if self._on_rotation is not None and newest is not None and newest.last_local_lsn > pushed:
            self._on_rotation(newest.last_local_lsn)

    def _is_retired(self, file: JournalFile) -> bool:
        return file.end > _PUSHED_BYTES_MAX and file.last_local_lsn <= self._reader.pushed_local_lsn

    def _tail_of(self, file: JournalFile) -> Tail | None:
        """Return the open tail of a file; None if the file is gone."""
        tail = self._tail
        if tail is None or tail.file is not file:
            self._close_tail()
            with contextlib.suppress(FileNotFoundError):
                self._tail = Tail(file)
        return self._tail

    def _close_tail(self) -> None:
        tail, self._tail = self._tail, None
        if tail is not None:
            tail.close()
