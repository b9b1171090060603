"""Wide reads: from the second read of a segment with delta frames on, read the whole segment.

Delta frames are short and their pages are scattered. A scan that fetched each frame when it needs it would send another
request to the same commit for every few pages. A request for all frames costs the same as for one.
"""

import threading
from collections import OrderedDict

from pagestore.objectstore import ObjectStore
from pagestore.segments.fetch_plan import FrameLocation, RangeRead

WIDE_BYTES = 32 * 1024
"""How much of a segment a wide read covers: as a rule all of it, since `inline_bytes_max` is as large."""
_CACHED_BYTES_MAX = 16 * 1024 * 1024


class WideReads:
    """A cache of the most recently read inline segments with delta frames; safe for threads. Objects never change."""

    def __init__(self) -> None:
        """Begin empty."""
        self._lock = threading.Lock()  # guards the members below
        self._cached: OrderedDict[str, tuple[int, bytes]] = OrderedDict()
        """Object key → start and bytes of the wide read; no bytes after the first delta frame only."""
        self._cached_bytes = 0

    def met(self, frame: FrameLocation) -> None:
        """Note that a delta frame was read."""
        with self._lock:
            self._cached.setdefault(frame.key, (0, b""))

    def get(self, frame: FrameLocation) -> memoryview | None:
        """Return a frame's stored bytes if an earlier wide read covered them."""
        with self._lock:
            start, data = self._cached.get(frame.key, (0, b""))
        begin = frame.offset - start
        return memoryview(data)[begin : begin + frame.length] if 0 <= begin <= len(data) - frame.length else None

    def read(self, store: ObjectStore, planned: RangeRead) -> tuple[RangeRead, bytes]:
        """Carry out the planned read, or a wide read if that object is known to hold delta frames."""
        start, end = planned.frames[0].segment_offset, planned.start + planned.length
        if not self._knows(planned.key) or not start <= planned.start <= end <= start + WIDE_BYTES:
            return planned, store.get_range(planned.key, planned.start, planned.length)
        data = store.get_range(planned.key, start, WIDE_BYTES)
        if start + len(data) < end:
            return planned, data[planned.start - start :]  # cut short: the caller checks the length
        self._keep(planned.key, start, data)
        return RangeRead(planned.key, start, len(data), planned.frames), data

    def forget(self) -> None:
        """Drop everything after a read returned wrong bytes, so that the next try asks the store again."""
        with self._lock:
            self._cached.clear()
            self._cached_bytes = 0

    def _knows(self, key: str) -> bool:
        with self._lock:
            return key in self._cached

    def _keep(self, key: str, start: int, data: bytes) -> None:
        with self._lock:
            _, old = self._cached.pop(key, (0, b""))
            self._cached[key] = start, data
            self._cached_bytes += len(data) - len(old)
            while self._cached_bytes > _CACHED_BYTES_MAX and len(self._cached) > 1:
                _, (_, dropped) = self._cached.popitem(last=False)
                self._cached_bytes -= len(dropped)
