"""Counts what a process did with a replica since it opened it."""

import dataclasses
import threading
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counts:
    """Counters; they only grow. Bytes are counted as stored."""

    looks: int = 0
    """Polls of the remote, by followers and by readers that need fresh data."""
    looks_shared: int = 0
    """Polls that another process or thread made for this one."""
    looks_failed: int = 0
    """Polls that were not answered, or whose commits could not be adopted."""
    look_requests: int = 0
    """Requests of polls."""
    moves: int = 0
    """Polls that brought new commits."""
    ahead_frames: int = 0
    """Frames that were fetched before a reader requested them."""
    ahead_bytes: int = 0
    """Bytes of `ahead_frames`."""
    ahead_used_frames: int = 0
    """Those of `ahead_frames` that a reader requested later."""
    ahead_used_bytes: int = 0
    """Bytes of `ahead_used_frames`."""
    ahead_late: int = 0
    """Times that a reader waited for a frame that was being fetched ahead."""
    fetches: int = 0
    """Times that a reader waited for frames from the remote."""
    fetched_frames: int = 0
    """All frames from the remote."""
    fetched_bytes: int = 0
    """Bytes of `fetched_frames`, and of what is needed to decode them."""
    gap_bytes: int = 0
    """Bytes that were fetched only because they lay between two wanted frames."""

    @property
    def wasted_bytes(self) -> int:
        """Bytes that were fetched and not used so far: frames ahead that no reader has requested, and gaps."""
        return self.ahead_bytes - self.ahead_used_bytes + self.gap_bytes


class ReplicaCounts:
    """The counters of one open replica; safe for threads."""

    def __init__(self) -> None:
        """Start at zero."""
        self._lock = threading.Lock()  # guards _counts
        self._counts = dataclasses.asdict(Counts())

    def snapshot(self) -> Counts:
        """Return the counters."""
        with self._lock:
            return Counts(**self._counts)

    def add(self, **more: int) -> None:
        """Add to counters, named as in `Counts`."""
        with self._lock:
            for name, by in more.items():
                self._counts[name] += by
