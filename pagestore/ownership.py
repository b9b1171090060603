"""The owner of new files: what root creates in another user's directory belongs to that user, as in SQLite.

Otherwise a single command run by root would leave files that the application can neither write nor delete. Only files
created here change their owner: an existing name may be a link to anywhere.
"""

import os
from contextlib import suppress
from pathlib import Path


def create(path: Path, flags: int, mode: int = 0o644) -> int:
    """Open a file like `os.open`, creating it if it does not exist; close-on-exec."""
    flags |= os.O_CREAT | os.O_CLOEXEC
    owner = _other_owner(path.parent)
    if owner is None:
        return os.open(path, flags, mode)
    try:
        descriptor = os.open(path, flags | os.O_EXCL, mode)
    except FileExistsError:
        return os.open(path, flags, mode)  # raises again if the caller passed O_EXCL
    with suppress(OSError):  # a file system without owners
        os.fchown(descriptor, *owner)
    return descriptor


def make_directory(path: Path) -> None:
    """Create a directory in an existing one; leave an existing directory as it is."""
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
    """Return the owner of a directory if this process runs as root and the owner is another user."""
    if os.geteuid() != 0:
        return None
    status = directory.stat()
    return (status.st_uid, status.st_gid) if status.st_uid else None
