"""Whom new files belong to: what root makes in a directory of somebody else's is theirs, as with SQLite's own files.

Else one command that root runs would leave files that the application can neither write nor delete. Only what was made
here changes hands: a name that is there already may be a link to anywhere.
"""

import os
from contextlib import suppress
from pathlib import Path


def create(path: Path, flags: int, mode: int = 0o644) -> int:
    """Open a file as `os.open` does, making it if it is not there; close-on-exec."""
    flags |= os.O_CREAT | os.O_CLOEXEC
    owner = _other_owner(path.parent)
    if owner is None:
        return os.open(path, flags, mode)
    try:
        descriptor = os.open(path, flags | os.O_EXCL, mode)
    except FileExistsError:
        return os.open(path, flags, mode)  # raises again where the caller wants a new one
    with suppress(OSError):  # a file system without owners
        os.fchown(descriptor, *owner)
    return descriptor


def make_directory(path: Path) -> None:
    """Make a directory in one that is there; one that is there already stays as it is."""
    try:
        path.mkdir()
    except FileExistsError:
        if not path.is_dir():
            raise
        return
    owner = _other_owner(path.parent)
    if owner is not None:
        with suppress(OSError):
            os.chown(path, *owner, follow_symlinks=False)


def _other_owner(directory: Path) -> tuple[int, int] | None:
    """Return whom a directory belongs to, if this process is root's and the directory is not."""
    if os.geteuid() != 0:
        return None
    status = directory.stat()
    return (status.st_uid, status.st_gid) if status.st_uid else None
