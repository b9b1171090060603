"""The interface of a scenario: it is prepared once per system, and each measurement runs in a fresh process."""

import time
from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from benchmarks.rows import Reading

PlaceT_contra = TypeVar("PlaceT_contra", contravariant=True)
"""Where and how the scenarios of one suite run."""


class Scenario(Protocol[PlaceT_contra]):
    """Something to measure."""

    @property
    def name(self) -> str:
        """The name on the command line, and the start of the name in the rows."""
        ...

    @property
    def systems(self) -> tuple[str, ...]:
        """The systems that take part, if they can run here."""
        ...

    def prepare(self, place: PlaceT_contra) -> None:
        """Create what all rounds use."""
        ...

    def run(self, place: PlaceT_contra) -> Iterable[Reading]:
        """Measure once."""
        ...


def timed(action: Callable[[], object]) -> float:
    """Return how many seconds a call took."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start
