"""Reads the journal's files in order, and remembers how far this process has read them.

Invariant: `JournalReader.last_local_lsn` is the newest commit that was read or appended by this process, and the newest
mapped file ends with it.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from graft.errors import Corrupt
from graft.journal.format import RecordHeader, is_whole, page_list
from graft.journal.local_commit import LocalCommit
from graft.journal.mapped_files import FileGone, JournalFile, OpenFiles, is_unborn, listed
from graft.pagemap.locations import in_journal
from pagestore.pages import page_count_of

_CHECKED_BYTES_MAX = 256 * 1024 * 1024
"""A spilled transaction larger than this is checked when it is pushed: opening a replica must not take seconds."""


class JournalReader:
    """A position in the journal; the replica's lock guards it."""

    def __init__(self, directory: Path, page_size: int) -> None:
        """Read the files in ``directory`` from the start."""
        self.directory = directory
        self.page_size = page_size
        self.files = OpenFiles()
        self.last_local_lsn = 0
        self.pushed_local_lsn = 0
        """The remote has all commits up to this one."""
        self.tail_synced = True
        """Whether all commits that were read are known to be on the disk."""

    def start_after(self, local_lsn: int) -> None:
        """Move to the position behind this commit; the remote has all commits up to it."""
        self.files.forget_all()
        self.last_local_lsn = self.pushed_local_lsn = local_lsn
        self.tail_synced = False
        known = [each for each in listed(self.directory) if each[0] <= local_lsn + 1]
        file = None
        if known and not is_unborn(known[-1][1]):
            with contextlib.suppress(FileGone):  # a push has just deleted it, so all its commits were pushed
                file = self.files.open(*known[-1])
        if file is not None:
            while (header := file.header()) and header.local_lsn <= local_lsn:
                file.end += header.record_bytes
                file.last_local_lsn = header.local_lsn
                self.tail_synced = header.synced
            if file.last_local_lsn < local_lsn and file.first_local_lsn <= local_lsn:
                self.files.forget(file)  # all its records are in the remote, and were recycled

    def read_new(self, upto: int | None = None) -> Iterator[LocalCommit]:
        """Yield the commits that were not read yet, up to ``upto``.

        Without ``upto`` this is recovery: it reads as far as records are whole. Every record is checked, except the
        largest spilled ones.
        """
        while upto is None or self.last_local_lsn < upto:
            commit = self._next()
            if commit is None:
                if upto is not None:
                    raise Corrupt(
                        f"{self.directory}: local commit {self.last_local_lsn + 1} of {upto} is damaged or missing; "
                        "nothing was dropped"
                    )
                self.tail_synced = False  # its writer may have died waiting for the disk
                if newest := self.files.newest:
                    newest.synced_local_lsn = 0
                return
            yield commit

    def advance(self, file: JournalFile, header: RecordHeader, slots: bytes) -> LocalCommit:
        """Move past the record that starts at the end of what was read of a file, and return its commit."""
        (
            page_size, local_lsn, _, byte_size, min_page_count, timestamp_us, _, bodies_offset, record_bytes, synced, _,
        ) = header  # fmt: skip
        first_location = in_journal(file.number, file.end + bodies_offset)
        file.end += record_bytes
        file.last_local_lsn = self.last_local_lsn = local_lsn
        self.tail_synced = synced
        if synced:
            file.synced_local_lsn = local_lsn
        return LocalCommit(
            local_lsn, byte_size, page_count_of(byte_size, page_size), min_page_count, timestamp_us, slots,
            first_location, page_size,
        )  # fmt: skip

    def forget_through(self, local_lsn: int) -> None:
        """Unmap files whose commits are all at or before ``local_lsn``, except the newest file."""
        self.pushed_local_lsn = local_lsn
        for file in self.files.all[:-1]:
            if file.last_local_lsn <= local_lsn:
                self.files.forget(file)

    def _next(self) -> LocalCommit | None:
        wanted = self.last_local_lsn + 1
        file = self.files.newest
        header = file.header() if file else None
        if file is None or header is None or header.local_lsn != wanted:
            found = [path for first, path in listed(self.directory) if first == wanted]
            if not found or is_unborn(found[0]):
                return None
            if file is None or file.path != found[0]:
                file = self.files.open(wanted, found[0])
                header = file.header()
            if header is None or header.local_lsn != wanted:
                self.files.forget(file)
                if not file.appendable:
                    raise Corrupt(f"{file.path}: local commit {wanted} is damaged; nothing was dropped")
                return None
        checked = file.appendable or header.record_bytes <= _CHECKED_BYTES_MAX
        if checked and not is_whole(file.view, header, file.end):
            if not file.end:
                self.files.forget(file)
            if not file.appendable:  # it was renamed into place after it was synced, and cannot be torn
                raise Corrupt(f"{file.path}: local commit {wanted} is damaged; nothing was dropped")
            return None
        if header.page_size != self.page_size:
            raise Corrupt(
                f"{file.path}: local commit {wanted} has pages of {header.page_size} bytes, the volume has pages of "
                f"{self.page_size}"
            )
        return self.advance(file, header, page_list(file.view, header, file.end))
