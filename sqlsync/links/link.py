"""The port between a document and its coordinator. Pages do not pass through it: they come from the remote."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlsync.envelope import Mutation
from sqlsync.identity import Proof
from sqlsync.ids import TimelineId


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A coordinator's answer to a submit."""

    next_lsn: int
    """All mutations before this LSN are durable with the coordinator."""
    applied: int | None
    """The last one that is in the volume (applied or rejected), None for none."""
    volume_lsn: int
    """The remote LSN at which `applied` holds: a client that pulled this far sees it."""


class CoordinatorLink(Protocol):
    """The requests of a document to a coordinator; threads may share it."""

    def submit(
        self,
        timeline: TimelineId,
        mutations: Sequence[Mutation],
        *,
        rejections_seen: int = -1,
        born_us: int | None = None,
        proof: Proof | None = None,
    ) -> Acknowledged:
        """Submit mutations of one timeline, in order; known ones are ignored. An empty sequence only queries the state.

        ``rejections_seen`` is the LSN up to which the author has stored its rejections; ``born_us`` says when the
        timeline began, by the author's clock (None: just now), which distinguishes a forgotten timeline from a new one.
        ``proof`` proves the ownership, and names the link before the first mutation. A resent LSN with different
        content is refused. Raises `TimelineGap`, `TimelineExpired`, `TimelineForked`, `NotTheOwner`,
        `CoordinatorUnavailable`, `CoordinatorRefused`.
        """

    def wait(self, timeline: TimelineId, lsn: int, *, timeout_s: float) -> Acknowledged:
        """Return once the timeline's mutation ``lsn`` is in the volume, or after ``timeout_s`` seconds."""

    def close(self) -> None:
        """Close connections."""
