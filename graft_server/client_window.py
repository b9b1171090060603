"""Whether a client of SQLSync may have stopped although it has more to send (pure).

The published client sends timeline frames until `WINDOW_FRAMES_MAX` of them are unacknowledged. Then it sends nothing
until its application calls another mutation, however much is acknowledged meanwhile; only a new connection makes it go
on. So the server has to find out whether a silent client had a full window when it sent its last frame. Silence itself
says nothing: the line may have paused.

    Range (acknowledges up to n) --> storage frame --> the client's Range for that frame: it knows of n by now

Messages arrive in the order in which they were sent, so a client that answers a storage frame knows of the
acknowledgements that were sent before it. The server counts on no others. At worst the window then looks fuller than it
was, and a client that had nothing to send connects once more.
"""

from collections import deque

from graft_server.wire import WINDOW_FRAMES_MAX


class ClientWindow:
    """The timeline frames of one connection."""

    def __init__(self) -> None:
        """Begin with a client that has not said yet what it has."""
        self._announced = 0
        """The LSN behind the last frame that the client had when it connected."""
        self._told = 0
        """The LSN that the client was asked for last: all before it are acknowledged."""
        self._known = 0
        """The acknowledgement that the client certainly knows of."""
        self._received = 0
        """The LSN behind the last frame that arrived."""
        self._is_full = False
        self._has_received = False
        self._carried: deque[tuple[int, int]] = deque()
        """Storage frames that the client has not acknowledged, and `_told` when each was sent."""

    def meet(self, next_lsn: int, announced: int) -> None:
        """Note that the client was asked to begin at ``next_lsn``, and has frames before LSN ``announced``.

        It sends nothing before it hears of that.
        """
        self._told = self._known = self._received = next_lsn
        self._announced = announced
        self._is_full = False

    def receive(self, lsn: int) -> None:
        """Note that a timeline frame arrived."""
        self._has_received = True
        self._received = max(self._received, lsn + 1)
        self._is_full = self._received - self._known >= WINDOW_FRAMES_MAX

    def acknowledge(self, next_lsn: int) -> None:
        """Note that the client was sent an acknowledgement of all frames before ``next_lsn``."""
        self._told = max(self._told, next_lsn)

    def send_storage(self, lsn: int) -> None:
        """Note that a storage frame is about to be sent."""
        self._carried.append((lsn, self._told))

    def storage_acknowledged(self, lsn: int) -> None:
        """Note that the client has all storage frames up to ``lsn``."""
        while self._carried and self._carried[0][0] <= lsn:
            self._known = max(self._known, self._carried.popleft()[1])

    def patience_s(self, *, stalled_s: float, gap_s: float) -> float | None:
        """Return after how much silence the client has to connect again; None if it owes nothing.

        A client that has a gap to fill and a full window will not go on by itself: 0. One whose window may have been
        full could have more to send: ``stalled_s``. One that has not sent all that it announced may have a slow line:
        ``gap_s``.
        """
        has_gap = self._told < self._announced
        if self._is_full:
            return 0.0 if has_gap else stalled_s
        return gap_s if has_gap and self._has_received else None
