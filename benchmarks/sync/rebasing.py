"""The cost of a rebase: after another client's push, all pending mutations run again on the newer version."""

from collections.abc import Iterable

from benchmarks.rows import Reading
from benchmarks.scenario import timed
from benchmarks.sync.scenario import Place, apply_all, make_document, mutations, task
from sqlsync.ids import TimelineId


class Rebasing:
    """One sync in which none of the client's own mutations is confirmed: pull, and run all pending ones again."""

    name = "rebase"
    systems = ("python", "wasm", "wasm-shared")

    def prepare(self, place: Place) -> None:
        """Make the document."""
        make_document(place)

    def run(self, place: Place) -> Iterable[Reading]:
        """Mutate, submit to a coordinator that does not apply, let another one push, then sync."""
        for pending in place.sizes.pending:
            with (
                place.coordinator("slow") as slow,
                place.coordinator("fast") as fast,
                place.client(f"ann-{pending}", slow) as ann,
            ):
                first = place.sizes.rows
                for number in range(first, first + pending):
                    ann.mutate("put", **task(number, "ann"))
                ann.sync()
                other = TimelineId.new()
                fast.submit(other, mutations(other, range(first + pending, first + pending + 10), "bob"))
                apply_all(fast)
                seconds = timed(ann.sync)
                keys = (f"{first:09d}", f"{first + pending + 9:09d}")
                found = ann.query("SELECT count(*) FROM notes WHERE key BETWEEN ? AND ?", keys)
                assert (len(ann.pending()), found) == (pending, [(pending + 10,)]), "BUG: that was no rebase"
            yield Reading(f"{self.name}/{pending}", "seconds", seconds)
