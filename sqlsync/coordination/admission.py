"""Checks that arriving mutations continue the known history of their timeline (pure).

    owner: the secret and the principal are those that the timeline started with
    order: LSNs are dense
    links: a resent mutation is the same as before, and new ones continue the chain

A resent LSN with different content is never skipped: its author would take another mutation for its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from sqlsync.envelope import Mutation
from sqlsync.errors import NotTheOwner, TimelineForked, TimelineGap
from sqlsync.identity import GENESIS, Owner, Stamp, Standing, linked
from sqlsync.ids import TimelineId


@dataclass(frozen=True, slots=True)
class History:
    """The known history of a timeline, from the volume and the inbox."""

    next_lsn: int
    owner: Owner | None
    """None if no owner is recorded."""
    standing: Standing | None
    waiting: dict[int, Stamp]
    """The stamps of the entries in the inbox, by LSN, in order."""

    @classmethod
    def of(cls, next_lsn: int, standing: Standing | None, waiting: dict[int, Stamp]) -> Self:
        """Combine the volume's record with the stamps of the inbox, which continue it."""
        owner = None if standing is None else standing.owner
        if waiting:
            owner = waiting[next(reversed(waiting))].owner
        return cls(next_lsn, owner, standing, waiting)

    def link(self, lsn: int) -> bytes | None:
        """Return the link of a mutation, None if it is unknown."""
        if lsn == -1:
            return GENESIS
        if lsn in self.waiting:
            return self.waiting[lsn].link
        return None if self.standing is None else self.standing.link_at(lsn)


@dataclass(frozen=True, slots=True)
class Admitted:
    """The new mutations, with the link before the first one and the link of each."""

    mutations: Sequence[Mutation]
    before: bytes | None
    links: Sequence[bytes | None]


def require_owner(timeline: TimelineId, found: Owner | None, shown: Owner) -> Owner:
    """Return the timeline's owner from now on; raises `NotTheOwner`."""
    if found is None or found.admits(shown):
        return shown if found is None or found.principal is None else found
    if found.key is not None and found.key != shown.key:
        raise NotTheOwner(f"timeline {timeline} has a secret, and it was not presented")
    if found.key is None and shown.key is not None:
        raise NotTheOwner(f"timeline {timeline} started without a secret, so a client with a secret cannot write to it")
    raise NotTheOwner(f"timeline {timeline} belongs to another principal than the presented token")


def admitted(
    timeline: TimelineId,
    mutations: Sequence[Mutation],
    digests: Sequence[bytes],
    history: History,
    claimed: tuple[int, bytes] | None,
) -> Admitted:
    """Return the new mutations; ``claimed`` is an LSN and the author's link before it.

    Raises `TimelineGap` if mutations are missing, or if resent ones are too old to compare; `TimelineForked` if they
    differ from the known ones.
    """
    if claimed is not None:
        _require_same(timeline, claimed[0] - 1, claimed[1], history)
    if not mutations:
        return Admitted((), None, ())
    check_order(timeline, mutations, history.next_lsn)
    first = mutations[0].lsn
    link = claimed[1] if claimed is not None and claimed[0] == first else history.link(first - 1)
    links, compared = [link], first - 1 if history.link(first - 1) is not None else None
    for mutation, digest in zip(mutations, digests, strict=True):
        link = None if link is None else linked(link, digest)
        links.append(link)
        if link is not None and _require_same(timeline, mutation.lsn, link, history):
            compared = mutation.lsn
    last_old = min(mutations[-1].lsn, history.next_lsn - 1)
    if first <= last_old and compared != last_old and not _is_unknown(history, last_old):
        raise TimelineGap(
            f"timeline {timeline}: mutations {first} to {last_old} are too old to be compared with the resent ones; "
            f"send from {history.next_lsn} on",
            expected=history.next_lsn,
        )
    fresh = max(0, history.next_lsn - first)
    return Admitted(mutations[fresh:], links[fresh] if fresh < len(links) else None, links[fresh + 1 :])


def _is_unknown(history: History, last_old: int) -> bool:
    """Return whether the timeline's links were never recorded, as an older release does not."""
    return last_old == history.next_lsn - 1 and history.link(last_old) is None


def _require_same(timeline: TimelineId, lsn: int, link: bytes, history: History) -> bool:
    """Return whether the link of a mutation is known; raises `TimelineForked` if it differs."""
    known = history.link(lsn)
    if known is not None and known != link:
        raise TimelineForked(
            f"timeline {timeline} already has a different mutation {lsn}: two copies of one client directory wrote "
            "to it, or the directory was restored from a backup; start a new timeline"
        )
    return known is not None


def check_order(timeline: TimelineId, mutations: Sequence[Mutation], expected: int) -> None:
    """Raise `TimelineGap` unless the mutations are of this timeline, dense, and leave no gap after ``expected``."""
    first = mutations[0]
    for place, mutation in enumerate(mutations):
        if (mutation.timeline, mutation.lsn) != (timeline, first.lsn + place):
            wanted = first.lsn + place
            raise TimelineGap(f"timeline {timeline}: {wanted} is missing before {mutation.lsn}", expected=wanted)
    if first.lsn > expected:
        raise TimelineGap(f"timeline {timeline}: {expected} is missing before {first.lsn}", expected=expected)
