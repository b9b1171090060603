"""The cache of frames: disposable, bounded, checksummed, shared by all processes on a replica.

    cache/index.db          the place and the checksum of each frame   (graft.cache.index)
    cache/00000001.frames   bodies, one frame after the other          (graft.cache.files)

`graft.cache.frames` combines the two. This module adds locking between threads, recovery, and the translation of
errors.

Deleting the directory loses nothing. A frame that fails its checksum counts as absent. Files are evicted whole, oldest
first. The index is committed without syncing, so a power cut can leave it wrong in three ways. It may name bytes that
never reached the disk, or mix rows: the checksums show that, since they cover the frame's identity. It may name frames
behind the point where the next one goes: they count as absent. Or the database itself is damaged: then the next process
that opens the replica alone starts an empty cache.

Invariants: before and after each addition the files take no more disk space than the budget, including files that are
given up but still mapped. Mapped bytes never change. The next process that makes a file deletes each file that the
index does not name, and each row whose file is missing.

A page is dead once the newest version has it elsewhere. When dead pages are more than a small part of the cache, the
live pages of the file with the most dead ones are copied to another file, and the file is deleted
(`graft.cache.cleaner`). The work is proportional to what was added, and done in bounded steps. Holes are not punched
into files, since another process may map them and would read zeros.

A file that another process maps occupies disk space even after deletion. So it is not evicted, but marked as given up:
the other processes unmap it on their next call of `graft.reading.body_loader.BodyLoader.evict`. Until then less room is
available.
"""

import contextlib
import shutil
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from graft.cache.cleaner import file_to_clean, move_out
from graft.cache.cleaning_plan import LiveJudge, in_blocks, survey_is_due, too_much, victim
from graft.cache.files import CacheFiles
from graft.cache.frames import CachedFrames, NoRoom, file_bytes_for
from graft.cache.index import CacheIndex
from graft.disk.sqlite import database_errors
from graft.errors import Corrupt, LimitReached, LocalStorageError, local_errors
from graft.failpoints import failpoint
from graft.pagemap.frame_table import FrameBody, FrameKey
from metastore.placement import OwnObject
from pagestore.ownership import make_directory
from pagestore.segments.format import DecodedFrame

_DAMAGED = "damaged"
_NAMED_MAX = 1000
"""The offsets of a segment's frames are held in memory if there are at most this many."""


@dataclass(frozen=True, slots=True)
class CacheUse:
    """How much the cache holds."""

    frames: int
    pages: int
    bytes: int
    """Disk space, including files that are given up and still mapped."""


