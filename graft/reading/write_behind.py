"""Write-behind: frames that readers use from memory until they are written to the cache.

A lookup fetches its frame alone, and need not wait for the cache's index: such frames are written together, soon enough
to be in the cache when the replica is opened again. If the cache cannot be written (a full disk, a damaged index), the
newest frames stay in memory.
"""

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from graft.cache.cache import Cache
from graft.errors import GraftError
from graft.pagemap.frame_table import FrameBody, FrameKey, FrameTable
from pagestore.segments.format import DecodedFrame

_MEMORY_BYTES_MAX = 64 * 1024 * 1024
_LATE_BYTES_MAX = 4 * 1024 * 1024
"""How many bytes may wait for the cache; the thread that exceeds this flushes them."""


class WriteBehind:
    """Bodies in memory, attached to a frame table; safe for threads."""

    def __init__(self, table: FrameTable, cache: Cache, attach: Callable[[int, FrameBody], None]) -> None:
        """Hold bodies for ``table``; ``attach`` replaces one of them by the cache's copy."""
        self._table = table
        self._cache = cache
        self._attach = attach
        self._memory_lock = threading.Lock()  # guards the members below
        self._in_memory: deque[tuple[int, int]] = deque()
        """Batches and their bytes, oldest first; a negative number stands for a batch's file."""
        self._memory_bytes = 0
        self._batches = 0
        self._late_lock = threading.Lock()  # guards the members below, and is taken before the cache's own
        self._late: dict[FrameKey, tuple[int, int, DecodedFrame]] = {}
        """Frames to write later: the frame's number, and the number of its batch."""
        self._late_bytes = 0

    def put(self, key: FrameKey, frame: DecodedFrame, number: int) -> None:
        """Attach a frame from memory, to be written to the cache later."""
        with self._late_lock:
            self._late[key] = number, self.hold([(key, frame)], {key: number}), frame
            self._late_bytes += len(frame.body)
            enough = self._late_bytes >= min(_LATE_BYTES_MAX, self._cache.batch_bytes)
        if enough:
            self.flush()

    def hold(self, batch: Sequence[tuple[FrameKey, DecodedFrame]], numbers: Mapping[FrameKey, int]) -> int:
        """Attach frames from memory, without writing them to the cache; return the number of their batch."""
        size = sum(len(frame.body) for _, frame in batch)
        with self._memory_lock:
            self._batches += 1
            file = -self._batches
            self._in_memory.append((file, size))
            self._memory_bytes += size
        for key, frame in batch:
            listed = np.ascontiguousarray(frame.pages, "<u4").tobytes()
            body = FrameBody(memoryview(listed).cast("I"), memoryview(frame.body), file)
            self._table.attach(numbers[key], body)
        with self._memory_lock:
            while self._memory_bytes > _MEMORY_BYTES_MAX and len(self._in_memory) > 1:
                oldest, size = self._in_memory.popleft()
                self._memory_bytes -= size
                self._table.detach(oldest)
        return file

    def flush(self) -> None:
        """Write all waiting frames to the cache; if that fails they stay in memory."""
        with self._late_lock:
            late, self._late, self._late_bytes = self._late, {}, 0
            if not late:
                return
            try:
                bodies = self._cache.put([(key, frame) for key, (_, _, frame) in late.items()])
            except GraftError:
                return
            for (number, file, _), body in zip(late.values(), bodies, strict=True):
                self._attach(number, body)
                self._forget(file)

    def disown(self) -> None:
        """In the child of a fork: forget the waiting frames, which the parent writes to the cache."""
        self._memory_lock, self._late_lock = threading.Lock(), threading.Lock()
        self._late, self._late_bytes = {}, 0

    def _forget(self, file: int) -> None:
        with self._memory_lock:
            for batch in [batch for batch in self._in_memory if batch[0] == file]:
                self._in_memory.remove(batch)
                self._memory_bytes -= batch[1]
