"""Deletes journal files once the remote has all their commits."""

from collections.abc import Callable
from pathlib import Path

from graft.errors import local_errors
from graft.failpoints import failpoint
from graft.journal.mapped_files import listed
from graft.journal.reader import JournalReader


class PushedFiles:
    """The files of a journal that may be deleted after a push."""

    def __init__(self, reader: JournalReader) -> None:
        """Delete files of the journal that ``reader`` reads, and unmap them there."""
        self._reader = reader
        self._one_file_since_ns = 0
        """When the directory last changed, if its only file is one that a writer may be appending to."""

    def delete_through(self, local_lsn: int, *, spare_last: bool, sync: Callable[[], None]) -> None:
        """Delete the files whose commits are all at or before ``local_lsn``; a process that maps one can still read it.

        With ``spare_last``, the file that a writer may be appending to stays. If there is any to delete, ``sync`` is
        called first: the record that these commits were pushed must survive a power cut, since the files do not.
        """
        directory = self._reader.directory
        with local_errors(f"listing {directory}"):
            changed_ns = directory.stat().st_mtime_ns
        if spare_last and changed_ns == self._one_file_since_ns:
            return
        there = listed(directory)
        # Another process may have made the newest file since: it holds its first commit at least.
        ends = [first - 1 for first, _ in there[1:]]
        ends += [max(self._reader.last_local_lsn, first) for first, _ in there[-1:]]
        if spare_last and there and there[-1][1].suffix == ".log":
            there.pop()
            self._one_file_since_ns = 0 if there else changed_ns
        gone = {path for (_, path), last in zip(there, ends, strict=False) if last <= local_lsn}
        if not gone:
            return
        sync()
        files = self._reader.files
        for file in [file for file in files.all if file.path in gone]:
            files.forget(file)
        with local_errors(f"deleting pushed commits from {directory}"):
            for path in sorted(gone):
                path.unlink(missing_ok=True)
                failpoint("deletion: between files")


def disk_bytes(directory: Path) -> int:
    """Return how much disk space the files take."""
    return sum(_blocks(path) * 512 for _, path in listed(directory))


def _blocks(path: Path) -> int:
    try:
        return path.stat().st_blocks
    except FileNotFoundError:  # a push has just deleted it
        return 0
