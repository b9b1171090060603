"""Recovery: removes what a crash left at the end of the journal, and reports damage, which is never dropped.

A crash of the machine can lose commits that were not yet on the disk, from the newest backwards. Any other missing
commit was damaged: one that is known to have been written, one that a later file follows, or one of which a whole
record behind it says that it had reached the disk.
"""

import contextlib
from pathlib import Path

from graft.disk.files import wipe
from graft.errors import Corrupt, local_errors
from graft.journal.mapped_files import JournalFile, OpenFiles, is_unborn, listed
from graft.journal.reader import JournalReader


def drop_torn_tail(reader: JournalReader, written: int = 0) -> None:
    """Wipe what a crash left behind the last whole record.

    The caller is the only writer, has read all whole records, and knows that no push deleted a file that was not read:
    those commits would seem never to have been written. Raises `Corrupt`, and drops nothing, if more is missing than a
    crash can lose: a commit up to ``written``, which is known to have been written, or one that a later record vouches
    for.
    """
    files, damaged = reader.files, reader.last_local_lsn + 1
    _require_torn(reader.directory, files, damaged, written=written, pushed=reader.pushed_local_lsn)
    with local_errors(f"tidying {reader.directory}"):
        remove_spills(reader.directory)
        remove_merges(reader.directory)
        newest = files.newest
        if newest and newest.end:
            wipe_behind(newest)
        for first, path in listed(reader.directory):
            if first == damaged:
                path.unlink()
        for file in [file for file in files.all if file.last_local_lsn < file.first_local_lsn]:
            files.forget(file)


def remove_spills(directory: Path) -> None:
    """Remove the spilled bodies of transactions whose writers died."""
    for path in directory.glob("*.tmp"):
        path.unlink(missing_ok=True)


def remove_merges(directory: Path) -> None:
    """Remove merges that never became commits."""
    for path in directory.glob("*.merged"):
        path.unlink(missing_ok=True)


def wipe_behind(file: JournalFile) -> None:
    """Overwrite with zeros what lies behind the last record of a file that records are appended to."""
    if file.appendable:
        with local_errors(f"wiping the end of {file.path}"), contextlib.suppress(FileNotFoundError):
            wipe(file.path, file.end)


def _require_torn(directory: Path, files: OpenFiles, missing: int, *, written: int, pushed: int) -> None:
    """Raise `Corrupt` unless a crash alone explains that the journal ends before the commit ``missing``.

    All up to ``written`` are known to have been there, and the remote has all up to ``pushed``.
    """
    if missing <= written:
        raise Corrupt(
            f"{directory}: local commits {missing} to {written} were written, and are damaged or missing now; nothing "
            "was dropped. Restore the files from a backup, or move the replica away and clone again: the remote has "
            f"what was pushed, up to local commit {pushed}"
        )
    later = [path.name for first, path in listed(directory) if first > missing]
    if not later and _was_synced(directory, files, missing):
        later = ["one that was written after it was on the disk"]
    if later:
        raise Corrupt(f"{directory}: local commit {missing} is damaged, yet {later[0]} follows; nothing was dropped")


def _was_synced(directory: Path, files: OpenFiles, missing: int) -> bool:
    """Return whether a whole record behind the missing commit says that the commit had reached the disk."""
    newest = files.newest
    if newest and newest.vouches_for(missing):
        return True
    for first, path in listed(directory):
        if first == missing and not is_unborn(path):
            file = files.open(first, path)
            try:
                return file.vouches_for(missing)
            finally:
                files.forget(file)
    return False
