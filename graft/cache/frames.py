"""Cached frames: adds, verifies and evicts frames through the index and the files of the cache.

Callers lock out other threads, and other processes by a transaction of the index. They translate the errors of
`sqlite3` and of the operating system.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import xxhash

from graft.cache.cleaning_plan import CachedFrame, FileUse, fitting, in_blocks, runs
from graft.cache.files import CacheFiles
from graft.cache.index import CacheIndex
from graft.errors import LocalStorageError
from graft.failpoints import failpoint
from graft.pagemap.frame_table import FrameBody, FrameKey
from pagestore.objectstore import Data
from pagestore.segments.format import DecodedFrame

_FILES_MIN, _FILES_MAX = 4, 256


class NoRoom(LocalStorageError):
    """All files that could be evicted are mapped by other processes."""


def file_bytes_for(wanted: int, bytes_max: int) -> int:
    """Return the size of a cache file, so that the budget holds several but not too many."""
    return max(min(wanted, bytes_max // _FILES_MIN), bytes_max // _FILES_MAX, 1)


class CachedFrames:
    """One process's view of the frames while it has the index open."""

    def __init__(
        self,
        directory: Path,
        index: CacheIndex,
        files: CacheFiles,
        page_size: int,
        *,
        bytes_max: int,
        file_bytes: int,
        on_release: Callable[[int], None],
    ) -> None:
        """Use ``directory``; ``on_release`` is called with files whose bodies must not be used any longer."""
        self.index = index
        self.page_size = page_size
        self.bytes_max = bytes_max
        self._files = files
        self._directory = directory
        self._file_bytes = file_bytes
        self._on_release = on_release

    def add(self, frames: Sequence[tuple[FrameKey, DecodedFrame]]) -> list[FrameBody]:
        """Append frames, as many at once as fit into a file, and unmap files that were given up; raises `NoRoom`."""
        bodies: list[FrameBody] = []
        lengths = [len(frame.body) for _, frame in frames]
        files = self.index.files()
        self.unmap_all_but(files)
        used, to_delete = sum(use.blocks for use in files), any(use.given_up for use in files)
        while (start := len(bodies)) < len(frames):
            if to_delete or used + in_blocks(lengths[start]) > self.bytes_max:
                used, to_delete = self.make_room(lengths[start]), False
            file, position = self.tail(lengths[start])
            room = len(self._files.view(file) or b"") - position
            count = fitting(lengths[start:], room, self.bytes_max - used)
            bodies += self._add_to(file, position, frames[start : start + count])
            used += sum(map(in_blocks, lengths[start : start + count]))  # an upper bound
        return bodies

    def _add_to(self, file: int, position: int, frames: Sequence[tuple[FrameKey, DecodedFrame]]) -> list[FrameBody]:
        """Write frames to a file one after the other, where they fit, and add them to the index."""
        self._files.write(file, (position, [frame.body for _, frame in frames]))
        view, rows, bodies = self._files.view(file), [], []
        assert view is not None, "BUG: a file that was just written is not mapped"
        for key, frame in frames:
            segment, end = key.ref.segment.raw, position + len(frame.body)
            listed = np.ascontiguousarray(frame.pages, "<u4").tobytes()
            digest = _digest_of_whole(segment, key.offset, listed, frame.body)
            rows.append(CachedFrame(segment, key.offset, file, position, listed, True, digest, end))
            bodies.append(FrameBody(memoryview(listed).cast("I"), view[position:end], file))
            position = end
        self.index.put(rows, sum(len(frame.body) for _, frame in frames))
        return bodies

    def write(self, frame: CachedFrame, parts: Sequence[tuple[int, memoryview]], taken: int) -> None:
        """Write the parts of a frame to its file, which take ``taken`` bytes of the disk, and add it to the index."""
        self._files.write(frame.file, *((position, [data]) for position, data in parts))
        body = self._body(frame)
        assert body is not None, "BUG: a frame that was just written is missing"
        self.index.put([replace(frame, digest=self._digest(frame, body))], taken)

    def verified(self, frame: CachedFrame) -> FrameBody | None:
        """Return a frame that the index names; if its checksum does not match, forget it and return None.

        A frame behind the used part of its file is forgotten too: the next frame would overwrite it while it is in use.
        A power cut may leave such rows.
        """
        body = self._body(frame)
        if body is not None and self._digest(frame, body) == frame.digest:
            end = frame.position + len(body.data)
            if end <= self.index.used(frame.file):
                return body
        self.index.forget([frame])
        return None

    def blocks(self) -> int:
        """Return the disk space of the files."""
        return sum(use.blocks for use in self.index.files())

    def tail(self, length: int, *, but: int = 0) -> tuple[int, int]:
        """Return a file with room for ``length`` bytes, and the end of its used part; creates a file if necessary."""
        newest = self.index.newest_file(but=but)
        fits = newest is not None and newest.used + length <= newest.bytes
        if newest and fits and len(self._files.view(newest.file) or b"") == newest.bytes:
            return newest.file, newest.used
        self.tidy()
        last = max((use.file for use in self.index.files()), default=0)
        file, size = max([last, *self._files.listed()]) + 1, max(self._file_bytes, length)
        self._files.create(file, size)
        self.index.add_file(file, size)
        if self._files.view(file) is None:
            raise LocalStorageError(f"{self._files.path(file)} was removed while it was in use")
        return file, 0

    def make_room(self, length: int) -> int:
        """Delete files that no other process maps until ``length`` bytes fit: given-up ones first, then the oldest.

        Returns the disk space in use afterwards; raises `NoRoom`.
        """
        files = self.index.files()
        used = sum(use.blocks for use in files)
        for use in sorted(files, key=lambda use: (not use.given_up, use.file)):
            if not use.given_up and used + in_blocks(length) <= self.bytes_max:
                return used
            if self.delete(use.file):
                used -= use.blocks
        if used + in_blocks(length) > self.bytes_max:
            raise NoRoom(
                f"{self._directory}: no room for {length} bytes within {self.bytes_max}; other processes map its files"
            )
        return used

    def give_up(self, length: int) -> None:
        """Mark the oldest files as given up, until ``length`` bytes will fit once they are unmapped."""
        files = self.index.files()
        wanted = min(length, self.bytes_max) - (self.bytes_max - sum(use.blocks for use in files))
        for use in sorted(files, key=lambda use: (not use.given_up, use.file)):
            if wanted <= 0:
                break
            wanted -= use.blocks
            if not use.given_up:
                self.give_up_file(use.file)

    def give_up_file(self, file: int) -> None:
        """Mark a file as given up, and unmap it here."""
        self.index.give_up(file)
        self.unmap(file)

    def delete(self, file: int) -> bool:
        """Delete a file unless another process maps it; return whether it is gone."""
        if not self._files.delete(file, self.unmap):
            return False
        self.index.forget_file(file)
        failpoint("evict: after index")
        return True

    def unmap(self, file: int) -> None:
        """Unmap a file, and release its bodies."""
        self._files.unmap(file)
        self._on_release(file)

    def unmap_all_but(self, files: Iterable[FileUse]) -> None:
        """Unmap every file that is not one of ``files``, or that is given up."""
        for file in set(self._files.mapped()) - {use.file for use in files if not use.given_up}:
            self.unmap(file)

    def tidy(self) -> None:
        """Delete files without an index row, and rows without a file, which a crash or a deletion may leave."""
        known, there = {use.file for use in self.index.files()}, set(self._files.listed())
        for file in known - there:
            self.delete(file)
        for file in there - known:
            self._files.delete(file, self.unmap)

    def _body(self, frame: CachedFrame) -> FrameBody | None:
        view = self._files.view(frame.file)
        end = frame.position + len(frame.pages) // 4 * self.page_size
        if view is None or end > len(view):
            return None
        listed = memoryview(frame.pages).cast("I")
        return FrameBody(listed, view[frame.position : end], frame.file, bool(frame.whole))

    def _digest(self, frame: CachedFrame, body: FrameBody) -> bytes:
        """Return the checksum over a frame's identity and bodies, so that a row cannot name another frame's bytes."""
        if body.whole:
            return _digest_of_whole(frame.segment, frame.offset, frame.pages, body.data)
        digest = xxhash.xxh3_64(_names(frame.segment, frame.offset, frame.pages) + b"thinned")
        for start, end in runs(frame.listed):
            digest.update(body.data[start * self.page_size : end * self.page_size])
        return digest.digest()


def _digest_of_whole(segment: bytes, offset: int, pages: bytes, data: Data) -> bytes:
    digest = xxhash.xxh3_64(_names(segment, offset, pages))
    digest.update(data)
    return digest.digest()


def _names(segment: bytes, offset: int, pages: bytes) -> bytes:
    return segment + offset.to_bytes(8, "little") + pages
