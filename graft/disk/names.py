"""The identity of a file: device and inode, which no other file has as long as a process holds it open."""

import os
from typing import NamedTuple, Self


class FileId(NamedTuple):
    """A file or directory, independent of its names."""

    device: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        """Return the identity of the file with this status."""
        return cls(status.st_dev, status.st_ino)
