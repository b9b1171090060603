"""The cache of frames: disposable, bounded, checksummed, shared by all processes on a replica.

    cache/index.db        which frame is where, with its checksum
    cache/00000001.frames page lists and bodies, one frame after the other, mapped whole

Deleting the directory loses nothing; what fails its checksum is as good as absent. Files are evicted whole, oldest
first. The index is committed without syncing: after a power cut it may name bytes that never reached the disk, or
mix rows, which their checksums show, since they cover what frame it is; or be damaged itself: then the next process
that is alone begins anew.

Invariants: the files take no more than the budget, before and after each frame that is added, those included that are
given up and that somebody still maps; nothing that is mapped ever changes; a file that the index does not name, or
that it names and that is not there, is tidied away by the next one who makes a file.

What another process maps keeps its disk space. It is not evicted, but given up: its mappers let go of it when they
look next (`graft.bodies.BodyLoader.evict`), and until then there is less room.
"""

import contextlib
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xxhash

from graft.cache_files import CacheFiles
from graft.errors import Corrupt, LocalStorageError, local_errors
from graft.failpoints import failpoint
from graft.frametable import FrameBody, FrameKey
from graft.sqlite import abandon, database_errors, opened
from pagestore.segment import DecodedFrame

_SCHEMA = """
DROP TABLE IF EXISTS files;
DROP TABLE IF EXISTS frames;
CREATE TABLE files(
    file INTEGER PRIMARY KEY, bytes INTEGER NOT NULL, used INTEGER NOT NULL, given_up INTEGER NOT NULL DEFAULT 0);
CREATE TABLE frames(
    segment BLOB, offset INTEGER, file INTEGER NOT NULL, position INTEGER NOT NULL, pages INTEGER NOT NULL,
    digest BLOB NOT NULL, PRIMARY KEY (segment, offset)) WITHOUT ROWID;
CREATE INDEX frames_by_file ON frames(file);
"""
_VERSION = 2
_DAMAGED = "damaged"
_FILES_MIN, _FILES_MAX = 4, 256
_BLOCK = 4096
"""What file systems give out."""


@dataclass(frozen=True, slots=True)
class CacheUse:
    """What the cache holds."""

    frames: int
    pages: int
    bytes: int
    """Those of files that are given up and still mapped by somebody included."""


class _NoRoom(LocalStorageError):
    """All files that could be evicted are mapped by others."""


