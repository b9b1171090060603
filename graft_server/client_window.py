"""Decides whether a SQLSync client may have stopped sending although it has more to send (pure).

The published client sends timeline frames until `WINDOW_FRAMES_MAX` of them are unacknowledged. Then it sends nothing,
even after acknowledgements arrive, until its application calls another mutation or it connects again. So the server has
to find out whether a silent client had a full window when it sent its last frame. Silence alone does not show that: the
connection may be slow.

    Range (acknowledges up to n) --> storage frame --> the client's Range for that frame: it has received n

Messages arrive in the order in which they were sent, so a client that answers a storage frame has received the
acknowledgements that were sent before it. The server assumes no others. At worst it overestimates the window, and a
client that had nothing to send connects once more.
"""

from collections import deque

from graft_server.wire import WINDOW_FRAMES_MAX


class ClientWindow:
    """The timeline frames of one connection."""

    def __init__(self) -> None:
        """Start with a client that has not announced its frames yet."""
        self._announced = 0
        """The LSN after the last frame that the client had when it connected."""
        self._acknowledged = 0
        """The LSN after the last frame that the server has acknowledged."""
        self._known = 0
        """The newest acknowledgement that the client has certainly received."""
        self._received = 0
        """The LSN after the last frame that arrived."""
        self._is_full = False
        self._has_received = False
        self._in_flight: deque[tuple[int, int]] = deque()
        """Storage frames that the client has not acknowledged, and `_acknowledged` when each was sent."""

    def meet(self, next_lsn: int, announced: int) -> None:
        """Record that the client was asked to begin at ``next_lsn``, and has the frames before LSN ``announced``.

        The client sends nothing before it receives that request.
        """
        self._acknowledged = self._known = self._received = next_lsn
        self._announced = announced
        self._is_full = False

    def receive(self, lsn: int) -> None:
        """Record that a timeline frame arrived."""
        self._has_received = True
        self._received = max(self._received, lsn + 1)
        self._is_full = self._received - self._known >= WINDOW_FRAMES_MAX

    def acknowledge(self, next_lsn: int) -> None:
        """Record that an acknowledgement of all frames before ``next_lsn`` was sent."""
        self._acknowledged = max(self._acknowledged, next_lsn)

    def send_storage(self, lsn: int) -> None:
        """Record that a storage frame is about to be sent."""
        self._in_flight.append((lsn, self._acknowledged))

    def storage_acknowledged(self, lsn: int) -> None:
        """Record that the client has all storage frames up to ``lsn``."""
        while self._in_flight and self._in_flight[0][0] <= lsn:
            self._known = max(self._known, self._in_flight.popleft()[1])

    def patience_s(self, *, stalled_s: float, gap_s: float) -> float | None:
        """Return after how many seconds of silence the client must connect again; None if it has sent everything.

        0 for a full window and announced frames that are missing: the client will not send them by itself.
        ``stalled_s`` for a window that may have been full: the client could have more to send. ``gap_s`` for missing
        announced frames: the connection may be slow.
        """
        has_gap = self._acknowledged < self._announced
        if self._is_full:
            return 0.0 if has_gap else stalled_s
        return gap_s if has_gap and self._has_received else None
