"""Turns arriving mutations into inbox entries (pure): checks the owner, finds the new ones, bounds their claims.

Time and actor of a mutation are claims of its author. A time in the future is replaced by the time of arrival. The
actor must be the principal whose token was presented, if there is one.
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
    """The sender of mutations."""

    proof: Proof | None = None
    """The author's proof; published clients of SQLSync have none."""
    principal: str = ""
    """The principal of the presented token, empty without one."""
    captured_here: bool = False
    """Whether time and seed were captured on arrival, so that they differ when a mutation is resent."""

    @property
    def is_known(self) -> bool:
        """Whether this caller can be distinguished from others."""
        return bool(self.principal) or (self.proof is not None and self.proof.secret is not None)


ANYBODY = Caller()
"""A caller without proof or token."""


def taken(
    timeline: TimelineId, mutations: Sequence[Mutation], caller: Caller, history: History, now_us: int
) -> list[Entry]:
    """Return the entries of the new mutations; raises `NotTheOwner`, `TimelineGap` and `TimelineForked`."""
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
            f"mutation {mutation.lsn} of timeline {mutation.timeline} names the actor {mutation.actor!r:.100}, but the "
            f"token belongs to {principal!r}"
        )
    actor = principal or mutation.actor
    time_us = now_us if mutation.now_us > now_us + CLOCK_AHEAD_US else mutation.now_us
    if (actor, time_us) == (mutation.actor, mutation.now_us):
        return mutation
    return replace(mutation, actor=actor, now_us=time_us)
