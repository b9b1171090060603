"""Tells what a crash may have torn at the end of the journal from damage, which is never dropped.

A crash of the machine takes commits from the newest backwards that nobody had seen reach the disk. What is missing
besides was damaged: a commit that was certainly written, one that a later file follows, or one that a whole record
behind it says had reached the disk.
"""

from pathlib import Path

from graft.errors import Corrupt
from graft.journal.mapped_files import OpenFiles, is_unborn, listed


def require_torn(directory: Path, files: OpenFiles, missing: int, *, written: int, pushed: int) -> None:
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
    """Tell whether a whole record behind a damaged one says that what is missing there had reached the disk."""
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
