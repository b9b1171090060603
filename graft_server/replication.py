"""One client's position in a document's storage log: decides which frame it gets next (pure).

The storage log of a document is generated on demand. Frame *n* takes a client from frame *n* - 1 to the volume at LSN
*n* or a later one, so a client that was away gets one frame with all changes, and then fillers up to the newest LSN.
After frame *n*, a client therefore has the volume at *n* or later. The next frame lists all pages that changed since
*n*, so it does not matter which version that was.
"""

from dataclasses import dataclass
from typing import Final, Self, TypeAlias

from graft_server.wire import WINDOW_FRAMES_MAX, BadMessage, Empty, LsnRange, Span

FILLERS_MAX: Final = 20_000
"""A client that is further behind must start anew."""


@dataclass(frozen=True, slots=True)
class Changes:
    """A frame with the pages that changed since an LSN, or with all pages if ``since`` is None."""

    lsn: int
    since: int | None


@dataclass(frozen=True, slots=True)
class Filler:
    """A frame that changes nothing."""

    lsn: int


Due: TypeAlias = Changes | Filler


class HistoryReplaced(Exception):
    """The client has frames that are not of this volume: the document was replaced, and the client must start anew."""


@dataclass(slots=True)
class Outgoing:
    """The frames that one client has been sent and has acknowledged; LSNs are those of the storage log."""

    sent: int
    """The last frame that the client has or was sent."""
    acknowledged: int
    content: int | None
    """The LSN whose pages the client has after all sent frames; None if it has none."""

    @classmethod
    def to(cls, client: LsnRange, base: int, head: int) -> Self:
        """Start with a client that has the frames ``client``.

        ``base`` is the LSN before the log's first frame, ``head`` the newest one. Raises `HistoryReplaced`.
        """
        last = client.next_lsn - 1
        if isinstance(client, Span) and client.first <= base:
            raise HistoryReplaced(f"the client has frame {client.first}, which is not of this document's history")
        if not base <= last <= head:
            raise HistoryReplaced(f"the client has frame {last}, and this document has frames {base + 1} to {head}")
        if isinstance(client, Span) and head - last > FILLERS_MAX:
            raise HistoryReplaced(f"the client is {head - last} versions behind, more than {FILLERS_MAX}")
        return cls(last, last, None if isinstance(client, Empty) else last)

    def due(self, head: int) -> Due | None:
        """Return the frame to send now that the volume is at ``head``, and count it as sent; None if there is none."""
        if self.sent - self.acknowledged >= WINDOW_FRAMES_MAX:
            return None
        if self.content is None or self.content < head:
            # Even if the volume has moved on, the first frame must have the number that the client expects.
            if head <= self.sent:
                return None
            self.sent += 1
            since, self.content = self.content, head
            return Changes(self.sent, since)
        if self.sent < self.content:
            self.sent += 1
            return Filler(self.sent)
        return None

    def acknowledge(self, client: LsnRange) -> None:
        """Record an acknowledgement; raises `BadMessage` if it is for frames that were not sent."""
        last = client.next_lsn - 1
        if not isinstance(client, Span) or not self.acknowledged <= last <= self.sent:
            raise BadMessage(f"frames up to {last} are acknowledged; expected {self.acknowledged} to {self.sent}")
        self.acknowledged = last
