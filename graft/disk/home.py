"""The directory of an open replica: detects that its path, or a file in it, no longer names what was opened.

Directories are moved, deleted and created again while processes use them, and cleaners of temporary directories delete
lock files. Then no other process sees the locks, counters and databases of the open replica, and the directory at the
path is another one. So a writer checks first.

Invariant: the replica holds all compared files open, so no other file can get their inodes.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from graft.disk.names import FileId
from graft.errors import ReplicaMoved, local_errors


class Home:
    """An open directory, and the files in it whose names must not change their meaning."""

    def __init__(self, path: Path) -> None:
        """Open the directory."""
        self.path = path
        self._name = str(path)
        with local_errors(f"opening {path}"):
            self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.id = FileId.of(os.fstat(self._descriptor))
        self._files: dict[str, FileId] = {}

    def watch(self, names: Iterable[str]) -> None:
        """Remember which files these names stand for now; the replica must hold them open."""
        with local_errors(f"opening {self.path}"):
            self._files |= {name: FileId.of(os.stat(name, dir_fd=self._descriptor)) for name in names}

    def id_of(self, name: str) -> FileId:
        """Return the identity of the file that a watched name stood for."""
        return self._files[name]

    def is_unmoved(self) -> bool:
        """Return whether the path still names this directory, and the watched names the same files."""
        return self._change() is None

    def require_unmoved(self) -> None:
        """Raise `ReplicaMoved` unless `is_unmoved`."""
        change = self._change()
        if change is not None:
            raise ReplicaMoved(
                f"{self.path}: {change} since the replica was opened here; nothing was written. Close all connections "
                "to it, in all processes, and open it again"
            )

    def open(self, name: str, flags: int) -> int:
        """Open a watched file again; raises `ReplicaMoved` if its name stands for another file."""
        self.require_unmoved()
        with local_errors(f"opening {self.path / name}"):
            return os.open(name, flags | os.O_CLOEXEC, dir_fd=self._descriptor)

    def close(self) -> None:
        """Close the directory; may be called again."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _change(self) -> str | None:
        """Return a description of what changed, None if nothing did."""
        if self._descriptor < 0:
            return "it was closed"
        try:
            if FileId.of(os.stat(self._name)) != self.id:  # noqa: PTH116 - making a path takes longer than the call
                return "the directory was replaced by another one"
        except FileNotFoundError:
            return "the directory was moved or deleted"
        except OSError as error:
            return f"the directory cannot be read any more ({error.strerror})"
        return self._changed_file()

    def _changed_file(self) -> str | None:
        for name, known in self._files.items():
            try:
                if FileId.of(os.stat(name, dir_fd=self._descriptor)) != known:
                    return f"{name} was replaced by another file"
            except OSError:
                return f"{name} was deleted"
        return None
