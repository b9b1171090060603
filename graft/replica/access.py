"""A process's access to the directory of an open replica: who else is there, the locks, and what forbids writing.

open.lock      held by every process that has the replica open; the first one recovers
writer.lock    one write transaction at a time; guards the journal's tail
sync.lock      one push or pull at a time; guards the state
"""

import contextlib
from collections.abc import Iterable
from pathlib import Path

from graft.disk.home import Home
from graft.disk.locks import FileLock, PresenceLock
from graft.errors import BadRequest, ReadOnly


class DirectoryAccess:
    """The opened directory and its locks; safe for threads."""

    def __init__(self, path: Path, *, read_only: str | None) -> None:
        """Join the processes that have the directory open.

        ``read_only`` is the reason why nothing may be written, None if writing is allowed. It applies from
        `end_opening` on: opening may recover a private copy.
        """
        self.path = path
        self.read_only = read_only
        self.is_disowned = False
        """Whether this process is the child of a fork, and the replica belongs to its parent."""
        self._is_open = False
        with contextlib.ExitStack() as opened:
            self.home = Home(path)
            opened.callback(self.home.close)
            self._presence = PresenceLock(path / "open.lock")
            opened.callback(self._presence.close)
            self.alone = self._presence.enter()
            """Whether no other process had the replica open. All others wait until `end_recovery`."""
            self.writer_lock = FileLock(
                path / "writer.lock", f"the writer lock of {path}", check=self._require_writable
            )
            opened.callback(self.writer_lock.close)
            self.sync_lock = FileLock(path / "sync.lock", f"a push or pull of {path}", check=self._require_writable)
            opened.callback(self.sync_lock.close)
            self._opened = opened.pop_all()

    def watch(self, names: Iterable[str]) -> None:
        """Refuse to write from now on if one of these files, or a lock file, is replaced."""
        self.home.watch(["open.lock", "writer.lock", "sync.lock", *names])

    def end_recovery(self) -> None:
        """Let other processes in; only the process that was `alone` calls this."""
        self._presence.admit_others()

    def end_opening(self) -> None:
        """Enforce `read_only` from now on."""
        self._is_open = True

    def require_own(self) -> None:
        """Raise `BadRequest` in the child of a fork: the locks, the journal and the state belong to its parent."""
        if self.is_disowned:
            raise BadRequest(f"{self.path} was opened before a fork; open it again in the new process")

    def require_unmoved(self) -> None:
        """Raise as `require_own`, and `ReplicaMoved` if the directory or a lock file was replaced since opening."""
        self.require_own()
        self.home.require_unmoved()

    def disown(self) -> None:
        """Close the locks in the child of a fork, which shares them with its parent."""
        self.is_disowned = True
        for lock in (self._presence, self.writer_lock, self.sync_lock):
            lock.close()

    def close(self) -> None:
        """Leave the directory and release all locks; may be called again."""
        self._opened.close()

    def _require_writable(self) -> None:
        if self.read_only is not None and self._is_open:
            raise ReadOnly(self.read_only)
        self.home.require_unmoved()
