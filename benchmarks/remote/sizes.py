"""How much the scenarios of `python -m benchmarks remote` do; passed to the measured processes as JSON."""

from dataclasses import dataclass

MB = 1_000_000


@dataclass(frozen=True, slots=True)
class RemoteSizes:
    """Counts and bytes; published figures use the defaults."""

    rounds: int = 5
    table_bytes: int = 100 * MB
    small_table_bytes: int = 11 * MB
    lookups: int = 100
    warm_lookups: int = 2000
    repeats: int = 5
    """Measurements in one round, for scenarios that take little time."""
    rollup_commits: int = 100
    histories: tuple[int, ...] = (10, 100, 1000, 10_000)
    """Pushes of one row each, after the import, at which a volume is measured."""
    small_histories: tuple[int, ...] = (1000, 10_000)
    """The same for the small table, which is scanned."""
    latency_ms: float = 20.0


QUICK = RemoteSizes(
    rounds=1,
    table_bytes=2 * MB,
    small_table_bytes=MB,
    lookups=5,
    warm_lookups=20,
    repeats=1,
    rollup_commits=3,
    histories=(3, 6),
    small_histories=(3, 6),
    latency_ms=1.0,
)
"""Tiny sizes: they show that everything runs, and say nothing about speed."""
