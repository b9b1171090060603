"""Which rejections the authors of timelines have read, by their own reports; the coordinator's lock guards it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlsync.coordination.limits import unread_after
from sqlsync.ids import TimelineId


@dataclass(slots=True)
class Readers:
    """The authors of a document's timelines."""

    seen: dict[TimelineId, int] = field(default_factory=dict)
    """The last LSN that the author has read."""
    blind: set[TimelineId] = field(default_factory=set)
    """Timelines whose authors do not report what they have read."""

    def note(self, timeline: TimelineId, seen: int | None, *, position: int, is_known: bool) -> None:
        """Record what an author reports; a report counts only if the caller ``is_known`` to be the author.

        ``position`` is the timeline's, and the upper bound of what can have been read.
        """
        if seen is None:
            self.blind.add(timeline)
            return
        self.blind.discard(timeline)
        seen = min(seen, position)
        if is_known and seen > self.seen.get(timeline, -1):
            self.seen[timeline] = seen

    def unread(self, timeline: TimelineId, seen: int | None, rejected: Sequence[int]) -> int:
        """Return how many rejections are unread, given the author's report; 0 if it does not report."""
        return 0 if seen is None else unread_after(rejected, max(seen, self.seen.get(timeline, -1)))