class Cache:
    """One process's view of the cache; safe for threads.

    Methods raise `LocalStorageError`, `DiskFull`, `Corrupt` or `WriterBusy` when the cache cannot be used; callers then
    work without it.
    """

    def __init__(
        self,
        directory: Path,
        page_size: int,
        *,
        bytes_max: int,
        file_bytes: int,
        alone: bool,
        on_release: Callable[[int], None],
        still_there: Callable[[], bool] = lambda: True,
        frozen: bool = False,
    ) -> None:
        """Use ``directory``, created if absent.

        ``on_release`` is called with each file whose bodies must not be used any longer. If the directory is removed,
        it is created again as long as ``still_there`` returns true. If the index is damaged, a process that is
        ``alone`` deletes the whole cache; other processes work without it. A ``frozen`` cache is only read: methods
        that would change its files raise `LocalStorageError`.
        """
        self._directory = directory
        self._page_size = page_size
        self._frozen = frozen
        self._bytes_max = bytes_max
        self._file_bytes = file_bytes_for(file_bytes, bytes_max)
        self._on_release = on_release
        self._still_there = still_there
        self._lock = threading.RLock()  # guards the index and the files
        self._files = CacheFiles(directory)
        self._usable: CachedFrames | None = None
        self._named: dict[bytes, set[int] | None] = {}
        """See `_named_in`; as of `_named_at`."""
        self._named_at: tuple[int, int] | None = None
        self.grew = False
        """Whether this process has added anything."""
        if alone and (directory / _DAMAGED).exists():
            shutil.rmtree(directory, ignore_errors=True)
        self._closed = False
        with contextlib.suppress(LocalStorageError, LimitReached):  # such as a full disk: the next `put` tries again
            try:
                self._usable = self._opened()
            except Corrupt:
                if alone:
                    shutil.rmtree(directory, ignore_errors=True)
                    self._usable = self._opened()

    @property
    def batch_bytes(self) -> int:
        """Most bytes to put at once, so that no part of the batch is evicted for another."""
        return self._file_bytes

    def lacks(self, key: FrameKey) -> bool:
        """Return whether a frame is known to be absent, usually without a query to the index.

        May miss a frame that another process added within the current tick of the system's clock.
        """
        if not isinstance(key.ref.home, OwnObject):
            return False  # its segment has few frames: querying all of them is no cheaper than querying one
        with self._lock:
            named = self._named_in(key.ref.segment.raw)
            return named is not None and key.offset not in named

    def get(self, key: FrameKey) -> FrameBody | None:
        """Return a frame after verifying its checksum, None if it is absent; it may lack some pages."""
        with self._working("reading"):
            frame = self._frames.index.frame(key.ref.segment.raw, key.offset)
            return self._frames.verified(frame) if frame else None

    def has(self, keys: Iterable[FrameKey]) -> set[FrameKey]:
        """Return which of the frames the index names, with all of their pages or some."""
        by_segment: defaultdict[bytes, dict[int, FrameKey]] = defaultdict(dict)
        for key in keys:
            by_segment[key.ref.segment.raw][key.offset] = key
        with self._working("reading"):
            return {
                wanted[offset]
                for segment, wanted in by_segment.items()
                for offset in self._frames.index.named(segment, list(wanted))
            }

    def maps(self, file: int) -> bool:
        """Return whether bodies in a file may be used; if not, `on_release` was called or is about to be."""
        return self._files.maps(file)

    def put(self, frames: Sequence[tuple[FrameKey, DecodedFrame]]) -> list[FrameBody]:
        """Add verified frames and return them as bodies in the cache's files; unmap files that were given up.

        Another thread may evict them at once: check `maps` after storing the bodies.
        """
        with self._changing("writing to"):
            self._reopen_if_removed()
            self.grew = True
            try:
                with self._frames.index.transaction():
                    bodies = self._frames.add(frames)
            except NoRoom:
                self._give_up(sum(in_blocks(len(frame.body)) for _, frame in frames))
                raise
            failpoint("cache: after index")
            return bodies

    def evict(self) -> None:
        """Evict files until the cache fits its budget, and unmap files that were given up."""
        with self._changing("evicting from"):
            self._reopen_if_removed()
            files = self._frames.index.files()
            self._frames.unmap_all_but(files)
            if any(use.given_up for use in files) or sum(use.blocks for use in files) > self._bytes_max:
                try:
                    with self._frames.index.transaction():
                        self._frames.make_room(0)
                except NoRoom:
                    self._give_up(0)

    def clean(self, live: LiveJudge, *, live_bytes: int, slack: int, bytes_max: int) -> bool:
        """Free dead pages, copying at most ``bytes_max`` of live ones; return whether there is more to do.

        ``live_bytes`` is the size of all pages of the newest version. When cleaning is done, the files exceed the live
        bytes by at most one part in ``slack``. The caller ensures that no frame is added meanwhile that ``live`` does
        not know.
        """
        with self._changing("cleaning"):
            self._reopen_if_removed()
            frames, index = self._frames, self._frames.index
            files = index.files()
            due = survey_is_due(too_much(files, live_bytes), index.futile, live_bytes, slack)
            if not due and not victim(files, self._page_size, slack):
                return False
            with index.transaction():
                found = file_to_clean(frames, live, live_bytes, slack)
                room = self._bytes_max - frames.blocks()
                if found is None or in_blocks(found.live) > room:
                    return False
                emptied, moved = move_out(frames, found.file, live, min(bytes_max, room))
            failpoint("cleaning: after index")
            if emptied:
                with index.transaction():
                    if not frames.delete(found.file):
                        frames.give_up_file(found.file)
                failpoint("cleaning: after file")
            return emptied or moved > 0

    def shrink(self) -> None:
        """Shrink the index, unless another process is using it."""
        with self._working("shrinking"):
            self._frames.index.shrink()

    def use(self) -> CacheUse:
        """Return how much the cache holds; zeros if its index is damaged."""
        with contextlib.suppress(Corrupt), self._working("reading"):
            return CacheUse(*self._frames.index.count(), self._frames.blocks())
        return CacheUse(0, 0, 0)

    def disown(self) -> None:
        """In the child of a fork: leave the index to the parent, and work without the cache."""
        self._lock = threading.RLock()
        self._closed = True
        if self._usable is not None:
            self._usable.index.abandon()
        self._usable = None

    def close(self) -> None:
        """Close the index and unmap the files."""
        with self._lock:
            self._closed = True
            if self._usable is not None:
                self._usable.index.close()
            self._usable = None
            self._files.unmap_all()

    @property
    def _frames(self) -> CachedFrames:
        if self._usable is None:
            raise LocalStorageError(f"the cache in {self._directory} is not usable in this process")
        return self._usable

    def _opened(self) -> CachedFrames:
        with local_errors(f"creating {self._directory}"), database_errors(f"opening {self._directory}"):
            make_directory(self._directory)
            index = CacheIndex(self._directory / "index.db")
        self._named.clear()
        return CachedFrames(
            self._directory,
            index,
            self._files,
            self._page_size,
            bytes_max=self._bytes_max,
            file_bytes=self._file_bytes,
            on_release=self._on_release,
        )

    def _reopen_if_removed(self) -> None:
        """If the directory was deleted, start an empty cache, so that nothing mixes with another process's files."""
        if self._usable is None and not self._closed:
            self._usable = self._opened()
        if self._usable is None or self._usable.index.is_there():
            return
        self._usable.index.close()
        for file in self._files.mapped():
            self._usable.unmap(file)
        self._usable = None
        if not self._still_there():
            raise LocalStorageError(f"{self._directory} was replaced since the replica was opened; open it again")
        self._usable = self._opened()

    def _named_in(self, segment: bytes) -> set[int] | None:
        """Return the offsets of all frames of a segment in the index; None if there are too many, or none is known."""
        changed_at = self._frames.index.changed_at()
        if changed_at is None:
            return None
        if changed_at != self._named_at:
            self._named.clear()
            self._named_at = changed_at
        if segment not in self._named:
            with self._working("reading"):
                self._named[segment] = self._frames.index.offsets(segment, _NAMED_MAX)
        return self._named[segment]

    def _changing(self, doing: str) -> contextlib.AbstractContextManager[None]:
        if self._frozen:
            raise LocalStorageError(f"{doing} {self._directory}: the replica is open for reading only")
        return self._working(doing)

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

    def _give_up(self, length: int) -> None:
        with self._frames.index.transaction():
            self._frames.give_up(length)
