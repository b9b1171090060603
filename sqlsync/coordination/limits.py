"""Limits of a coordinator, per timeline and per document (pure).

waiting     mutations in the inbox; a timeline at its limit has to wait until they are applied
unread      rejections in the volume that their author has not stored. They count like waiting mutations if the author
            reports what it has read; if it does not, as SQLSync's clients, only the newest ones are retained
timelines   positions in the volume; each takes space there until the timeline is forgotten
"""

from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from sqlsync.errors import CoordinatorBusy
from sqlsync.ids import TimelineId

_MIB = 1024 * 1024
_SOON_S = 1.0
_LATER_S = 10.0


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one coordinator."""

    timeline_mutations: int = 2_500
    """Waiting and unread mutations of one timeline."""
    timeline_bytes: int = 16 * _MIB
    """Size of the waiting mutations of one timeline; a single mutation may be larger."""
    document_mutations: int = 50_000
    document_bytes: int = 64 * _MIB
    document_timelines: int = 100_000
    unread_kept: int = 100
    """Rejections retained for an author that does not report what it has read."""
    document_unread: int = 5_000
    """Rejections in the volume; the timelines with the most lose their oldest first."""


@dataclass(slots=True)
class Tally:
    """Counts and sizes of the entries of an inbox; the caller's lock guards it."""

    count: int = 0
    size: int = 0
    counts: dict[TimelineId, int] = field(default_factory=dict)
    sizes: dict[TimelineId, int] = field(default_factory=dict)

    def add(self, timeline: TimelineId, size: int) -> None:
        """Count an entry."""
        self.count, self.size = self.count + 1, self.size + size
        self.counts[timeline] = self.counts.get(timeline, 0) + 1
        self.sizes[timeline] = self.sizes.get(timeline, 0) + size

    def remove(self, timeline: TimelineId, size: int) -> None:
        """Subtract an entry that left the inbox."""
        self.count, self.size = self.count - 1, self.size - size
        self.counts[timeline] -= 1
        self.sizes[timeline] -= size
        if not self.counts[timeline]:
            del self.counts[timeline], self.sizes[timeline]


def require_room(
    limits: Limits, tally: Tally, timeline: TimelineId, sizes: Sequence[int], *, unread: int, timelines: int | None
) -> None:
    """Raise `CoordinatorBusy` if more mutations of these sizes would exceed the limits.

    ``unread`` is the number of rejections that the author has not read; ``timelines`` the number of the document's
    timelines, None if this is one of them.
    """
    count, size = tally.counts.get(timeline, 0), tally.sizes.get(timeline, 0)
    if not sizes:
        return
    if unread and count + unread + len(sizes) > limits.timeline_mutations:
        raise _busy(
            f"timeline {timeline} has {unread} rejected mutations that its author has not read, and {count} waiting; "
            f"the limit is {limits.timeline_mutations}: pull, and store the rejections",
            _SOON_S,
        )
    if count and (count + len(sizes) > limits.timeline_mutations or size + sum(sizes) > limits.timeline_bytes):
        raise _busy(f"{count} mutations of timeline {timeline} ({size} bytes) are waiting; try again", _SOON_S)
    if tally.count and (
        tally.count + len(sizes) > limits.document_mutations or tally.size + sum(sizes) > limits.document_bytes
    ):
        raise _busy(f"{tally.count} mutations of the document ({tally.size} bytes) are waiting; try again", _LATER_S)
    if timelines is not None and not count and timelines >= limits.document_timelines:
        raise _busy(f"the document has {timelines} timelines, which is its limit; use an existing one", _LATER_S)


def unread_after(rejected: Sequence[int], seen: int) -> int:
    """Return how many of a timeline's rejections (sorted LSNs) are newer than the last one its author has read."""
    return len(rejected) - bisect_right(rejected, seen)


def surplus(
    rejected: Mapping[TimelineId, Sequence[int]], blind: Collection[TimelineId], limits: Limits
) -> dict[TimelineId, int]:
    """Return the timelines with too many rejections, and the LSN up to which to remove them.

    ``rejected`` holds sorted LSNs. The authors of timelines in ``blind`` do not report what they have read.
    """
    kept = {
        timeline: min(len(lsns), limits.unread_kept) if timeline in blind else len(lsns)
        for timeline, lsns in rejected.items()
    }
    cap = _fair_cap(sorted(kept.values()), limits.document_unread)
    gone = {timeline: len(rejected[timeline]) - min(count, cap) for timeline, count in kept.items()}
    return {timeline: rejected[timeline][count - 1] for timeline, count in gone.items() if count}


def _fair_cap(counts: Sequence[int], total: int) -> int:
    """Return the largest cap on each count for which the capped counts sum up to at most ``total``."""
    left = total
    for place, count in enumerate(counts):
        share = left // (len(counts) - place)
        if count > share:
            return share
        left -= count
    return counts[-1] if counts else 0


def _busy(message: str, retry_after_s: float) -> CoordinatorBusy:
    error = CoordinatorBusy(message)
    error.retry_after_s = retry_after_s
    return error
