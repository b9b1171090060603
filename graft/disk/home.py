"""The directory of an open replica: the very one that was opened, whatever its path stands for later.

Directories are moved, deleted and made anew under processes that use them, and cleaners of temporary directories
delete lock files. The locks, counters and databases of an open replica are then files that nobody else sees, and what
lies at the path belongs to somebody else. So whoever is about to write asks first.

Invariant: all files that are compared are held open by the replica, so that no other file can get their inodes.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from graft.disk.names import FileId
from graft.errors import ReplicaMoved, local_errors


class Home:
    """A directory that is held open, and the files in it that must stay what they are."""

    def __init__(self, path: Path) -> None:
        """Open the directory."""
        self.path = path
        self._name = str(path)
        with local_errors(f"opening {path}"):
            self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.id = FileId.of(os.fstat(self._descriptor))
        self._files: dict[str, FileId] = {}

    def watch(self, names: Iterable[str]) -> None:
        """Note which files these names stand for now; their users hold them open."""
        with local_errors(f"opening {self.path}"):
            self._files |= {name: FileId.of(os.stat(name, dir_fd=self._descriptor)) for name in names}

    def id_of(self, name: str) -> FileId:
        """Return the file that a watched name stood for."""
        return self._files[name]

    def is_unmoved(self) -> bool:
        """Tell whether the path still leads here, and the watched names to the same files."""
        return self._change() is None

    def require_unmoved(self) -> None:
        """Raise `ReplicaMoved` unless it does."""
        change = self._change()
        if change is not None:
            raise ReplicaMoved(
                f"{self.path}: {change} since the replica was opened here; nothing was written. Close all connections "
                "to it, in all processes, and open it again"
            )

    def open(self, name: str, flags: int) -> int:
        """Open a watched file once more; raises `ReplicaMoved` where the name stands for another one."""
        self.require_unmoved()
        with local_errors(f"opening {self.path / name}"):
            return os.open(name, flags | os.O_CLOEXEC, dir_fd=self._descriptor)

    def close(self) -> None:
        """Let go of the directory; may be called again."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _change(self) -> str | None:
        """Return what has changed, in words."""
        if self._descriptor < 0:
            return "it was closed"
        try:
            if FileId.of(os.stat(self._name)) != self.id:  # noqa: PTH116 - making a path takes longer than the call
                return "the directory was replaced by another one"
        except FileNotFoundError:
            return "the directory was moved or deleted"
        except OSError as error:
            return f"the directory cannot be looked at any more ({error.strerror})"
        return self._changed_file()

    def _changed_file(self) -> str | None:
        for name, known in self._files.items():
            try:
                if FileId.of(os.stat(name, dir_fd=self._descriptor)) != known:
                    return f"{name} was replaced by another file"
            except OSError:
                return f"{name} was deleted"
        return None
