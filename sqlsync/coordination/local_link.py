"""A link to a coordinator in the same process."""

from collections.abc import Sequence

from sqlsync.coordination.coordinator import Coordinator
from sqlsync.envelope import Mutation
from sqlsync.identity import Proof
from sqlsync.ids import TimelineId
from sqlsync.links.link import Acknowledged
from sqlsync.links.presence import Presence


class LocalLink:
    """A `CoordinatorLink` that calls the coordinator directly; closing it leaves the coordinator open."""

    def __init__(self, coordinator: Coordinator) -> None:
        """Send to ``coordinator``."""
        self._coordinator = coordinator

    @property
    def presence(self) -> Presence:
        """The presence of the document's clients."""
        return self._coordinator.presence

    def submit(
        self,
        timeline: TimelineId,
        mutations: Sequence[Mutation],
        *,
        rejections_seen: int = -1,
        born_us: int | None = None,
        proof: Proof | None = None,
    ) -> Acknowledged:
        """Submit mutations."""
        return self._coordinator.submit(
            timeline, mutations, rejections_seen=rejections_seen, born_us=born_us, proof=proof
        )

    def wait(self, timeline: TimelineId, lsn: int, *, timeout_s: float) -> Acknowledged:
        """Wait until a mutation is in the volume."""
        return self._coordinator.wait(timeline, lsn, timeout_s=timeout_s)

    def close(self) -> None:
        """Do nothing: the link does not own the coordinator."""
