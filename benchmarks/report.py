"""Prints the results of a run: a table of all rows, and the targets beside the measured values."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.rows import Row
from benchmarks.targets import Verdict

_BASELINE = "sqlite-wal-normal"


def print_rows(console: Console, rows: Sequence[Row], *, baseline: str = _BASELINE) -> None:
    """Print all rows, each with its ratio to the baseline system."""
    baselines = {(row.scenario, row.metric): row.median for row in rows if row.system == baseline}
    table = Table("scenario", "system", "metric", title="Medians, with the smallest and the largest run")
    for title in ("median", "min", "max", "runs", f"÷ {baseline}"):
        table.add_column(title, justify="right")
    previous = ""
    for row in rows:
        if previous and row.scenario != previous:
            table.add_section()
        previous = row.scenario
        compared = baselines.get((row.scenario, row.metric))
        table.add_row(
            row.scenario, row.system, row.metric,
            quantity(row.median, row.unit), quantity(row.min, row.unit), quantity(row.max, row.unit),
            str(row.runs), f"{row.median / compared:.2f}" if compared else "",
        )  # fmt: skip
    console.print(table)


_WIDE = ("seconds", "requests", "round_trips", "bytes_up", "bytes_down", "remote_bytes", "rss_growth_bytes")


def print_remote_rows(console: Console, rows: Sequence[Row]) -> None:
    """Print the medians of all metrics of a scenario and system in one line, and the spread of its time."""
    table = Table(title="Medians; of the time also the smallest and the largest run")
    for title in ("scenario", "system"):
        table.add_column(title, no_wrap=True)
    for title in ("seconds", "min", "max", "runs", *(metric.removesuffix("_bytes") for metric in _WIDE[1:])):
        table.add_column(title, justify="right")
    cells = {(row.scenario, row.system, row.metric): row for row in rows}
    previous = ""
    for scenario, system in dict.fromkeys((row.scenario, row.system) for row in rows):
        family = scenario.partition("/")[0]
        if previous not in {"", family}:
            table.add_section()
        previous = family
        time, *others = (cells.get((scenario, system, metric)) for metric in _WIDE)
        if time is not None:
            spread = (quantity(value, time.unit) for value in (time.median, time.min, time.max))
            found = (quantity(row.median, row.unit) if row else "" for row in others)
            table.add_row(scenario, system, *spread, str(time.runs), *found)
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
    """Return a value in a readable unit: 0.0000731 s --> "73.1 µs"."""
    if not unit:
        return f"{value:,.0f}"
    if unit == "bytes":
        return f"{value / 1e6:,.1f} MB" if value >= 1e6 else f"{value / 1e3:,.1f} KB"
    if value < 1e-3:
        return f"{value * 1e6:.1f} µs"
    if value < 1:
        return f"{value * 1e3:.2f} ms"
    return f"{value:.2f} s"
