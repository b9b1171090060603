"""The throughput of a coordinator: mutations of several clients, submitted, applied and pushed."""

from collections.abc import Iterable

from benchmarks.rows import Reading
from benchmarks.scenario import timed
from benchmarks.sync.scenario import Place, apply_all, make_document, mutations
from sqlsync.coordination.coordinator import Coordinator
from sqlsync.documents.sync import SUBMIT_MUTATIONS_MAX
from sqlsync.envelope import Mutation
from sqlsync.ids import TimelineId


class Coordinating:
    """Everything from `submit`, which is durable, to the push; the work of clients is not included."""

    name = "coordinator"
    systems = ("python", "wasm", "wasm-shared")

    def prepare(self, place: Place) -> None:
        """Make the document."""
        make_document(place)

    def run(self, place: Place) -> Iterable[Reading]:
        """Submit everything, then apply it in batches."""
        count = place.sizes.client_mutations
        handed = []
        for client in range(place.sizes.clients):
            timeline, first = TimelineId.new(), place.sizes.rows + client * count
            handed.append(mutations(timeline, range(first, first + count), f"client {client}"))
        with place.coordinator() as coordinator:
            submitting = timed(lambda: _submit(coordinator, handed))
            applying = timed(lambda: apply_all(coordinator))
        total = count * place.sizes.clients
        yield Reading(self.name, "seconds", submitting + applying)
        yield Reading(self.name, "mutations_per_s", total / (submitting + applying))
        yield Reading(f"{self.name}/submit", "mutations_per_s", total / submitting)
        yield Reading(f"{self.name}/apply", "mutations_per_s", total / applying)


def _submit(coordinator: Coordinator, handed: list[list[Mutation]]) -> None:
    for first in range(0, len(handed[0]), SUBMIT_MUTATIONS_MAX):
        for calls in handed:
            coordinator.submit(calls[0].timeline, calls[first : first + SUBMIT_MUTATIONS_MAX])
