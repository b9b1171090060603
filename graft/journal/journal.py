"""The journal: local commits that the remote does not have yet, in append-only files that processes share.

    journal/0000000000000001.log     appended records, mapped whole; the name is the first local LSN in it
    journal/000000000000002a.bulk    one spilled transaction or import

    format.py          the bytes of a record
    mapped_files.py    the files, for reading
    tail.py            the one that is appended to
    recovery.py        what a crash may have torn
    verification.py    whether records are as they were written
    journal.py         which commits there are: reading, appending, deleting

Invariants: local LSNs ascend over the files in name order, without gaps behind the sync point; only the holder of the
writer lock appends; bytes below the end of the last whole record never change; a file is deleted only once all its
commits are in the remote or given up, and the one that a writer may be appending to only by a holder of the writer
lock; before a record goes to a new file, the file before it is on the disk.
"""

import contextlib
import mmap
import os
import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from graft.disk.files import sync_directory, sync_file, wipe, write_all
from graft.errors import Corrupt, GraftError, local_errors
from graft.failpoints import failpoint
from graft.journal.format import (
    RecordHeader,
    aligned,
    appended_header,
    encode_header,
    is_whole,
    page_list,
    spilled_header,
)
from graft.journal.local_commit import LocalCommit
from graft.journal.mapped_files import FileGone, JournalFile, OpenFiles, is_unborn, listed
from graft.journal.recovery import require_torn
from graft.journal.tail import Room, Tail, create
from graft.journal.verification import require_whole
from graft.pagemap.locations import in_journal
from pagestore.objectstore import Data
from pagestore.pages import page_count_of

_CHECKED_BYTES_MAX = 256 * 1024 * 1024
"""A spilled transaction that is larger is checked when it is pushed: to open a replica must not take seconds."""
_PUSHED_BYTES_MAX = 1024 * 1024
"""A file that holds more, and nothing that the remote lacks, gets no further record: it could not be deleted."""


