"""How much the scenarios of `python -m benchmarks remote` do; a plain value that travels to measured processes."""

from dataclasses import dataclass

MB = 1_000_000


@dataclass(frozen=True, slots=True)
class RemoteSizes:
    """Counts and bytes; the defaults are the ones that figures are published for."""

    rounds: int = 5
    table_bytes: int = 100 * MB
    small_table_bytes: int = 11 * MB
    lookups: int = 100
    warm_lookups: int = 2000
    repeats: int = 5
    """Measurements of one round, where one takes no time."""
    rollup_commits: int = 100
    histories: tuple[int, ...] = (10, 100, 1000, 10_000)
    """Pushes of one row each, after the import, at which a volume is looked at."""
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
"""Tiny: shows that everything runs, and says nothing about speed."""
