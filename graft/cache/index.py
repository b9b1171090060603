"""The cache's index: the place of each frame, and how much of each file is used and live. One SQLite database.

It is committed without syncing. Callers lock between threads; the errors of `sqlite3` pass through.

    files    file · bytes: its size · used: where the next frame goes · taken: space on the disk, without holes
             live: live bytes, as of the last survey · given_up: whether processes that map it should unmap it
    frames   segment, offset: its identity · file, position · pages: the page list · whole · digest
    survey   futile: the excess at which the last survey found nothing to free, else 0
"""

import os
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from graft.cache.cleaning_plan import CachedFrame, FileUse
from graft.disk.sqlite import abandon, opened, shrink, write_transaction
from graft.errors import Corrupt

_SCHEMA = """
DROP TABLE IF EXISTS files;
DROP TABLE IF EXISTS frames;
CREATE TABLE files(
    file INTEGER PRIMARY KEY, bytes INTEGER NOT NULL, used INTEGER NOT NULL DEFAULT 0,
    taken INTEGER NOT NULL DEFAULT 0, live INTEGER NOT NULL DEFAULT 0, given_up INTEGER NOT NULL DEFAULT 0);
CREATE TABLE frames(
    segment BLOB, offset INTEGER, file INTEGER NOT NULL, position INTEGER NOT NULL, pages BLOB NOT NULL,
    whole INTEGER NOT NULL, digest BLOB NOT NULL, PRIMARY KEY (segment, offset)) WITHOUT ROWID;
CREATE INDEX frames_by_file ON frames(file);
DROP TABLE IF EXISTS survey;
CREATE TABLE survey(futile INTEGER NOT NULL);
INSERT INTO survey VALUES (0);
"""
_VERSION = 3
_FRAME = "SELECT segment, offset, file, position, pages, whole, digest FROM frames WHERE"
_ASKED_AT_ONCE = 500
"""Some builds of SQLite take 999 parameters at most."""
_FILE = "SELECT file, bytes, used, taken, live, given_up FROM files"


