"""What a coordinator makes of mutations that arrive (pure): whose they are, which are new, what they may claim.

What a mutation says of its time and actor is its author's claim. A time that is still to come is replaced by that of
the arrival; an actor must be the principal whose token was shown, if there is one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlsync.coordination.admission import History, admitted, require_owner
from sqlsync.coordination.inbox import Entry
from sqlsync.envelope import Mutation, body_digest, digest
from sqlsync.errors import NotTheOwner
from sqlsync.identity import Owner, Proof, Stamp, seal_key
from sqlsync.ids import TimelineId

CLOCK_AHEAD_US = 5 * 60 * 1_000_000
"""How far an author's clock may be ahead."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who hands mutations over."""

    proof: Proof | None = None
    """What the author shows; published clients of SQLSync have nothing to show."""
    principal: str = ""
    """Whose token it was, empty for nobody's."""
    captured_here: bool = False
    """Whether time and seed of the mutations were captured on arrival, and differ when they come again."""

    @property
    def is_known(self) -> bool:
        """Whether there is anything that tells this caller from others."""
        return bool(self.principal) or (self.proof is not None and self.proof.secret is not None)


ANYBODY = Caller()
"""A caller that shows nothing."""


def taken(
    timeline: TimelineId, mutations: Sequence[Mutation], caller: Caller, history: History, now_us: int
) -> list[Entry]:
    """Return the entries for mutations that are new; raises `NotTheOwner`, `TimelineGap` and `TimelineForked`."""
    secret = None if caller.proof is None else caller.proof.secret
    owner = require_owner(timeline, history.owner, Owner.of(timeline, secret, caller.principal))
    claimed = None
    if caller.proof is not None and caller.proof.link is not None:
        claimed = (caller.proof.lsn, caller.proof.link)
    measure = body_digest if caller.captured_here else digest
    fresh = admitted(timeline, mutations, [measure(mutation) for mutation in mutations], history, claimed)
    entries, before = [], fresh.before
    seal = None if secret is None else seal_key(secret)
    for mutation, link in zip(fresh.mutations, fresh.links, strict=True):
        entries.append(Entry(_bounded(mutation, caller.principal, now_us), Stamp(owner, before, link, seal)))
        before = link
    return entries


def _bounded(mutation: Mutation, principal: str, now_us: int) -> Mutation:
    if principal and mutation.actor not in {"", principal}:
        raise NotTheOwner(
            f"mutation {mutation.lsn} of timeline {mutation.timeline} is said to be by {mutation.actor!r:.100}, and "
            f"the token is that of {principal!r}"
        )
    actor = principal or mutation.actor
    time_us = now_us if mutation.now_us > now_us + CLOCK_AHEAD_US else mutation.now_us
    if (actor, time_us) == (mutation.actor, mutation.now_us):
        return mutation
    return replace(mutation, actor=actor, now_us=time_us)
