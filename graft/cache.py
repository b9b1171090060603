"""The cache of frames: disposable, bounded, checksummed, shared by all processes on a replica.

    cache/index.db        which frame is where, with its checksum
    cache/00000001.frames page lists and bodies, one frame after the other, mapped whole

Deleting the directory between runs loses nothing; what fails its checksum is as good as absent. Files are evicted
whole, oldest first. The index is committed without syncing: after a power cut it may name bytes that never reached
the disk, which their checksum shows, or be damaged itself: then the next process that is alone begins anew.

Invariant: a file's name is used for one file only while anybody has the replica open, so that what is mapped never
changes under its readers.
"""

import contextlib
import mmap
import os
import shutil
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xxhash

from graft.errors import Corrupt, LocalStorageError, local_errors
from graft.frametable import FrameBody, FrameKey
from graft.journal_files import write_all
from graft.sqlite import abandon, database_errors, opened
from pagestore.segment import DecodedFrame

_SCHEMA = """
CREATE TABLE IF NOT EXISTS files(file INTEGER PRIMARY KEY, bytes INTEGER NOT NULL, used INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS frames(
    segment BLOB, offset INTEGER, file INTEGER NOT NULL, position INTEGER NOT NULL, pages INTEGER NOT NULL,
    digest BLOB NOT NULL, PRIMARY KEY (segment, offset)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS frames_by_file ON frames(file);
"""
_VERSION = 1
_DAMAGED = "damaged"


@dataclass(frozen=True, slots=True)
class CacheUse:
    """What the cache holds."""

    frames: int
    pages: int
    bytes: int


class Cache:
    """One process's view of the cache; safe for threads.

    Raises `LocalStorageError`, `DiskFull`, `Corrupt` and `WriterBusy` where it cannot do its work; its callers do
    without it then.
    """

    def __init__(self, directory: Path, page_size: int, *, bytes_max: int, file_bytes: int, alone: bool) -> None:
        """Use ``directory``, created if absent.

        One who is ``alone`` throws an index that is damaged away with all it indexed; others do without the cache.
        """
        self._directory = directory
        self._page_size = page_size
        self._bytes_max = bytes_max
        self._file_bytes = min(file_bytes, max(bytes_max // 4, 1))
        self._lock = threading.RLock()  # guards the connection and the mapped files
        self._mapped: dict[int, memoryview] = {}
        self._usable: sqlite3.Connection | None = None
        if alone and (directory / _DAMAGED).exists():
            shutil.rmtree(directory, ignore_errors=True)
        try:
            self._usable = self._opened()
        except Corrupt:
            if alone:
                shutil.rmtree(directory, ignore_errors=True)
                self._usable = self._opened()

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
            if body is None or _digest(body) != digest:
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

    def put(self, frames: Sequence[tuple[FrameKey, DecodedFrame]]) -> list[FrameBody]:
        """Add verified frames and return them as bodies in the cache's files."""
        bodies = []
        with self._working("writing to"):
            self._database.execute("BEGIN IMMEDIATE")
            try:
                for key, frame in frames:
                    bodies.append(self._put_one(key, frame))
                self._database.execute("COMMIT")
            except BaseException:
                self._mapped.clear()  # files that were made just now are forgotten again
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise
        return bodies

    def evict(self) -> list[int]:
        """Delete the oldest files until the budget holds; return the numbers of those that this or another process
        deleted, and that are not mapped any more.
        """
        with self._working("emptying"):
            while True:
                rows = self._database.execute("SELECT file, used FROM files ORDER BY file").fetchall()
                if len(rows) < 2 or sum(used for _, used in rows) <= self._bytes_max:
                    break
                self._delete(rows[0][0])
            gone = sorted(self._mapped.keys() - {file for file, _ in rows})
            for file in gone:
                del self._mapped[file]
            return gone

    def use(self) -> CacheUse:
        """Count what is there."""
        with self._working("reading"):
            frames, pages = self._database.execute("SELECT count(*), coalesce(sum(pages), 0) FROM frames").fetchone()
            (used,) = self._database.execute("SELECT coalesce(sum(used), 0) FROM files").fetchone()
            return CacheUse(frames, pages, used)

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
            self._mapped.clear()

    @property
    def _database(self) -> sqlite3.Connection:
        if self._usable is None:
            raise LocalStorageError(f"the cache in {self._directory} is not usable in this process")
        return self._usable

    def _opened(self) -> sqlite3.Connection:
        with local_errors(f"creating {self._directory}"), database_errors(f"opening {self._directory}"):
            self._directory.mkdir(exist_ok=True)
            return opened(self._directory / "index.db", _SCHEMA, _VERSION, synchronous="OFF")

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

    def _delete(self, file: int) -> None:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            self._database.execute("DELETE FROM frames WHERE file = ?", (file,))
            self._database.execute("DELETE FROM files WHERE file = ?", (file,))
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise
        self._path(file).unlink(missing_ok=True)

    def _put_one(self, key: FrameKey, frame: DecodedFrame) -> FrameBody:
        listed = np.ascontiguousarray(frame.pages, "<u4").tobytes()
        length = len(listed) + len(frame.body)
        file, position = self._room_for(length)
        if self._view(file) is None:
            raise LocalStorageError(f"{self._path(file)} was removed while it was in use")
        descriptor = os.open(self._path(file), os.O_WRONLY | os.O_CLOEXEC)
        try:
            write_all(descriptor, [listed, frame.body], position)
        finally:
            os.close(descriptor)
        body = self._body(file, position, len(frame.pages))
        assert body is not None, "BUG: a frame that was just written is there"
        self._database.execute(
            "INSERT OR REPLACE INTO frames VALUES (?, ?, ?, ?, ?, ?)",
            (key.ref.segment.raw, key.offset, file, position, len(frame.pages), _digest(body)),
        )
        return body

    def _room_for(self, length: int) -> tuple[int, int]:
        row = self._database.execute("SELECT file, bytes, used FROM files ORDER BY file DESC LIMIT 1").fetchone()
        if row and row[2] + length <= row[1]:
            file, position = row[0], row[2]
            self._database.execute("UPDATE files SET used = used + ? WHERE file = ?", (length, file))
            return file, position
        file, size = (row[0] + 1 if row else 1), max(self._file_bytes, length)
        while self._path(file).exists():  # left by one who could not note it; some reader may still map it
            file += 1
        descriptor = os.open(self._path(file), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            os.ftruncate(descriptor, size)
        finally:
            os.close(descriptor)
        self._database.execute("INSERT INTO files VALUES (?, ?, ?)", (file, size, length))
        return file, 0

    def _path(self, file: int) -> Path:
        return self._directory / f"{file:08d}.frames"

    def _view(self, file: int) -> memoryview | None:
        view = self._mapped.get(file)
        if view is None:
            try:
                descriptor = os.open(self._path(file), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return None
            try:
                view = memoryview(mmap.mmap(descriptor, 0, prot=mmap.PROT_READ))
            finally:
                os.close(descriptor)
            self._mapped[file] = view
        return view

    def _body(self, file: int, position: int, pages: int) -> FrameBody | None:
        view = self._view(file)
        start = position + 4 * pages
        end = start + pages * self._page_size
        if view is None or end > len(view):
            return None
        return FrameBody(view[position:start].cast("I"), view[start:end], file)


def _digest(body: FrameBody) -> bytes:
    digest = xxhash.xxh3_64(body.pages)
    digest.update(body.data)
    return digest.digest()
