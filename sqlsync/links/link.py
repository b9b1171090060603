"""The port between a document and its coordinator. Pages do not pass here: they come from the volume's remote."""

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
    """What a document asks of a coordinator; threads may share it."""

    def submit(
        self,
        timeline: TimelineId,
        mutations: Sequence[Mutation],
        *,
        rejections_seen: int = -1,
        born_us: int | None = None,
        proof: Proof | None = None,
    ) -> Acknowledged:
        """Hand over mutations of one timeline, in order; those it has already are ignored. None at all is a question.

        ``rejections_seen`` is the LSN up to which the author has stored its rejections; ``born_us`` says when the
        timeline began, by the author's clock (None: just now), so that one that was forgotten is told from a new one.
        ``proof`` shows that the timeline is the author's, and what it has before the first mutation. An LSN that comes
        again with other content is refused. Raises `TimelineGap`, `TimelineExpired`, `TimelineForked`, `NotTheOwner`,
        `CoordinatorUnavailable`, `CoordinatorRefused`.
        """

    def wait(self, timeline: TimelineId, lsn: int, *, timeout_s: float) -> Acknowledged:
        """Return when the timeline's mutation ``lsn`` is in the volume, or after ``timeout_s`` seconds."""

    def close(self) -> None:
        """Let go of connections."""
