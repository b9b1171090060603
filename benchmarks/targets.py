"""Targets, and whether a run met them; pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.rows import Row


@dataclass(frozen=True, slots=True)
class Cell:
    """Identifies one median: scenario, system and metric."""

    scenario: str
    system: str
    metric: str


@dataclass(frozen=True, slots=True)
class Target:
    """``factor × value ÷ against`` must be at most ``limit`` (at least, for ``more_is_better``)."""

    what: str
    value: Cell
    against: Cell | None
    """None: the value itself, in its unit."""
    limit: float | None
    """None: reported without a limit."""
    factor: float = 1.0
    more_is_better: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target with its measured value."""

    target: Target
    measured: float
    limit: float | None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        if self.limit is None:
            return None
        return self.measured >= self.limit if self.target.more_is_better else self.measured <= self.limit


def judge_by(targets: Sequence[Target], rows: Sequence[Row]) -> list[Verdict]:
    """Return a verdict for each target that these rows have values for."""
    found = medians(rows)
    verdicts = []
    for target in targets:
        value = found.get(target.value)
        against = found.get(target.against) if target.against else 1.0
        if value is not None and against:
            verdicts.append(Verdict(target, target.factor * value / against, target.limit))
    return verdicts


def medians(rows: Sequence[Row]) -> dict[Cell, float]:
    """Return the median of each cell of the table."""
    return {Cell(row.scenario, row.system, row.metric): row.median for row in rows}
