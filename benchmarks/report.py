"""What a run found: a table, and the targets with what was measured."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.rows import Row
from benchmarks.targets import Verdict

_BASELINE = "sqlite-wal-normal"


def print_rows(console: Console, rows: Sequence[Row]) -> None:
    """Print all rows, each with its ratio to plain SQLite's."""
    baselines = {(row.scenario, row.metric): row.median for row in rows if row.system == _BASELINE}
    table = Table("scenario", "system", "metric", title="Medians, with the smallest and the largest run")
    for title in ("median", "min", "max", "runs", f"÷ {_BASELINE}"):
        table.add_column(title, justify="right")
    previous = ""
    for row in rows:
        if previous and row.scenario != previous:
            table.add_section()
        previous = row.scenario
        baseline = baselines.get((row.scenario, row.metric))
        table.add_row(
            row.scenario, row.system, row.metric,
            quantity(row.median, row.unit), quantity(row.min, row.unit), quantity(row.max, row.unit),
            str(row.runs), f"{row.median / baseline:.2f}" if baseline else "",
        )  # fmt: skip
    console.print(table)


def print_verdicts(console: Console, verdicts: Sequence[Verdict]) -> None:
    """Print the targets, and whether each is met."""
    table = Table("figure", title="Targets")
    for title in ("measured", "target", "met"):
        table.add_column(title, justify="right")
    for verdict in verdicts:
        sign = "≥" if verdict.target.more_is_better else "≤"
        told = {True: "yes", False: "[bold]no[/bold]", None: ""}[verdict.met]
        table.add_row(
            verdict.target.what,
            f"{verdict.measured:.4g}" if verdict.measured < 1e6 else f"{verdict.measured:,.0f}",
            "" if verdict.limit is None else f"{sign} {verdict.limit:,.4g}" if verdict.limit < 1e6
            else f"{sign} {verdict.limit:,.0f}",
            told,
        )  # fmt: skip
    console.print(table)


def quantity(value: float, unit: str) -> str:
    """Return a value as people say it: 0.0000731 s --> "73.1 µs"."""
    if unit == "bytes":
        return f"{value / 1e6:,.1f} MB"
    if value < 1e-3:
        return f"{value * 1e6:.1f} µs"
    if value < 1:
        return f"{value * 1e3:.2f} ms"
    return f"{value:.2f} s"
