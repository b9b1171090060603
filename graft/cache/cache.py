"""The cache of frames: disposable, bounded, checksummed, shared by all processes on a replica.

    cache/index.db          which frame is where, with its checksum    (graft.cache_index)
    cache/00000001.frames   bodies, one frame after the other          (graft.cache_files)

Both together are `graft.cache.frames`; here is what threads and processes may ask of them, and what failures mean.

Deleting the directory loses nothing; what fails its checksum is as good as absent. Files are evicted whole, oldest
first. The index is committed without syncing: after a power cut it may name bytes that never reached the disk, or
mix rows, which their checksums show, since they cover what frame it is; or name frames that lie where it says that
the next one goes, which count as absent; or be damaged itself: then the next process that is alone begins anew.

Invariants: the files take no more than the budget, before and after each frame that is added, those included that are
given up and that somebody still maps; nothing that is mapped ever changes; a file that the index does not name, or
that it names and that is not there, is tidied away by the next one who makes a file.

A page that the newest version has elsewhere is of no use any more. When such pages are more than a small part of all,
those that are of use are copied out of the file with the fewest of them, and it is deleted like an evicted one
(`graft.cache.cleaner`): work in proportion to what was added, a bounded piece of it at a time. Holes are not punched
into files: somebody may map them, and would read zeros.

What another process maps keeps its disk space. It is not evicted, but given up: its mappers let go of it when they
look next (`graft.reading.body_loader.BodyLoader.evict`), and until then there is less room.
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
"""Frames of a segment that are known by heart."""


@dataclass(frozen=True, slots=True)
class CacheUse:
    """What the cache holds."""

    frames: int
    pages: int
    bytes: int
    """Those of files that are given up and still mapped by somebody included."""


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
        on_release: Callable[[int], None],
        still_there: Callable[[], bool] = lambda: True,
        frozen: bool = False,
    ) -> None:
        """Use ``directory``, created if absent; ``on_release`` is called with files to unmap.

        Where the directory was removed it is made anew, as long as the replica is ``still_there``. One who is ``alone``
        throws an index that is damaged away with all it indexed; others do without the cache. A ``frozen`` cache is
        only read: whatever would change its files raises `LocalStorageError`.
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
        """Whether anything was put in from here."""
        if alone and (directory / _DAMAGED).exists():
            shutil.rmtree(directory, ignore_errors=True)
        self._closed = False
        with contextlib.suppress(LocalStorageError, LimitReached):  # a full disk, say: what is put in later tries again
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

    def lacks(self, key: FrameKey) -> bool:
        """Tell whether a frame is known not to be there, without the long way to the index if that can be helped.

        What came from another process since the system's clock ticked last may be overlooked.
        """
        if not isinstance(key.ref.home, OwnObject):
            return False  # its segment has a few frames: to ask for them all is no cheaper than to ask for one
        with self._lock:
            named = self._named_in(key.ref.segment.raw)
            return named is not None and key.offset not in named

    def get(self, key: FrameKey) -> FrameBody | None:
        """Return a frame whose checksum was just verified, None when it is not there; some pages may be lacking."""
        with self._working("reading"):
            frame = self._frames.index.frame(key.ref.segment.raw, key.offset)
            return self._frames.verified(frame) if frame else None

    def has(self, keys: Iterable[FrameKey]) -> set[FrameKey]:
        """Return those of the frames that the index names, with all pages or some."""
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
        """Tell whether bodies in a file may be held; once they may not, `on_release` was called, or is about to be."""
        return self._files.maps(file)

    def put(self, frames: Sequence[tuple[FrameKey, DecodedFrame]]) -> list[FrameBody]:
        """Add verified frames and return them as bodies in the cache's files; let go of what others want evicted.

        Another thread may evict them at once: look at `maps` when they are where they are to be.
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
        """Hold the cache to its budget, and let go of what others want to have evicted."""
        with self._changing("emptying"):
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
        """Let go of pages that are of no use, copying so many bytes of others at most; tell if there is more to do.

        ``live_bytes`` is what all pages of the newest version take: when all is done, the files take one in ``slack``
        bytes more at most. The caller sees to it that no frame is put in meanwhile that ``live`` does not know of.
        """
        with self._changing("thinning"):
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
        """Make the index as small as it can be, if nobody is in the way."""
        with self._working("shrinking"):
            self._frames.index.shrink()

    def use(self) -> CacheUse:
        """Count what is there; nothing of an index that is damaged is."""
        with contextlib.suppress(Corrupt), self._working("reading"):
            return CacheUse(*self._frames.index.count(), self._frames.blocks())
        return CacheUse(0, 0, 0)

    def disown(self) -> None:
        """Leave the index to the process that this one was forked from, and do without."""
        self._lock = threading.RLock()
        self._closed = True
        if self._usable is not None:
            self._usable.index.abandon()
        self._usable = None

    def close(self) -> None:
        """Let go of the index and the files."""
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
        """Begin anew where somebody deleted the directory: what is written there must not mix with another's files."""
        if self._usable is None and not self._closed:
            self._usable = self._opened()
        if self._usable is None or self._usable.index.is_there():
            return
        self._usable.index.close()
        for file in self._files.mapped():
            self._usable.unmap(file)
        self._usable = None
        if not self._still_there():
            raise LocalStorageError(f"{self._directory} is not the directory that was opened")
        self._usable = self._opened()

    def _named_in(self, segment: bytes) -> set[int] | None:
        """Return the offsets of all frames of a segment that the index names; None where those are many, or unknown."""
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
