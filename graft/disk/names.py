"""Which file a name stands for: device and inode, which no other file has as long as somebody holds it open."""

import os
from typing import NamedTuple, Self


class FileId(NamedTuple):
    """A file or directory, whatever it is called."""

    device: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        """Return which file it is that has this status."""
        return cls(status.st_dev, status.st_ino)
