"""The cache of frames: disposable, bounded, checksummed, shared by all processes on a replica.

    cache/index.db          which frame is where, with its checksum    (graft.cache_index)
    cache/00000001.frames   bodies, one frame after the other          (graft.cache_files)

Deleting the directory loses nothing; what fails its checksum is as good as absent. Files are evicted whole, oldest
first. The index is committed without syncing: after a power cut it may name bytes that never reached the disk, or
mix rows, which their checksums show, since they cover what frame it is; or be damaged itself: then the next process
that is alone begins anew.

Invariants: the files take no more than the budget, before and after each frame that is added, those included that are
given up and that somebody still maps; nothing that is mapped ever changes; a file that the index does not name, or
that it names and that is not there, is tidied away by the next one who makes a file.

A page that the newest version has elsewhere is of no use any more. When such pages are more than a small part of all,
those that are of use are copied out of the file with the fewest of them, and it is deleted like an evicted one
(`graft.thinning`): work in proportion to what was added, a bounded piece of it at a time. Holes are not punched into
files: somebody may map them, and would read zeros.

What another process maps keeps its disk space. It is not evicted, but given up: its mappers let go of it when they
look next (`graft.bodies.BodyLoader.evict`), and until then there is less room.
"""

import contextlib
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xxhash

from graft.cache_files import CacheFiles
from graft.cache_index import CacheIndex
from graft.errors import Corrupt, LocalStorageError, local_errors
from graft.failpoints import failpoint
from graft.frametable import FrameBody, FrameKey
from graft.liveness import LiveJudge
from graft.sqlite import database_errors
from graft.thinning import (
    BLOCK,
    CachedFrame,
    FileUse,
    Listed,
    in_blocks,
    place,
    runs,
    survey_is_due,
    taken_bytes,
    thinned,
    too_much,
    victim,
)
from pagestore.segment import DecodedFrame

