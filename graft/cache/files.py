"""The files of the cache: mapped whole, deleted only when nobody maps them.

A mapping holds a shared flock on its file for as long as anything refers to its bytes: the descriptor that the mapping
keeps carries it. Who wants to delete the file takes the lock exclusively, and so knows that its space is free
afterwards and that its name may be used again. Deleting is done by one process at a time, which the index sees to.
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
    """Carries the lock; the mapping itself keeps a duplicate of it."""


class CacheFiles:
    """One process's view of the files; the cache's lock guards it, but for `maps`."""

    def __init__(self, directory: Path) -> None:
        """Use the files in ``directory``."""
        self._directory = directory
        self._mapped: dict[int, _Mapping] = {}

    def maps(self, file: int) -> bool:
        """Tell whether this process has a file mapped; needs no lock."""
        return file in self._mapped

    def mapped(self) -> list[int]:
        """Return the files that this process has mapped."""
        return list(self._mapped)

    def view(self, file: int) -> memoryview | None:
        """Return a file's bytes; None where it is not there, or is being deleted."""
        mapping = self._mapped.get(file)
        if mapping is None:
            mapping = self._map(file)
            if mapping is None:
                return None
            self._mapped[file] = mapping
        return mapping.view

    def unmap(self, file: int) -> None:
        """Forget a mapping; it ends when nothing refers to its bytes any more."""
        mapping = self._mapped.pop(file, None)
        if mapping is not None:
            os.close(mapping.descriptor)

    def unmap_all(self) -> None:
        """Forget all mappings."""
        for file in self.mapped():
            self.unmap(file)

    def write(self, file: int, *parts: tuple[int, Sequence[Data]]) -> None:
        """Write to places of a file that is mapped, one thing after the other at each; raises `OSError`."""
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
        """Delete a file unless another process maps it; tell whether it is gone.

        ``on_release`` is called before, if it can be.
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
        """Return the files that are there."""
        found = (_NAME.fullmatch(path.name) for path in self._directory.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def path(self, file: int) -> Path:
        """Return where a file is."""
        return self._directory / f"{file:08d}.frames"

    def _claimed(self, file: int) -> int | None:
        """Return a descriptor that keeps all others out, None where there is no file; raises `BlockingIOError`."""
        mapping = self._mapped.get(file)
        if mapping is None:
            try:
                descriptor = os.open(self.path(file), os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                return None
        else:
            descriptor = os.dup(mapping.descriptor)  # its own lock is not in the way
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            if mapping is not None:  # the attempt may have cost the lock that was there
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
            if status.st_nlink and status.st_size:  # else deleted just now, or cut short by a power cut
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
            return os.open(self.path(file), os.O_RDONLY | os.O_CLOEXEC)  # what is there can be read at least
