"""Results: readings of single runs, and rows that summarize all runs; pure."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

UNITS = {
    "p50": "s",
    "p99": "s",
    "seconds": "s",
    "rss_bytes": "bytes",
    "rss_anon_bytes": "bytes",
    "disk_bytes": "bytes",
    "live_bytes": "bytes",
    "mutations_per_s": "",
    "requests": "",
    "round_trips": "",
    "bytes_up": "bytes",
    "bytes_down": "bytes",
    "remote_bytes": "bytes",
    "rss_growth_bytes": "bytes",
}
"""Metrics with their units. ``rss_anon_bytes`` is the peak of memory that no file backs: mapped cache files count in
``rss_bytes``, although the operating system can reclaim them at any time. ``rss_growth_bytes`` is how far
``rss_anon_bytes`` rose during the measured action."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of one run."""

    scenario: str
    """The scenario's name, with a variant where it has several: ``readers/threads-2``."""
    metric: str
    value: float


@dataclass(frozen=True, slots=True)
class Row:
    """One metric over all runs."""

    scenario: str
    system: str
    metric: str
    unit: str
    median: float
    min: float
    max: float
    runs: int


def summed_up(readings: Iterable[tuple[str, Reading]]) -> list[Row]:
    """Return one row for each scenario, system and metric, in the order of their first reading."""
    values: dict[tuple[str, str, str], list[float]] = {}
    for system, reading in readings:
        values.setdefault((reading.scenario, system, reading.metric), []).append(reading.value)
    order = list(dict.fromkeys(scenario for scenario, _, _ in values))
    return [
        Row(scenario, system, metric, UNITS[metric], statistics.median(found), min(found), max(found), len(found))
        for (scenario, system, metric), found in sorted(values.items(), key=lambda item: order.index(item[0][0]))
    ]


def latencies(scenario: str, seconds: Sequence[float]) -> list[Reading]:
    """Return the 50th and 99th percentile of single durations."""
    if len(seconds) < 2:
        return [Reading(scenario, "p50", seconds[0]), Reading(scenario, "p99", seconds[0])]
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return [Reading(scenario, "p50", cuts[49]), Reading(scenario, "p99", cuts[98])]


def as_json(rows: Iterable[Row]) -> list[dict[str, object]]:
    """Return the rows as JSON objects."""
    return [asdict(row) for row in rows]
