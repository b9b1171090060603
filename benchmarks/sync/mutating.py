"""Latencies for one caller: until a mutation is durable and visible, and until it is confirmed."""

import time
from collections.abc import Iterable

from benchmarks.rows import Reading, latencies
from benchmarks.sync.scenario import CountingLink, Place, make_document, task


class Mutating:
    """`Document.mutate`: durable in the timeline, run on the view."""

    name = "mutate"
    systems = ("python", "wasm", "wasm-shared")

    def prepare(self, place: Place) -> None:
        """Make the document."""
        make_document(place)

    def run(self, place: Place) -> Iterable[Reading]:
        """Call one mutation after the other; the query after each is not measured."""
        seconds = []
        with place.coordinator() as coordinator, place.client("ann", coordinator) as ann:
            for number in range(place.sizes.rows, place.sizes.rows + place.sizes.calls):
                arguments = task(number, "ann")
                start = time.perf_counter()
                ann.mutate("put", **arguments)
                seconds.append(time.perf_counter() - start)
                found = ann.query("SELECT 1 FROM notes WHERE key = ?", (arguments["key"],))
                assert found, "BUG: a mutation is not seen"
        yield from latencies(self.name, seconds)


class Confirming:
    """From a call to its confirmation: round trips to the coordinator, and the total time on one machine."""

    name = "confirm"
    systems = ("python",)

    def prepare(self, place: Place) -> None:
        """Make the document."""
        make_document(place)

    def run(self, place: Place) -> Iterable[Reading]:
        """Call and synchronize, one mutation at a time; the coordinator applies in a thread."""
        seconds, round_trips = [], []
        with place.coordinator() as coordinator:
            link = CountingLink(coordinator)
            with place.client("ann", None, link=link) as ann:
                coordinator.start()
                for number in range(place.sizes.rows, place.sizes.rows + place.sizes.confirms):
                    link.round_trips, start = 0, time.perf_counter()
                    receipt = ann.mutate("put", **task(number, "ann"))
                    ann.sync(wait_s=30)
                    receipt.wait(0)
                    seconds.append(time.perf_counter() - start)
                    round_trips.append(link.round_trips)
        yield from latencies(self.name, seconds)
        yield Reading(self.name, "round_trips", max(round_trips))