class CacheIndex:
    """One process's connection to the index."""

    def __init__(self, path: Path) -> None:
        """Open the database, which is created if absent."""
        self._path = path
        self._database = opened(path, _SCHEMA, _VERSION, synchronous="OFF")
        self._inode = path.stat().st_ino
        self._wal: int | None = None
        """A descriptor of the WAL; SQLite holds no locks on that file that closing it would release."""

    def is_there(self) -> bool:
        """Return whether the database file is still at its path."""
        try:
            return self._path.stat().st_ino == self._inode
        except FileNotFoundError:
            return False

    def changed_at(self) -> tuple[int, int] | None:
        """Return a value that every commit of any process changes, except one within the same tick of the clock.

        None while there is no WAL: SQLite makes one when it needs it.
        """
        if self._wal is None:
            try:
                self._wal = os.open(f"{self._path}-wal", os.O_RDONLY | os.O_CLOEXEC)
            except OSError:  # absent, or no descriptor is available
                return None
        wal = os.fstat(self._wal)
        return wal.st_mtime_ns, wal.st_size

    def transaction(self) -> AbstractContextManager[None]:
        """Make the changes of a block visible at once, or not at all; no other process writes meanwhile."""
        return write_transaction(self._database)

    def frame(self, segment: bytes, offset: int) -> CachedFrame | None:
        """Return the frame at an offset of a segment."""
        row = self._database.execute(f"{_FRAME} segment = ? AND offset = ?", (segment, offset)).fetchone()
        if row and row[:2] != (segment, offset):  # rows of torn pages are out of order, so a search may end anywhere
            raise Corrupt(f"the cache's index is damaged: frame {row[:4]} instead of {segment!r}, {offset}")
        return _frame(row) if row else None

    def named(self, segment: bytes, offsets: Sequence[int]) -> set[int]:
        """Return which of these offsets in a segment have a frame in the index."""
        found: set[int] = set()
        for start in range(0, len(offsets), _ASKED_AT_ONCE):
            asked = offsets[start : start + _ASKED_AT_ONCE]
            places = ",".join("?" * len(asked))
            query = f"SELECT offset FROM frames WHERE segment = ? AND offset IN ({places})"  # noqa: S608 - only marks
            rows = self._database.execute(query, (segment, *asked))
            found.update({offset for (offset,) in rows}.intersection(asked))  # a damaged index may return anything
        return found

    def offsets(self, segment: bytes, count_max: int) -> set[int] | None:
        """Return the offsets in a segment that have a frame in the index; None if there are more than ``count_max``."""
        query = "SELECT offset FROM frames WHERE segment = ? LIMIT ?"
        found = {offset for (offset,) in self._database.execute(query, (segment, count_max + 1))}
        return found if len(found) <= count_max else None

    def frames_in(self, file: int) -> list[CachedFrame]:
        """Return the frames of a file by position."""
        rows = self._database.execute(f"{_FRAME} file = ? ORDER BY position", (file,)).fetchall()
        return [_frame(row) for row in rows]

    def put(self, frames: Sequence[CachedFrame], taken: int) -> None:
        """Add frames that were appended to a file in this order; they take ``taken`` bytes of the disk, all live."""
        self._database.executemany(
            "INSERT OR REPLACE INTO frames(segment, offset, file, position, pages, whole, digest) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            ((f.segment, f.offset, f.file, f.position, f.pages, f.whole, f.digest) for f in frames),
        )
        updated = self._database.execute(
            "UPDATE files SET used = ?, taken = taken + ?, live = live + ? WHERE file = ?",
            (frames[-1].end, taken, taken, frames[-1].file),
        )
        if updated.rowcount != 1:  # the next frame would overwrite this one
            raise Corrupt(f"the cache's index is damaged: file {frames[-1].file} is missing")

    def forget(self, frames: Iterable[CachedFrame]) -> None:
        """Remove frames."""
        self._database.executemany(
            "DELETE FROM frames WHERE segment = ? AND offset = ?", ((frame.segment, frame.offset) for frame in frames)
        )

    def count(self) -> tuple[int, int]:
        """Return the numbers of frames and pages."""
        frames = pages = 0
        for row in self._database.execute(f"{_FRAME} TRUE"):
            frame = _frame(row)
            frames += 1
            pages += len(frame.pages) // 4 if frame.whole else sum(map(bool, memoryview(frame.pages).cast("I")))
        return frames, pages

    def files(self) -> Sequence[FileUse]:
        """Return all files, oldest first."""
        return [_file(row) for row in self._database.execute(f"{_FILE} ORDER BY file").fetchall()]

    def used(self, file: int) -> int:
        """Return where the next frame of a file goes; 0 if the file is not in the index."""
        found = self._named("?", file)
        return found.used if found else 0

    def newest_file(self, *, but: int) -> FileUse | None:
        """Return the newest file that is not given up, other than ``but``."""
        # By its number, as `put` and `used` do: if rows are out of order, a scan may find another file.
        return self._named("(SELECT max(file) FROM files WHERE NOT given_up AND file != ?)", but)

    def add_file(self, file: int, size: int) -> None:
        """Add a new file."""
        self._database.execute("INSERT INTO files(file, bytes) VALUES (?, ?)", (file, size))

    def give_up(self, file: int) -> None:
        """Remove the frames of a file, and mark it so that all processes unmap it."""
        self._database.execute("DELETE FROM frames WHERE file = ?", (file,))
        self._database.execute("UPDATE files SET given_up = 1, live = 0 WHERE file = ?", (file,))

    def forget_file(self, file: int) -> None:
        """Remove a deleted file and its frames."""
        self._database.execute("DELETE FROM frames WHERE file = ?", (file,))
        self._database.execute("DELETE FROM files WHERE file = ?", (file,))

    def moved_out(self, file: int, taken: int) -> None:
        """Subtract ``taken`` bytes from the live bytes of a file, since they were copied elsewhere."""
        self._database.execute("UPDATE files SET live = max(0, live - ?) WHERE file = ?", (taken, file))

    def set_live(self, file: int, live: int) -> None:
        """Store the live bytes of a file."""
        self._database.execute("UPDATE files SET live = ? WHERE file = ?", (live, file))

    @property
    def futile(self) -> int:
        """The excess at which the last survey found nothing to free, else 0."""
        rows = self._database.execute("SELECT futile FROM survey").fetchall()
        return rows[0][0] if len(rows) == 1 and isinstance(rows[0][0], int) else 0

    def surveyed(self, futile: int) -> None:
        """Store the result of a survey: the excess if it found nothing to free, else 0."""
        self._database.execute("UPDATE survey SET futile = ?", (futile,))

    def shrink(self) -> None:
        """Shrink the database, unless another process is using it."""
        shrink(self._database)

    def abandon(self) -> None:
        """Neither use the connection again nor close it: after a fork it belongs to the parent."""
        abandon(self._database)
        self._close_wal()

    def close(self) -> None:
        """Close the connection."""
        self._database.close()
        self._close_wal()

    def _close_wal(self) -> None:
        if self._wal is not None:
            os.close(self._wal)
            self._wal = None

    def _named(self, number: str, parameter: int) -> FileUse | None:
        """Return the file whose number an SQL expression with one parameter yields."""
        row = self._database.execute(f"{_FILE} WHERE file = {number}", (parameter,)).fetchone()
        return _file(row) if row else None


_FRAME_TYPES = (bytes, int, int, int, bytes, int, bytes)


def _frame(row: tuple[Any, ...]) -> CachedFrame:
    """Return a row of `frames`; raises `Corrupt` for values that only damage can cause, such as a power cut's."""
    frame = CachedFrame(*row)
    if not all(map(isinstance, row, _FRAME_TYPES)) or len(frame.pages) % 4 or min(frame.position, frame.offset) < 0:
        raise Corrupt(f"the cache's index is damaged: frame {row[:4]}")
    return frame


def _file(row: tuple[Any, ...]) -> FileUse:
    """Return a row of `files`; raises `Corrupt` for values that only damage can cause."""
    if not all(isinstance(value, int) and value >= 0 for value in row):
        raise Corrupt(f"the cache's index is damaged: file {row}")
    return FileUse(*row)
