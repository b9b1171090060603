"""What a process did with a replica since it opened it, counted."""

import dataclasses
import threading
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counts:
    """Counters; they only grow."""

    looks: int = 0
    """At the remote, by followers and by readers that want to be fresh."""
    looks_shared: int = 0
    """That another process or thread made for us."""
    looks_failed: int = 0
    """That were not answered, or could not move."""
    look_requests: int = 0
    moves: int = 0
    """Looks that brought something new."""
    ahead_frames: int = 0
    """Fetched before anybody asked for them."""
    ahead_bytes: int = 0
    """Of those, as stored."""
    ahead_used_frames: int = 0
    """Of those, frames that somebody asked for later."""
    ahead_used_bytes: int = 0
    """Of those, as stored."""
    ahead_late: int = 0
    """Times that somebody came to a frame while it was being fetched ahead, and waited for the rest of that."""
    fetches: int = 0
    """Times that somebody asked the remote for frames and waited for them."""
    fetched_frames: int = 0
    """From the remote, for whatever reason."""
    fetched_bytes: int = 0
    """Of those and of what is needed to read them, as stored."""
    gap_bytes: int = 0
    """Fetched only because they lay between two frames that were wanted."""

    @property
    def wasted_bytes(self) -> int:
        """Fetched, and of no use so far: frames ahead that nobody has asked for yet, and gaps."""
        return self.ahead_bytes - self.ahead_used_bytes + self.gap_bytes


class ReplicaCounts:
    """The counters of one open replica; safe for threads."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._lock = threading.Lock()  # guards _counts
        self._counts = dataclasses.asdict(Counts())

    def snapshot(self) -> Counts:
        """Return what was counted so far."""
        with self._lock:
            return Counts(**self._counts)

    def add(self, **more: int) -> None:
        """Count, by the names of `Counts`."""
        with self._lock:
            for name, by in more.items():
                self._counts[name] += by
