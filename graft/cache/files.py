"""The files of the cache: mapped whole, and deleted only when no other process maps them.

A mapping holds a shared flock on its file as long as anything refers to its bytes, through its own descriptor. A
process that deletes the file takes the lock exclusively, so it knows that deletion frees the space and that the name
may be used again. A transaction of the index ensures that one process deletes at a time.
"""

import errno
import fcntl
import mmap
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from graft.disk.files import write_all
from graft.failpoints import failpoint
from pagestore.objectstore import Data
from pagestore.ownership import create

_NAME = re.compile(r"(\d{8,})\.frames")


@dataclass(frozen=True, slots=True)
class _Mapping:
    view: memoryview
    descriptor: int
    """Carries the lock; the mapping itself holds a duplicate."""


class CacheFiles:
    """One process's view of the files; the cache's lock guards all methods except `maps`."""

    def __init__(self, directory: Path) -> None:
        """Use the files in ``directory``."""
        self._directory = directory
        self._mapped: dict[int, _Mapping] = {}

    def maps(self, file: int) -> bool:
        """Return whether this process maps a file; needs no lock."""
        return file in self._mapped

    def mapped(self) -> list[int]:
        """Return the files that this process maps."""
        return list(self._mapped)

    def view(self, file: int) -> memoryview | None:
        """Return a file's bytes; None if it is absent or being deleted."""
        mapping = self._mapped.get(file)
        if mapping is None:
            mapping = self._map(file)
            if mapping is None:
                return None
            self._mapped[file] = mapping
        return mapping.view

    def unmap(self, file: int) -> None:
        """Forget a mapping; it ends when nothing refers to its bytes."""
        mapping = self._mapped.pop(file, None)
        if mapping is not None:
            os.close(mapping.descriptor)

    def unmap_all(self) -> None:
        """Forget all mappings."""
        for file in self.mapped():
            self.unmap(file)

    def write(self, file: int, *parts: tuple[int, Sequence[Data]]) -> None:
        """Write each run of data to its position in a mapped file; raises `OSError`."""
        descriptor = self._mapped[file].descriptor
        if not os.fstat(descriptor).st_nlink:
            raise FileNotFoundError(f"{self.path(file)} was deleted while it was in use")
        for position, data in parts:
            write_all(descriptor, data, position)
        failpoint("cache: after frame")

    def create(self, file: int, size: int) -> None:
        """Create a file without blocks."""
        descriptor = create(self.path(file), os.O_RDWR | os.O_EXCL)
        try:
            os.ftruncate(descriptor, size)
        finally:
            os.close(descriptor)
        failpoint("cache: after file")

    def delete(self, file: int, on_release: Callable[[int], None]) -> bool:
        """Delete a file unless another process maps it; return whether it is gone.

        ``on_release`` is called first if the file can be deleted.
        """
        try:
            descriptor = self._claimed(file)
        except BlockingIOError:
            return False
        try:
            on_release(file)
            if descriptor is not None:
                self.path(file).unlink(missing_ok=True)
        finally:
            if descriptor is not None:
                os.close(descriptor)
        failpoint("evict: after unlink")
        return True

    def listed(self) -> list[int]:
        """Return the files in the directory."""
        found = (_NAME.fullmatch(path.name) for path in self._directory.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def path(self, file: int) -> Path:
        """Return the path of a file."""
        return self._directory / f"{file:08d}.frames"

    def _claimed(self, file: int) -> int | None:
        """Return a descriptor that locks out other processes, None if there is no file; raises `BlockingIOError`."""
        mapping = self._mapped.get(file)
        if mapping is None:
            try:
                descriptor = os.open(self.path(file), os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                return None
        else:
            descriptor = os.dup(mapping.descriptor)  # this process's own lock does not block it
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            if mapping is not None:  # the failed attempt may have dropped the shared lock
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            os.close(descriptor)
            raise
        return descriptor

    def _map(self, file: int) -> _Mapping | None:
        try:
            descriptor = self._opened(file)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            status = os.fstat(descriptor)
            if status.st_nlink and status.st_size:  # else just deleted, or truncated by a power cut
                return _Mapping(memoryview(mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)), descriptor)
        except BlockingIOError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    def _opened(self, file: int) -> int:
        try:
            return os.open(self.path(file), os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            if error.errno not in {errno.EACCES, errno.EROFS}:
                raise
            return os.open(self.path(file), os.O_RDONLY | os.O_CLOEXEC)  # it can still be read
