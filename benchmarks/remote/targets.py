"""The targets at a latency of 20 ms a request; pure."""

from collections.abc import Sequence

from benchmarks.rows import Row
from benchmarks.targets import Cell, Target, Verdict, judge_by

_MIB = 1024 * 1024
_WAIT_S = 0.020
_LOG_GROWTH = 4 / 3
"""log(10,000) ÷ log(1,000)"""


def _at_most(scenario: str, metric: str, limit: float | None, system: str = "graft") -> Target:
    name = f"{scenario}, {metric}" if system == "graft" else f"{scenario}, {metric}, {system}"
    return Target(name, Cell(scenario, system, metric), None, limit)


def _as(scenario: str, other: str, metric: str, limit: float) -> Target:
    return Target(
        f"{scenario} ÷ {other.partition('/')[2]}, {metric}",
        Cell(scenario, "graft", metric),
        Cell(other, "graft", metric),
        limit,
    )


def _in_requests(scenario: str, request: str, limit: float | None) -> Target:
    """A scenario's duration as a multiple of a bare request's on this machine and server."""
    against = Cell(f"bare/{request}", "graft", "seconds")
    return Target(f"{scenario} ÷ bare {request}, seconds", Cell(scenario, "graft", "seconds"), against, limit)


TARGETS = (
    _at_most("push_small", "requests", 1),
    _at_most("push_small", "seconds", 1.4 * _WAIT_S),
    _in_requests("push_small", "put", 1.4),
    _in_requests("cold_open", "get", None),
    _in_requests("cold_lookup", "get", None),
    _at_most("push_rollup", "requests", 2),
    _at_most("push_rollup", "bytes_up", 33_000),
    _at_most("push_bulk", "seconds", 1.6),
    _at_most("push_bulk", "rss_growth_bytes", 64 * _MIB),
    _at_most("push_bulk", "remote_bytes", 28_000_000),
    _at_most("cold_open", "round_trips", 6),
    _at_most("cold_open", "seconds", 0.130),
    _at_most("cold_open", "bytes_down", 120_000),
    _at_most("cold_lookup", "requests", 105),
    _at_most("cold_lookup", "seconds", 2.4),
    _at_most("cold_lookup", "bytes_down", 2_500_000),
    _at_most("cold_scan", "seconds", 1.2),
    _at_most("hydrate", "seconds", 0.7),
    _at_most("pull_noop", "requests", 1),
    _at_most("pull_noop", "seconds", 0.025),
    _at_most("pull_one", "round_trips", 2),
    _as("tail/hedged", "tail/unhedged", "p99", 0.5),
    _as("tail/hedged", "tail/unhedged", "requests", 1.05),
    _at_most("clone_after_pushes/1000", "requests", 16),
    _at_most("clone_after_pushes/1000", "round_trips", 4),
    _at_most("scan_fragmented/small-1000", "seconds", 0.5),
    _as("warm/scan-1000", "warm/scan-0", "seconds", 1.1),
    _as("warm/lookup-1000", "warm/lookup-0", "seconds", 1.1),
    *(
        _as(f"{scenario}10000", f"{scenario}1000", metric, _LOG_GROWTH)
        for scenario in ("clone_after_pushes/", "pull_after_pushes/", "scan_fragmented/small-")
        for metric in ("requests", "seconds")
    ),
    _as("warm/scan-10000", "warm/scan-1000", "seconds", _LOG_GROWTH),
    _as("warm/lookup-10000", "warm/lookup-1000", "seconds", _LOG_GROWTH),
    *(_at_most(name, "seconds", None, "graft-boto3") for name in ("push_small", "cold_open", "cold_scan", "hydrate")),
    *(_at_most("sql_cold", "seconds", None, system) for system in ("graft", "graft-boto3")),
)  # fmt: skip


def judge(rows: Sequence[Row]) -> list[Verdict]:
    """Return a verdict for each target that these rows have values for."""
    return judge_by(TARGETS, rows)
