"""What lies near differences: whoever comes to a segment of them a second time reads all of it.

Differences are short and their pages scattered: a scan that asked for each when it comes to it would ask every commit
again for every few pages. A request costs the same for one of them as for all.
"""

import threading
from collections import OrderedDict

from pagestore.objectstore import ObjectStore
from pagestore.segments.fetch_plan import FrameLocation, RangeRead

WIDE_BYTES = 32 * 1024
"""So much of a segment is read: as a rule, all that goes into a commit (`inline_bytes_max`)."""
_KEPT_BYTES_MAX = 16 * 1024 * 1024


class Nearby:
    """Segments inside commits that hold differences, those read last; safe for threads. Objects never change."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._lock = threading.Lock()  # guards the members below
        self._kept: OrderedDict[str, tuple[int, bytes]] = OrderedDict()
        """By object key: from where, and what; nothing yet of one that was met once."""
        self._kept_bytes = 0

    def met(self, frame: FrameLocation) -> None:
        """Take note that a frame of differences was read."""
        with self._lock:
            self._kept.setdefault(frame.key, (0, b""))

    def get(self, frame: FrameLocation) -> memoryview | None:
        """Return a frame's stored bytes, if they were read with others."""
        with self._lock:
            start, data = self._kept.get(frame.key, (0, b""))
        begin = frame.offset - start
        return memoryview(data)[begin : begin + frame.length] if 0 <= begin <= len(data) - frame.length else None

    def read(self, store: ObjectStore, planned: RangeRead) -> tuple[RangeRead, bytes]:
        """Carry out a read, a wider one than ``planned`` if differences were met in that object."""
        start, end = planned.frames[0].segment_offset, planned.start + planned.length
        if not self._knows(planned.key) or not start <= planned.start <= end <= start + WIDE_BYTES:
            return planned, store.get_range(planned.key, planned.start, planned.length)
        data = store.get_range(planned.key, start, WIDE_BYTES)
        if start + len(data) < end:
            return planned, data[planned.start - start :]  # cut short, as whoever reads it finds out
        self._keep(planned.key, start, data)
        return RangeRead(planned.key, start, len(data), planned.frames), data

    def forget(self) -> None:
        """Let go of everything, as one of the reads brought wrong bytes: the next try is to ask the store again."""
        with self._lock:
            self._kept.clear()
            self._kept_bytes = 0

    def _knows(self, key: str) -> bool:
        with self._lock:
            return key in self._kept

    def _keep(self, key: str, start: int, data: bytes) -> None:
        with self._lock:
            _, old = self._kept.pop(key, (0, b""))
            self._kept[key] = start, data
            self._kept_bytes += len(data) - len(old)
            while self._kept_bytes > _KEPT_BYTES_MAX and len(self._kept) > 1:
                _, (_, dropped) = self._kept.popitem(last=False)
                self._kept_bytes -= len(dropped)
