"""Page bodies on demand: from the cache, else from the remote, each frame fetched once however many threads want it.

Where the cache cannot be read or written (a full disk, a damaged index), frames are served from memory, the newest few.
"""

import contextlib
import threading
from collections import deque
from collections.abc import Iterable, Sequence

import numpy as np

from graft.cache import Cache
from graft.errors import GraftError
from graft.frametable import FrameBody, FrameKey, FrameTable
from graft.remote import Remote
from pagestore.segment import DecodedFrame

_BATCH_BYTES = 8 * 1024 * 1024
_MEMORY_BYTES_MAX = 64 * 1024 * 1024


class BodyLoader:
    """Attaches bodies to the frame table; safe for threads."""

    def __init__(self, table: FrameTable, cache: Cache, remote: Remote, page_size: int) -> None:
        """Fill ``table`` through ``cache`` from ``remote``."""
        self.table = table
        self.cache = cache
        self._remote = remote
        self._page_size = page_size
        self._condition = threading.Condition()  # guards _in_flight
        self._in_flight: set[int] = set()
        self._memory_lock = threading.Lock()  # guards the members below
        self._in_memory: deque[tuple[int, int]] = deque()
        """Batches that the cache did not take, and their bytes, oldest first; negative numbers stand for files."""
        self._memory_bytes = 0
        self._batches = 0

    def attach(self, numbers: Iterable[int]) -> tuple[int, int]:
        """Attach frames by number; return how many came from the remote, and their pages.

        Frames that another thread is fetching are waited for, not fetched again.
        """
        wanted = [number for number in dict.fromkeys(numbers) if self.table.bodies[number] is None]
        mine = self._claim(wanted)
        fetched = 0, 0
        try:
            if mine:
                fetched = self._load(mine)
        finally:
            self._release(mine)
        for number in wanted:
            if number not in mine:
                self._wait_for(number)
        return fetched

    def attach_cached(self, numbers: Iterable[int]) -> None:
        """Attach those of the frames that the cache has; asks nothing of the remote."""
        for number in numbers:
            if self.table.bodies[number] is None:
                body = self._cached(self.table.key(number))
                if body is not None:
                    self.table.attach(number, body)

    def keep(self, frames: Sequence[tuple[FrameKey, DecodedFrame]]) -> None:
        """Put frames that came by another way (inline, or pushed from here) into the cache, if it takes them."""
        with contextlib.suppress(GraftError):
            self.cache.put(frames)
        self.evict()

    def evict(self) -> None:
        """Hold the cache to its budget, if it can be."""
        with contextlib.suppress(GraftError):
            for file in self.cache.evict():
                self.table.detach(file)

    def _load(self, numbers: Iterable[int]) -> tuple[int, int]:
        missing: dict[FrameKey, int] = {}
        for number in numbers:
            key = self.table.key(number)
            body = self._cached(key)
            if body is None:
                missing[key] = number
            else:
                self.table.attach(number, body)
        if not missing:
            return 0, 0
        pages, size, batch = 0, 0, []
        for key, frame in self._remote.frames(list(missing), self._page_size):
            batch.append((key, frame))
            pages += len(frame.pages)
            size += len(frame.body)
            if size >= _BATCH_BYTES:
                self._keep_attached(batch, missing)
                size, batch = 0, []
        self._keep_attached(batch, missing)
        self.evict()
        return len(missing), pages

    def _keep_attached(self, batch: Sequence[tuple[FrameKey, DecodedFrame]], numbers: dict[FrameKey, int]) -> None:
        try:
            bodies = self.cache.put(batch)
        except GraftError:
            self._attach_in_memory(batch, numbers)
            return
        for (key, _), body in zip(batch, bodies, strict=True):
            self.table.attach(numbers[key], body)

    def _cached(self, key: FrameKey) -> FrameBody | None:
        try:
            return self.cache.get(key)
        except GraftError:
            return None

    def _attach_in_memory(self, batch: Sequence[tuple[FrameKey, DecodedFrame]], numbers: dict[FrameKey, int]) -> None:
        size = sum(len(frame.body) for _, frame in batch)
        with self._memory_lock:
            self._batches += 1
            file = -self._batches
            self._in_memory.append((file, size))
            self._memory_bytes += size
        for key, frame in batch:
            listed = np.ascontiguousarray(frame.pages, "<u4").tobytes()
            body = FrameBody(memoryview(listed).cast("I"), memoryview(frame.body), file)
            self.table.attach(numbers[key], body)
        with self._memory_lock:
            while self._memory_bytes > _MEMORY_BYTES_MAX and len(self._in_memory) > 1:
                oldest, size = self._in_memory.popleft()
                self._memory_bytes -= size
                self.table.detach(oldest)

    def _claim(self, wanted: Sequence[int]) -> set[int]:
        with self._condition:
            mine = {number for number in wanted if number not in self._in_flight}
            self._in_flight |= mine
            return mine

    def _release(self, mine: set[int]) -> None:
        with self._condition:
            self._in_flight -= mine
            self._condition.notify_all()

    def _wait_for(self, number: int) -> None:
        with self._condition:
            self._condition.wait_for(lambda: number not in self._in_flight)
        if self.table.bodies[number] is None:
            self.attach([number])  # the other thread failed, or the frame was evicted at once: find out why ourselves
