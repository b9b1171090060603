"""One client's share of a document's storage log: which frame it gets next (pure).

The storage log of a document is made up as it is needed. Frame *n* takes a client that has frame *n* - 1 to the
volume at LSN *n* or a later one, so a client that was away gets one frame with everything that changed, and then
fillers up to the newest LSN. What a client holds after frame *n* is therefore the volume at *n* or later; a frame that
follows lists all pages that changed since *n*, so it does not matter which one it was.
"""

from dataclasses import dataclass
from typing import Final, Self, TypeAlias

from graft_server.wire import WINDOW_FRAMES_MAX, BadMessage, Empty, LsnRange, Span

FILLERS_MAX: Final = 20_000
"""A client that is further behind had better begin anew."""


@dataclass(frozen=True, slots=True)
class Changes:
    """A frame with what changed since an LSN; with everything, if there is none."""

    lsn: int
    since: int | None


@dataclass(frozen=True, slots=True)
class Filler:
    """A frame that changes nothing."""

    lsn: int


Due: TypeAlias = Changes | Filler


class HistoryReplaced(Exception):
    """A client has what the volume never had: the document was replaced, and the client must begin anew."""


@dataclass(slots=True)
class Outgoing:
    """What one client has of the log, has been sent and has acknowledged; LSNs are those of the storage log."""

    sent: int
    """The last frame that it has or was sent."""
    acknowledged: int
    content: int | None
    """The LSN whose pages it has once it has taken in all that was sent; None if it has none."""

    @classmethod
    def to(cls, client: LsnRange, base: int, head: int) -> Self:
        """Begin with a client that answered ``client`` when it was asked what it has.

        ``base`` is the LSN before the log's first frame, ``head`` the newest one. Raises `HistoryReplaced`.
        """
        last = client.next_lsn - 1
        if isinstance(client, Span) and client.first <= base:
            raise HistoryReplaced(f"it has frame {client.first}, which is not of this document's history")
        if not base <= last <= head:
            raise HistoryReplaced(f"it has frame {last}, and this document has frames {base + 1} to {head}")
        if isinstance(client, Span) and head - last > FILLERS_MAX:
            raise HistoryReplaced(f"it is {head - last} versions behind, more than {FILLERS_MAX}")
        return cls(last, last, None if isinstance(client, Empty) else last)

    def due(self, head: int) -> Due | None:
        """Return the frame to send now that the volume is at ``head``, and count it as sent; None if there is none."""
        if self.sent - self.acknowledged >= WINDOW_FRAMES_MAX:
            return None
        if self.content is None or self.content < head:
            # The first frame of a log that moved on meanwhile still has to be the one that the client waits for.
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
        """Take an acknowledgement; raises `BadMessage` for one of frames that were never sent."""
        last = client.next_lsn - 1
        if not isinstance(client, Span) or not self.acknowledged <= last <= self.sent:
            raise BadMessage(
                f"frames up to {last} are acknowledged; {self.acknowledged} were before, and {self.sent} was sent"
            )
        self.acknowledged = last
