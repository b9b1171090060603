"""Where the scenarios of `python -m benchmarks sqlsync` run, and what they all need."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.sync.sizes import SyncSizes
from benchmarks.sync.systems import System
from sqlsync.coordination.coordinator import Coordinator
from sqlsync.coordination.local_link import LocalLink
from sqlsync.documents.document import Document
from sqlsync.envelope import Mutation, Named
from sqlsync.identity import Proof
from sqlsync.ids import TimelineId
from sqlsync.links.link import Acknowledged


@dataclass(frozen=True, slots=True)
class Place:
    """Where and how a scenario runs."""

    system: System
    directory: Path
    """Private to this scenario and system; what `prepare` creates here stays for all rounds."""
    sizes: SyncSizes

    @property
    def remote(self) -> str:
        """The remote of the document; a directory, so that the remote costs as little time as possible."""
        return f"{self.directory / 'remote'}#document"

    def fresh(self, name: str) -> Path:
        """Return a path for this round where nothing exists."""
        path = self.directory / "round" / name
        shutil.rmtree(path, ignore_errors=True)
        return path

    def coordinator(self, name: str = "coordinator", **options: Any) -> Coordinator:
        """Return a new coordinator of the document."""
        return Coordinator(self.fresh(name), self.remote, self.system.reducer(), **options)

    def client(self, name: str, coordinator: Coordinator | None, **options: Any) -> Document:
        """Return a new client of the document."""
        link = None if coordinator is None else LocalLink(coordinator)
        options.setdefault("link", link)
        return Document(self.fresh(name), self.remote, self.system.reducer(), actor=name, **options)


class CountingLink:
    """A link that counts what would be round trips over a network."""

    def __init__(self, coordinator: Coordinator) -> None:
        """Talk to ``coordinator``."""
        self.round_trips = 0
        self._coordinator = coordinator

    def submit(
        self,
        timeline: TimelineId,
        mutations: Sequence[Mutation],
        *,
        rejections_seen: int = -1,
        born_us: int | None = None,
        proof: Proof | None = None,
    ) -> Acknowledged:
        """Count, and submit."""
        self.round_trips += 1
        return self._coordinator.submit(
            timeline, mutations, rejections_seen=rejections_seen, born_us=born_us, proof=proof
        )

    def wait(self, timeline: TimelineId, lsn: int, *, timeout_s: float) -> Acknowledged:
        """Count, and wait."""
        self.round_trips += 1
        return self._coordinator.wait(timeline, lsn, timeout_s=timeout_s)

    def close(self) -> None:
        """Do nothing."""


def mutations(timeline: TimelineId, numbers: range, owner: str, first_lsn: int = 0) -> list[Mutation]:
    """Return calls that each write one row."""
    return [
        Mutation.captured(timeline, lsn, Named("put", task(number, owner)), actor=owner)
        for lsn, number in enumerate(numbers, first_lsn)
    ]


def task(number: int, owner: str) -> dict[str, Any]:
    """Return the arguments of a call."""
    return {"key": f"{number:09d}", "value": f"note {number} of {owner}, which is about something or other"}


def apply_all(coordinator: Coordinator) -> None:
    """Apply all of the inbox."""
    while coordinator.step():
        pass


def make_document(place: Place) -> None:
    """Make the document with its rows, unless it exists."""
    if (place.directory / "remote").exists():
        return
    with place.coordinator() as coordinator:
        timeline = TimelineId.new()
        for first in range(0, place.sizes.rows, 2000):
            numbers = range(first, min(first + 2000, place.sizes.rows))
            coordinator.submit(timeline, mutations(timeline, numbers, "author", first))
        apply_all(coordinator)
