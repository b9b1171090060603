"""The figures to reach, as ratios within one run; pure."""

from collections.abc import Sequence

from benchmarks.rows import Row
from benchmarks.targets import Cell, Target, Verdict, judge_by, medians

_MIB = 1024 * 1024
_BASE_BYTES = 64 * _MIB
_BYTES_PER_PAGE = 12
_PAGE_BYTES = 4096


def _versus(
    scenario: str,
    limit: float | None,
    *,
    system: str = "graft",
    other: str = "sqlite-wal-normal",
    metric: str = "seconds",
) -> Target:
    name = scenario if metric == "seconds" else f"{scenario} {metric}"
    return Target(f"{name}: {system} ÷ {other}", Cell(scenario, system, metric), Cell(scenario, other, metric), limit)


def _deep(scenario: str, variant: str) -> Target:
    return Target(
        f"{scenario}: graft {variant} ÷ shallow",
        Cell(f"{scenario}/{variant}", "graft", "seconds"),
        Cell(f"{scenario}/shallow", "graft", "seconds"),
        1.1,
    )


TARGETS = (
    _versus("autocommit", 2.5, system="graft-relaxed", metric="p50"),
    _versus("autocommit", 1.2, other="sqlite-wal-full", metric="p50"),
    _versus("bulk", 1.0, system="graft-relaxed"),
    _versus("bulk", 1.0, other="sqlite-wal-full"),
    *(_versus(scenario, 0.6) for scenario in ("scan", "scan/transaction")),
    *(_versus(scenario, 1.0, system="graft-pure") for scenario in ("scan", "scan/transaction")),
    *(_versus(scenario, 0.8) for scenario in ("lookup", "lookup/transaction")),
    *(_versus(scenario, 1.0, system="graft-pure") for scenario in ("lookup", "lookup/transaction")),
    _versus("convoy", 1.5),
    _versus("convoy", None, system="graft-pure"),
    *(
        Target(
            f"two reader threads: work of {system} in a second, against one thread's",
            Cell("readers/threads-1", system, "seconds"),
            Cell("readers/threads-2", system, "seconds"),
            1.7 if system == "graft" else None,
            factor=2,
            more_is_better=True,
        )
        for system in ("graft", "graft-pure", "sqlite-wal-normal")
    ),
    *(_deep(scenario, variant) for scenario in ("deep_scan", "deep_lookup") for variant in ("unpushed", "pushed")),
    Target("open, large replica, in seconds", Cell("open/large", "graft", "p50"), None, 0.010),
    Target("local disk ÷ live pages, all pushed at once", Cell("memory", "graft", "disk_bytes"),
           Cell("memory", "graft", "live_bytes"), 1.1),
    Target("local disk ÷ live pages, after many pushes and closing", Cell("disk/closed", "graft", "disk_bytes"),
           Cell("disk/closed", "graft", "live_bytes"), 1.1),
    Target("local disk ÷ live pages, while pushes go on", Cell("disk/pushing", "graft", "disk_bytes"),
           Cell("disk/pushing", "graft", "live_bytes"), None),
)  # fmt: skip

MEMORY = Target(
    "anonymous memory of one huge transaction, in bytes", Cell("memory", "graft", "rss_anon_bytes"), None, None
)
"""Its limit depends on the volume: 12 bytes for each page, and 64 MiB."""


def judge(rows: Sequence[Row]) -> list[Verdict]:
    """Return a verdict for each target that these rows have values for."""
    found = medians(rows)
    verdicts = judge_by(TARGETS, rows)
    live = found.get(Cell("memory", "graft", "live_bytes"))
    peak = found.get(MEMORY.value)
    if live is not None and peak is not None:
        verdicts.append(Verdict(MEMORY, peak, live / _PAGE_BYTES * _BYTES_PER_PAGE + _BASE_BYTES))
    return verdicts