_DAMAGED = "damaged"
_FILES_MIN, _FILES_MAX = 4, 256


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
        self._lock = threading.RLock()  # guards the index and the files
        self._files = CacheFiles(directory)
        self._usable: CacheIndex | None = None
        self.grew = False
        """Whether anything was put in from here."""
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
        """Return a frame whose checksum was just verified, None when it is not there; some pages may be lacking."""
        with self._working("reading"):
            frame = self._index.frame(key.ref.segment.raw, key.offset)
            return self._verified(frame) if frame else None

    def has(self, keys: Iterable[FrameKey]) -> set[FrameKey]:
        """Return those of the frames that the index names, with all pages or some."""
        with self._working("reading"):
            return {key for key in keys if self._index.frame(key.ref.segment.raw, key.offset)}

    def maps(self, file: int) -> bool:
        """Tell whether bodies in a file may be held; once they may not, `let_go` was called, or is about to be."""
        return self._files.maps(file)

    def put(self, frames: Sequence[tuple[FrameKey, DecodedFrame]]) -> list[FrameBody]:
        """Add verified frames and return them as bodies in the cache's files.

        Another thread may evict them at once: look at `maps` when they are where they are to be.
        """
        with self._working("writing to"):
            self._reopen_if_removed()
            self.grew = True
            try:
                with self._index.transaction():
                    bodies = self._put_all(frames)
            except _NoRoom:
                self._give_up(sum(in_blocks(len(frame.body)) for _, frame in frames))
                raise
            failpoint("cache: after index")
            return bodies

    def evict(self) -> None:
        """Hold the cache to its budget, and let go of what others want to have evicted."""
        with self._working("emptying"):
            self._reopen_if_removed()
            files = self._index.files()
            for file in set(self._files.mapped()) - {use.file for use in files if not use.given_up}:
                self._let_go(file)
            if any(use.given_up for use in files) or _blocks(files) > self._bytes_max:
                try:
                    with self._index.transaction():
                        self._make_room(0)
                except _NoRoom:
                    self._give_up(0)

    def thin(self, live: LiveJudge, *, live_bytes: int, slack: int, bytes_max: int) -> bool:
        """Let go of pages that are of no use, copying so many bytes of others at most; tell if there is more to do.

        ``live_bytes`` is what all pages of the newest version take: when all is done, the files take one in ``slack``
        bytes more at most. The caller sees to it that no frame is put in meanwhile that ``live`` does not know of.
        """
        with self._working("thinning"):
            self._reopen_if_removed()
            files = self._index.files()
            due = survey_is_due(too_much(files, live_bytes), self._index.futile, live_bytes, slack)
            if not due and not victim(files, self._page_size, slack):
                return False
            with self._index.transaction():
                found = self._victim(live, live_bytes, slack)
                room = self._bytes_max - _blocks(self._index.files())
                if found is None or in_blocks(found.live) > room:
                    return False
                emptied, moved = self._thin(found.file, live, min(bytes_max, room))
            failpoint("thinning: after index")
            if emptied:
                self._remove(found.file)
                failpoint("thinning: after file")
            return emptied or moved > 0

    def shrink(self) -> None:
        """Make the index as small as it can be, if nobody is in the way."""
        with self._working("shrinking"):
            self._index.shrink()

    def use(self) -> CacheUse:
        """Count what is there; nothing of an index that is damaged is."""
        with contextlib.suppress(Corrupt), self._working("reading"):
            return CacheUse(*self._index.count(), _blocks(self._index.files()))
        return CacheUse(0, 0, 0)

    def disown(self) -> None:
        """Leave the index to the process that this one was forked from, and do without."""
        self._lock = threading.RLock()
        if self._usable is not None:
            self._usable.abandon()
        self._usable = None

    def close(self) -> None:
        """Let go of the index and the files."""
        with self._lock:
            if self._usable is not None:
                self._usable.close()
            self._usable = None
            self._files.let_go_of_all()

    @property
    def _index(self) -> CacheIndex:
        if self._usable is None:
            raise LocalStorageError(f"the cache in {self._directory} is not usable in this process")
        return self._usable

    def _opened(self) -> CacheIndex:
        with local_errors(f"creating {self._directory}"), database_errors(f"opening {self._directory}"):
            self._directory.mkdir(exist_ok=True)
            return CacheIndex(self._directory / "index.db")

    def _reopen_if_removed(self) -> None:
        """Begin anew where somebody deleted the directory: what is written there must not mix with another's files."""
        if self._usable is None or self._usable.is_there():
            return
        self._usable.close()
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

    def _put_all(self, frames: Sequence[tuple[FrameKey, DecodedFrame]]) -> list[FrameBody]:
        bodies = []
        used = _blocks(self._index.files())
        for key, frame in frames:
            length = len(frame.body)
            if used + in_blocks(length) > self._bytes_max:
                used = self._make_room(length)
            file, position = self._tail(length)
            self._files.write(file, (position, frame.body))
            listed = np.ascontiguousarray(frame.pages, "<u4").tobytes()
            placed = CachedFrame(key.ref.segment.raw, key.offset, file, position, listed, True, b"", position + length)
            bodies.append(self._named(placed, length))
            used += in_blocks(length)  # or less
        return bodies

    def _named(self, frame: CachedFrame, taken: int) -> FrameBody:
        """Put a frame that was just written into the index."""
        body = self._body(frame)
        assert body is not None, "BUG: a frame that was just written is there"
        self._index.put(replace(frame, digest=self._digest(frame, body)), taken)
        return body

    def _verified(self, frame: CachedFrame) -> FrameBody | None:
        """Return a frame that the index names; what is not as it says is forgotten."""
        body = self._body(frame)
        if body is not None and self._digest(frame, body) == frame.digest:
            return body
        self._index.forget([frame])
        return None

    def _victim(self, live: LiveJudge, live_bytes: int, slack: int) -> FileUse | None:
        """Return the file to thin, if there is one; where that is not known, look what is of use."""
        files = self._index.files()
        found, excess = victim(files, self._page_size, slack), too_much(files, live_bytes)
        if found or not survey_is_due(excess, self._index.futile, live_bytes, slack):
            return found
        for use in files:
            self._survey(use.file, live)
        found = victim(self._index.files(), self._page_size, slack)
        self._index.surveyed(0 if found else excess)
        return found

    def _survey(self, file: int, live: LiveJudge) -> None:
        """Find out what of a file is of use, and forget frames of which nothing is."""
        frames, useless, count = self._index.frames_in(file), [], 0
        for frame, mask in zip(frames, live(frames), strict=True):
            if mask.all():
                count += len(mask) * self._page_size
            elif mask.any():
                count += taken_bytes(np.where(mask, frame.listed, 0), self._page_size)
            else:
                useless.append(frame)
        self._index.forget(useless)
        self._index.set_live(file, count)

    def _thin(self, file: int, live: LiveJudge, bytes_max: int) -> tuple[bool, int]:
        """Move what is of use out of a file, so many bytes at most; tell whether that was all, and how much it was."""
        frames, moved = self._index.frames_in(file), 0
        for frame, mask in zip(frames, live(frames), strict=True):
            kept = thinned(frame.listed, mask)
            if moved + taken_bytes(kept, self._page_size) > bytes_max:
                return False, moved
            moved += self._move(frame, kept)
        return True, moved

    def _move(self, frame: CachedFrame, kept: Listed) -> int:
        """Copy the pages of a frame that are to be kept behind what is used, and name it there; return their bytes."""
        old = self._verified(frame) if len(kept) else None
        if old is None:
            self._index.forget([frame])
            return 0
        size = self._page_size
        file, used = self._tail(len(kept) * size + BLOCK, but=frame.file)
        position = place(kept, size, used)
        self._files.write(
            file, *((position + start * size, old.data[start * size : end * size]) for start, end in runs(kept))
        )
        whole = frame.whole and len(kept) == len(old.pages) and bool(kept.all())
        end, taken = position + len(kept) * size, taken_bytes(kept, size)
        self._named(CachedFrame(frame.segment, frame.offset, file, position, kept.tobytes(), whole, b"", end), taken)
        self._index.moved_out(frame.file, taken)
        return taken

    def _remove(self, file: int) -> None:
        """Delete a file of which nothing is of use, or have others let go of it first."""
        with self._index.transaction():
            if not self._delete(file):
                self._index.give_up(file)
                self._let_go(file)

    def _make_room(self, length: int) -> int:
        """Delete files that nobody else maps, those that were given up and then the oldest ones, until there is room.

        Returns how much is used then.
        """
        files = self._index.files()
        used = _blocks(files)
        for use in sorted(files, key=lambda use: (not use.given_up, use.file)):
            if not use.given_up and used + in_blocks(length) <= self._bytes_max:
                return used
            if self._delete(use.file):
                used -= use.blocks
        if used + in_blocks(length) > self._bytes_max:
            raise _NoRoom(f"{self._directory}: {length} bytes are too much, or other processes still use what is there")
        return used

    def _delete(self, file: int) -> bool:
        if not self._files.delete(file, self._let_go):
            return False
        self._index.forget_file(file)
        failpoint("evict: after index")
        return True

    def _give_up(self, length: int) -> None:
        """Ask those who map the oldest files to let go of them."""
        with self._index.transaction():
            files = self._index.files()
            wanted = min(length, self._bytes_max) - (self._bytes_max - _blocks(files))
            for use in sorted(files, key=lambda use: (not use.given_up, use.file)):
                if wanted <= 0:
                    break
                wanted -= use.blocks
                if not use.given_up:
                    self._index.give_up(use.file)
                    self._let_go(use.file)

    def _let_go(self, file: int) -> None:
        self._files.let_go(file)
        self._let_go_of_bodies(file)

    def _tail(self, length: int, *, but: int = 0) -> tuple[int, int]:
        """Return a file that has room for so many bytes, and where they go: behind what is used of it."""
        newest = self._index.newest_file(but=but)
        fits = newest is not None and newest.used + length <= newest.bytes
        if newest and fits and len(self._files.view(newest.file) or b"") == newest.bytes:
            return newest.file, newest.used
        self._tidy()
        last = max((use.file for use in self._index.files()), default=0)
        file, size = max([last, *self._files.listed()]) + 1, max(self._file_bytes, length)
        self._files.create(file, size)
        self._index.add_file(file, size)
        if self._files.view(file) is None:
            raise LocalStorageError(f"{self._files.path(file)} was removed while it was in use")
        return file, 0

    def _tidy(self) -> None:
        """Bring index and files together where a crash or somebody's deleting has parted them."""
        known, there = {use.file for use in self._index.files()}, set(self._files.listed())
        for file in known - there:
            self._delete(file)
        for file in there - known:
            self._files.delete(file, self._let_go)

    def _body(self, frame: CachedFrame) -> FrameBody | None:
        view = self._files.view(frame.file)
        end = frame.position + len(frame.pages) // 4 * self._page_size
        if view is None or end > len(view):
            return None
        listed = memoryview(frame.pages).cast("I")
        return FrameBody(listed, view[frame.position : end], frame.file, bool(frame.whole))

    def _digest(self, frame: CachedFrame, body: FrameBody) -> bytes:
        """Return the checksum of a frame as this very frame: a row that names another one's bytes must not pass."""
        digest = xxhash.xxh3_64(frame.segment)
        digest.update(frame.offset.to_bytes(8, "little"))
        digest.update(body.pages)
        if body.whole:
            digest.update(body.data)
        else:
            digest.update(b"thinned")
            for start, end in runs(frame.listed):
                digest.update(body.data[start * self._page_size : end * self._page_size])
        return digest.digest()


def _blocks(files: Iterable[FileUse]) -> int:
    """Return what files take on the disk."""
    return sum(use.blocks for use in files)
