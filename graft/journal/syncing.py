"""Puts journal files on the disk, and remembers up to which commit each of them is there."""

import contextlib

from graft.disk.files import sync_directory, sync_file
from graft.errors import local_errors
from graft.journal.mapped_files import JournalFile, OpenFiles


def sync_whole(file: JournalFile) -> None:
    """Wait until all commits that were read from a file, or appended to it, are on the disk."""
    with local_errors(f"syncing {file.path}"), contextlib.suppress(FileNotFoundError):  # gone: it was pushed
        sync_file(file.path)
    file.synced_local_lsn = file.last_local_lsn


def sync_through(files: OpenFiles, local_lsn: int) -> None:
    """Wait until a commit that was read, and all before it, are on the disk or in the remote; needs no lock."""
    file = unsynced(files, local_lsn)
    if file is None:
        return
    with local_errors(f"syncing {file.path}"):
        with contextlib.suppress(FileNotFoundError):  # gone: it was pushed
            sync_file(file.path)
        if not file.name_synced:
            sync_directory(file.path.parent)
    file.name_synced = True
    file.synced_local_lsn = max(file.synced_local_lsn, local_lsn)


def unsynced(files: OpenFiles, local_lsn: int) -> JournalFile | None:
    """Return the file that a commit is in, if it was read and is not known to be on the disk."""
    file = next((file for file in reversed(files.all) if file.first_local_lsn <= local_lsn), None)
    return file if file is not None and file.synced_local_lsn < local_lsn <= file.last_local_lsn else None