class Journal:
    """One process's view of the journal's files.

    The replica's lock guards reading, the writer lock guards appending; both may happen at once.
    """

    def __init__(
        self, directory: Path, page_size: int, *, file_bytes: int, on_rotation: Callable[[int], None] | None = None
    ) -> None:
        """Use the files in ``directory``, which must exist.

        ``on_rotation`` is told of the newest commit when it is on the disk with all before it, and the next one goes to
        a new file.
        """
        self._on_rotation = on_rotation
        self._directory = directory
        self._name = str(directory)  # for messages: formatting a path takes as long as a system call
        self._page_size = page_size
        self._file_bytes = file_bytes
        self._files = OpenFiles()
        self._spills = 0
        self._tail: Tail | None = None
        self._tail_synced = True
        self._pushed_local_lsn = 0
        self._one_file_since_ns = 0
        """When the directory was changed last, if the only file in it is one that a writer may be appending to."""
        self.last_local_lsn = 0

    @property
    def views(self) -> dict[int, memoryview]:
        """The mapped files by number; replaced, never changed, so that a snapshot may keep the one it was made with."""
        return self._files.views

    def start_after(self, local_lsn: int) -> None:
        """Begin reading behind this commit; all before it are in the remote."""
        self.close()
        self.last_local_lsn = self._pushed_local_lsn = local_lsn
        self._tail_synced = False
        known = [each for each in listed(self._directory) if each[0] <= local_lsn + 1]
        file = None
        if known and not is_unborn(known[-1][1]):
            with contextlib.suppress(FileGone):  # a push has just deleted it, and with it nothing that is not pushed
                file = self._files.open(*known[-1])
        if file is not None:
            while (header := file.header()) and header.local_lsn <= local_lsn:
                file.end += header.record_bytes
                file.last_local_lsn = header.local_lsn
                self._tail_synced = header.synced
            if file.last_local_lsn < local_lsn and file.first_local_lsn <= local_lsn:
                self._files.forget(file)  # all its records are in the remote, and were recycled

    def read_new(self, upto: int | None = None) -> Iterator[LocalCommit]:
        """Yield the commits that were not read yet, at most to ``upto``.

        Without ``upto`` this is recovery: it reads as far as records are whole. Either way each one is checked, but for
        the largest spilled ones.
        """
        while upto is None or self.last_local_lsn < upto:
            commit = self._next()
            if commit is None:
                if upto is not None:
                    raise Corrupt(
                        f"{self._directory}: local commit {self.last_local_lsn + 1} of {upto} is damaged or not there; "
                        "nothing was dropped"
                    )
                self._tail_synced = False  # its writer may have died waiting for the disk
                if newest := self._files.newest:
                    newest.synced_local_lsn = 0
                return
            yield commit

    def drop_torn_tail(self, written: int = 0) -> None:
        """After recovery: wipe what a crash left behind the last whole record; the caller is the only writer.

        It must know that no push took away what it had not read yet: that would look as if it had never been written.
        A push meanwhile may only delete files that were read. Raises `Corrupt`, and drops nothing, where more is
        missing than a crash can take: a commit up to ``written``, which is known to have been there, or one that what
        follows it vouches for.
        """
        damaged = self.last_local_lsn + 1
        require_torn(self._directory, self._files, damaged, written=written, pushed=self._pushed_local_lsn)
        with local_errors(f"tidying {self._directory}"):
            self._remove_spills()
            newest = self._files.newest
            if newest and newest.end:
                self._wipe_behind(newest)
            for first, path in listed(self._directory):
                if first == damaged:
                    path.unlink()
            for file in [file for file in self._files.all if file.last_local_lsn < file.first_local_lsn]:
                self._files.forget(file)

    def sync(self) -> None:
        """Wait until all that was read or written is on the disk."""
        newest = self._files.newest
        if newest and not self._tail_synced:
            with local_errors(f"syncing {newest.path}"), contextlib.suppress(FileNotFoundError):  # gone: it was pushed
                sync_file(newest.path)
            self._tail_synced = True
            newest.synced_local_lsn = newest.last_local_lsn

    def is_synced_through(self, local_lsn: int) -> bool:
        """Tell whether `sync_through` has nothing to wait for."""
        return self._unsynced(local_lsn) is None

    def sync_through(self, local_lsn: int) -> None:
        """Wait until a commit that was read, and all before it, are on the disk or in the remote; needs no lock."""
        file = self._unsynced(local_lsn)
        if file is not None:
            with local_errors(f"syncing {file.path}"):
                with contextlib.suppress(FileNotFoundError):  # gone: it was pushed
                    sync_file(file.path)
                if not file.name_synced:
                    sync_directory(self._directory)
            file.name_synced = True
            file.synced_local_lsn = max(file.synced_local_lsn, local_lsn)

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
            synced=sync, after_synced=self._tail_synced,
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
        return self._taken(file, header, slots)

    def room(self) -> Room | None:
        """Return where the next record may be appended; the caller holds the writer lock and has read all commits."""
        tail, newest = self._tail, self._files.newest
        return tail.room(synced=self._tail_synced) if tail is not None and tail.file is newest else None

    def spill_path(self) -> Path:
        """Return where the one writer's transaction may write its bodies; what dead writers left there is removed."""
        with local_errors(f"tidying {self._directory}"):
            self._remove_spills()
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
        header = spilled_header(self._page_size, local_lsn, len(slots), byte_size, min_page_count, timestamp_us)
        path = self._directory / f"{local_lsn:016x}.bulk"
        encoded_slots = np.asarray(slots, "<u4").tobytes()
        with local_errors(f"writing local commit {local_lsn} to {path}"):
            self._finish_file()
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
            spill.rename(path)
            try:
                sync_directory(self._directory)
                return self._taken(self._files.open(local_lsn, path), header, encoded_slots)
            except BaseException:
                path.rename(spill)
                raise

    def undo_last(self, commit: LocalCommit, spill: Path | None) -> None:
        """Take back the newest commit, which was never published, for good; a spilled one becomes ``spill`` again."""
        file = self._files.all[-1]
        assert commit.local_lsn == self.last_local_lsn == file.last_local_lsn, "BUG: undo of another than the newest"
        self.last_local_lsn -= 1
        with local_errors(f"taking back local commit {commit.local_lsn}"):
            if spill is not None:
                self._files.forget(file)
                file.path.rename(spill)
                sync_directory(self._directory)
            else:
                self._cut(file, file.start_of(commit))

    def delete_through(self, local_lsn: int, *, spare_last: bool, sync: Callable[[], None]) -> None:
        """Delete the files whose commits are all at or before ``local_lsn``; who maps one keeps it.

        With ``spare_last``, the file that a writer may be appending to stays. If there is any to delete, ``sync`` is
        called before: it makes sure that what says that they are pushed survives a power cut, as they do not.
        """
        with local_errors(f"listing {self._directory}"):
            changed_ns = self._directory.stat().st_mtime_ns
        if spare_last and changed_ns == self._one_file_since_ns:
            return
        there = listed(self._directory)
        # The newest file may be one that another process made since: it holds its first commit at least.
        ends = [first - 1 for first, _ in there[1:]] + [max(self.last_local_lsn, first) for first, _ in there[-1:]]
        if spare_last and there and there[-1][1].suffix == ".log":
            there.pop()
            self._one_file_since_ns = 0 if there else changed_ns
        gone = {path for (_, path), last in zip(there, ends, strict=False) if last <= local_lsn}
        if not gone:
            return
        sync()
        for file in [file for file in self._files.all if file.path in gone]:
            self._files.forget(file)
        with local_errors(f"tidying {self._directory}"):
            for path in sorted(gone):
                path.unlink(missing_ok=True)
                failpoint("deletion: between files")

    def forget_through(self, local_lsn: int) -> None:
        """Let go of files whose commits are all at or before ``local_lsn``, but for the newest one."""
        self._pushed_local_lsn = local_lsn
        for file in self._files.all[:-1]:
            if file.last_local_lsn <= local_lsn:
                self._files.forget(file)

    def require_whole(self, commits: Iterable[LocalCommit]) -> None:
        """Raise `Corrupt` unless the records of these commits, which the remote lacks, are as they were written."""
        require_whole(self._files.all, commits)

    def disk_bytes(self) -> int:
        """Return what the files take on the disk."""
        return sum(_blocks(path) * 512 for _, path in listed(self._directory))

    def close(self) -> None:
        """Let go of the files."""
        self._close_tail()
        self._files.forget_all()

    def _unsynced(self, local_lsn: int) -> JournalFile | None:
        """Return the file that a commit is in, if it was read and is not known to be on the disk."""
        file = next((file for file in reversed(self._files.all) if file.first_local_lsn <= local_lsn), None)
        return file if file is not None and file.synced_local_lsn < local_lsn <= file.last_local_lsn else None

    def _next(self) -> LocalCommit | None:
        wanted = self.last_local_lsn + 1
        file = self._files.newest
        header = file.header() if file else None
        if file is None or header is None or header.local_lsn != wanted:
            found = [path for first, path in listed(self._directory) if first == wanted]
            if not found or is_unborn(found[0]):
                return None
            if file is None or file.path != found[0]:
                file = self._files.open(wanted, found[0])
                header = file.header()
            if header is None or header.local_lsn != wanted:
                self._files.forget(file)
                if not file.appendable:
                    raise Corrupt(f"{file.path}: local commit {wanted} is damaged; nothing was dropped")
                return None
        checked = file.appendable or header.record_bytes <= _CHECKED_BYTES_MAX
        if checked and not is_whole(file.view, header, file.end):
            if not file.end:
                self._files.forget(file)
            if not file.appendable:  # it was renamed into place after it was synced, and cannot be torn
                raise Corrupt(f"{file.path}: local commit {wanted} is damaged; nothing was dropped")
            return None
        if header.page_size != self._page_size:
            raise Corrupt(f"{file.path}: local commit {wanted} has pages of {header.page_size} bytes")
        return self._taken(file, header, page_list(file.view, header, file.end))

    def _taken(self, file: JournalFile, header: RecordHeader, slots: bytes) -> LocalCommit:
        """Take in the record at the end of what was read of a file."""
        (
            page_size, local_lsn, _, byte_size, min_page_count, timestamp_us, _, bodies_offset, record_bytes, synced, _,
        ) = header  # fmt: skip
        first_location = in_journal(file.number, file.end + bodies_offset)
        file.end += record_bytes
        file.last_local_lsn = self.last_local_lsn = local_lsn
        self._tail_synced = synced
        if synced:
            file.synced_local_lsn = local_lsn
        return LocalCommit(
            local_lsn, byte_size, page_count_of(byte_size, page_size), min_page_count, timestamp_us, slots,
            first_location, page_size,
        )  # fmt: skip

    def _cut(self, file: JournalFile, end: int) -> None:
        """Take back the newest record, for good, whether it was written well or not.

        A file without a record does not stay: other processes would go on in the one before it.
        """
        if end == 0:
            self._files.forget(file)
            file.path.unlink()
            sync_directory(self._directory)
        else:
            file.end, file.last_local_lsn = end, self.last_local_lsn
            self._wipe_behind(file)
        self._tail_synced = False

    def _remove_spills(self) -> None:
        for path in self._directory.glob("*.tmp"):
            path.unlink(missing_ok=True)

    def _room_for(self, local_lsn: int, record_bytes: int) -> tuple[JournalFile, Tail]:
        """Return the file that the next record goes to, a new one where the newest will not do."""
        last = self._files.newest
        if last and last.appendable and last.last_local_lsn == local_lsn - 1 and not self._has_had_its_time(last):
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
            # What fits into the file before it may come next: that file must not look as if it ended here.
            path.unlink(missing_ok=True)
            raise
        tail = self._tail_of(file)
        if tail is None:
            raise FileGone(f"{path} is not there any more")
        return file, tail

    def _finish_file(self) -> None:
        """Have everything on the disk before the next record goes to a new file."""
        self.sync()
        newest = self._files.newest
        if self._on_rotation is not None and newest is not None and newest.last_local_lsn > self._pushed_local_lsn:
            self._on_rotation(newest.last_local_lsn)

    def _has_had_its_time(self, file: JournalFile) -> bool:
        return file.end > _PUSHED_BYTES_MAX and file.last_local_lsn <= self._pushed_local_lsn

    def _tail_of(self, file: JournalFile) -> Tail | None:
        """Return what records are written to a file with, None where the file is gone."""
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

    def _wipe_behind(self, file: JournalFile) -> None:
        if file.appendable:
            with local_errors(f"wiping the end of {file.path}"), contextlib.suppress(FileNotFoundError):
                wipe(file.path, file.end)


def _blocks(path: Path) -> int:
    try:
        return path.stat().st_blocks
    except FileNotFoundError:  # deleted by a push, just now
        return 0