class Cache:
    """One process's view of the cache; safe for threads.

    Raises `LocalStorageError`, `DiskFull`, `Corrupt` and `WriterBusy` where it cannot do its work; its callers do
    without it then.
    """

    def __init__(
        self,
        directory: Path,
        page_size: int,
        *,
        bytes_max: int,
        file_bytes: int,
        alone: bool,
        let_go: Callable[[int], None],
    ) -> None:
        """Use ``directory``, created if absent; ``let_go`` is told of files whose bodies must not be held any longer.

        One who is ``alone`` throws an index that is damaged away with all it indexed; others do without the cache.
        """
        self._directory = directory
        self._page_size = page_size
        self._bytes_max = bytes_max
        self._file_bytes = max(min(file_bytes, bytes_max // _FILES_MIN), bytes_max // _FILES_MAX, 1)
        self._let_go_of_bodies = let_go
        self._lock = threading.RLock()  # guards the connection and the files
        self._files = CacheFiles(directory)
        self._usable: sqlite3.Connection | None = None
        if alone and (directory / _DAMAGED).exists():
            shutil.rmtree(directory, ignore_errors=True)
        try:
            self._usable = self._opened()
        except Corrupt:
            if alone:
                shutil.rmtree(directory, ignore_errors=True)
                self._usable = self._opened()

    @property
    def batch_bytes(self) -> int:
        """How much to put in at once at most, so that no part of it is evicted for another."""
        return self._file_bytes

    def get(self, key: FrameKey) -> FrameBody | None:
        """Return a frame whose checksum was just verified, None when it is not there."""
        with self._working("reading"):
            row = self._database.execute(
                "SELECT file, position, pages, digest FROM frames WHERE segment = ? AND offset = ?",
                (key.ref.segment.raw, key.offset),
            ).fetchone()
            if row is None:
                return None
            file, position, pages, digest = row
            body = self._body(file, position, pages)
            if body is None or _digest(key, body) != digest:
                self._database.execute(
                    "DELETE FROM frames WHERE segment = ? AND offset = ?", (key.ref.segment.raw, key.offset)
                )
                return None
            return body

    def has(self, keys: Iterable[FrameKey]) -> set[FrameKey]:
        """Return those of the frames that the index names."""
        with self._working("reading"):
            return {
                key
                for key in keys
                if self._database.execute(
                    "SELECT 1 FROM frames WHERE segment = ? AND offset = ?", (key.ref.segment.raw, key.offset)
                ).fetchone()
            }

    def maps(self, file: int) -> bool:
        """Tell whether bodies in a file may be held; once they may not, `let_go` was called, or is about to be."""
        return self._files.maps(file)

    def put(self, frames: Sequence[tuple[FrameKey, DecodedFrame]]) -> list[FrameBody]:
        """Add verified frames and return them as bodies in the cache's files.

        Another thread may evict them at once: look at `maps` when they are where they are to be.
        """
        with self._working("writing to"):
            self._reopen_if_removed()
            try:
                with self._transaction():
                    bodies = self._put_all(frames)
            except _NoRoom:
                self._give_up(sum(_in_blocks(_length(frame)) for _, frame in frames))
                raise
            failpoint("cache: after index")
            return bodies

    def evict(self) -> None:
        """Hold the cache to its budget, and let go of what others want to have evicted."""
        with self._working("emptying"):
            self._reopen_if_removed()
            rows = self._database.execute("SELECT file, used, given_up FROM files").fetchall()
            for file in set(self._files.mapped()) - {file for file, _, given_up in rows if not given_up}:
                self._let_go(file)
            if any(given_up for *_, given_up in rows) or self._used() > self._bytes_max:
                try:
                    with self._transaction():
                        self._make_room(0)
                except _NoRoom:
                    self._give_up(0)

    def use(self) -> CacheUse:
        """Count what is there."""
        with self._working("reading"):
            frames, pages = self._database.execute("SELECT count(*), coalesce(sum(pages), 0) FROM frames").fetchone()
            return CacheUse(frames, pages, self._used())

    def disown(self) -> None:
        """Leave the index to the process that this one was forked from, and do without."""
        self._lock = threading.RLock()
        if self._usable is not None:
            abandon(self._usable)
        self._usable = None

    def close(self) -> None:
        """Let go of the index and the files."""
        with self._lock:
            if self._usable is not None:
                self._usable.close()
            self._usable = None
            self._files.let_go_of_all()

    @property
    def _database(self) -> sqlite3.Connection:
        if self._usable is None:
            raise LocalStorageError(f"the cache in {self._directory} is not usable in this process")
        return self._usable

    @property
    def _index(self) -> Path:
        return self._directory / "index.db"

    def _opened(self) -> sqlite3.Connection:
        with local_errors(f"creating {self._directory}"), database_errors(f"opening {self._directory}"):
            self._directory.mkdir(exist_ok=True)
            database = opened(self._index, _SCHEMA, _VERSION, synchronous="OFF")
            self._inode = self._index.stat().st_ino
            return database

    def _reopen_if_removed(self) -> None:
        """Begin anew where somebody deleted the directory: what is written there must not mix with another's files."""
        with contextlib.suppress(FileNotFoundError):
            if self._usable is None or self._index.stat().st_ino == self._inode:
                return
        self._database.close()
        self._usable = None
        for file in self._files.mapped():
            self._let_go(file)
        self._usable = self._opened()

    @contextlib.contextmanager
    def _working(self, doing: str) -> Iterator[None]:
        doing = f"{doing} {self._directory}"
        with self._lock:
            try:
                with local_errors(doing), database_errors(doing):
                    yield
            except Corrupt:
                with contextlib.suppress(OSError):
                    (self._directory / _DAMAGED).touch()
                raise

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise

    def _put_all(self, frames: Sequence[tuple[FrameKey, DecodedFrame]]) -> list[FrameBody]:
        bodies = []
        used = self._used()
        for key, frame in frames:
            length = _length(frame)
            if used + _in_blocks(length) > self._bytes_max:
                used = self._make_room(length)
            file, position = self._place(length)
            bodies.append(self._put_one(key, frame, file, position))
            used += _in_blocks(length)  # or less
        return bodies

    def _put_one(self, key: FrameKey, frame: DecodedFrame, file: int, position: int) -> FrameBody:
        self._files.write(file, [np.ascontiguousarray(frame.pages, "<u4").tobytes(), frame.body], position)
        body = self._body(file, position, len(frame.pages))
        assert body is not None, "BUG: a frame that was just written is there"
        self._database.execute(
            "INSERT OR REPLACE INTO frames VALUES (?, ?, ?, ?, ?, ?)",
            (key.ref.segment.raw, key.offset, file, position, len(frame.pages), _digest(key, body)),
        )
        return body

    def _used(self) -> int:
        """Return what the files take on the disk."""
        return sum(_in_blocks(used) for (used,) in self._database.execute("SELECT used FROM files").fetchall())

    def _make_room(self, length: int) -> int:
        """Delete files that nobody else maps, those that were given up and then the oldest ones, until there is room.

        Returns how much is used then.
        """
        used = self._used()
        rows = self._database.execute("SELECT file, used, given_up FROM files ORDER BY given_up DESC, file").fetchall()
        for file, bytes_, given_up in rows:
            if not given_up and used + _in_blocks(length) <= self._bytes_max:
                return used
            if self._delete(file):
                used -= _in_blocks(bytes_)
        if used + _in_blocks(length) > self._bytes_max:
            raise _NoRoom(f"{self._directory}: {length} bytes are too much, or other processes still use what is there")
        return used

    def _delete(self, file: int) -> bool:
        if not self._files.delete(file, self._let_go):
            return False
        self._database.execute("DELETE FROM frames WHERE file = ?", (file,))
        self._database.execute("DELETE FROM files WHERE file = ?", (file,))
        failpoint("evict: after index")
        return True

    def _give_up(self, length: int) -> None:
        """Ask those who map the oldest files to let go of them."""
        with self._transaction():
            wanted = min(length, self._bytes_max) - (self._bytes_max - self._used())
            for file, used, given_up in self._database.execute(
                "SELECT file, used, given_up FROM files ORDER BY given_up DESC, file"
            ).fetchall():
                if wanted <= 0:
                    break
                wanted -= _in_blocks(used)
                if not given_up:
                    self._database.execute("DELETE FROM frames WHERE file = ?", (file,))
                    self._database.execute("UPDATE files SET given_up = 1 WHERE file = ?", (file,))
                    self._let_go(file)

    def _let_go(self, file: int) -> None:
        self._files.let_go(file)
        self._let_go_of_bodies(file)

    def _place(self, length: int) -> tuple[int, int]:
        """Return where a frame goes: behind the last one, or in a new file."""
        row = self._database.execute(
            "SELECT file, bytes, used FROM files WHERE NOT given_up ORDER BY file DESC LIMIT 1"
        ).fetchone()
        if row and row[2] + length <= row[1] and len(self._files.view(row[0]) or b"") == row[1]:
            file, position = row[0], row[2]
            self._database.execute("UPDATE files SET used = used + ? WHERE file = ?", (length, file))
            return file, position
        self._tidy()
        (last,) = self._database.execute("SELECT coalesce(max(file), 0) FROM files").fetchone()
        file, size = max([last, *self._files.listed()]) + 1, max(self._file_bytes, length)
        self._files.create(file, size)
        self._database.execute("INSERT INTO files(file, bytes, used) VALUES (?, ?, ?)", (file, size, length))
        if self._files.view(file) is None:
            raise LocalStorageError(f"{self._files.path(file)} was removed while it was in use")
        return file, 0

    def _tidy(self) -> None:
        """Bring index and files together where a crash or somebody's deleting has parted them."""
        known = {file for (file,) in self._database.execute("SELECT file FROM files").fetchall()}
        there = set(self._files.listed())
        for file in known - there:
            self._delete(file)
        for file in there - known:
            self._files.delete(file, self._let_go)

    def _body(self, file: int, position: int, pages: int) -> FrameBody | None:
        view = self._files.view(file)
        start = position + 4 * pages
        end = start + pages * self._page_size
        if view is None or end > len(view):
            return None
        return FrameBody(view[position:start].cast("I"), view[start:end], file)


def _length(frame: DecodedFrame) -> int:
    return 4 * len(frame.pages) + len(frame.body)


def _in_blocks(length: int) -> int:
    return -(-length // _BLOCK) * _BLOCK


def _digest(key: FrameKey, body: FrameBody) -> bytes:
    """Return the checksum of a frame as this very frame: a row that names another one's bytes must not pass."""
    digest = xxhash.xxh3_64(key.ref.segment.raw)
    digest.update(key.offset.to_bytes(8, "little"))
    digest.update(body.pages)
    digest.update(body.data)
    return digest.digest()
