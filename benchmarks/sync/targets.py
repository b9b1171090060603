"""The targets for documents; pure."""

from collections.abc import Sequence

from benchmarks.rows import Row
from benchmarks.sync.systems import SYSTEMS
from benchmarks.targets import Cell, Target, Verdict, judge_by


def _at_most(what: str, scenario: str, metric: str, limit: float | None, system: str = "python") -> Target:
    return Target(f"{what}, {system}", Cell(scenario, system, metric), None, limit)


def _of(system: str) -> tuple[Target, ...]:
    return (
        Target(
            f"mutations a second through the coordinator, {system}",
            Cell("coordinator", system, "mutations_per_s"), None, 5000, more_is_better=True,
        ),
        _at_most("a mutation is durable and seen, p50 in seconds", "mutate", "p50", 0.001, system),
        _at_most("rebase of 1,000 pending mutations, in seconds", "rebase/1000", "seconds", None, system),
        _at_most("rebase of 10,000 pending mutations, in seconds", "rebase/10000", "seconds", 2.0, system),
    )  # fmt: skip


TARGETS = (
    *(target for system in SYSTEMS for target in _of(system)),
    _at_most("round trips to the coordinator until a mutation is confirmed", "confirm", "round_trips", 2),
    *(
        Target(
            f"1 % of a document, {variant}: bytes fetched ÷ all of it, which SQLSync replicates",
            Cell(f"read_1_percent/{variant}", "python", "bytes_down"),
            Cell(f"read_1_percent/{variant}", "python", "live_bytes"),
            None,
        )
        for variant in ("range", "scattered")
    ),
)


def judge(rows: Sequence[Row]) -> list[Verdict]:
    """Return a verdict for each target that these rows have values for."""
    return judge_by(TARGETS, rows)
