"""How much each scenario does; passed to the measured processes as JSON."""

import dataclasses
from dataclasses import dataclass

MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Sizes:
    """Counts and bytes; published figures use the defaults."""

    rounds: int = 5
    transactions: int = 1000
    """One-row transactions of `autocommit`."""
    remote_transactions: int = 100
    """The same with durability `remote`, where each transaction waits for a push."""
    bulk_rows: int = 100_000
    table_bytes: int = 100 * MB
    large_bytes: int = 1000 * MB
    """Size of the large database of `open`, and of the transaction of `memory`."""
    lookups: int = 20_000
    deep_commits: int = 10_000
    opens: int = 20
    pushed_bytes: int = 20 * MB
    """Size of the database of `disk`."""
    pushes: int = 1000
    """How often `disk` changes a row and pushes it."""
    reader_scans: int = 10
    """Full scans of each reader in `readers`."""
    convoy_lookups: int = 1000


QUICK = Sizes(
    rounds=1,
    transactions=20,
    remote_transactions=3,
    bulk_rows=500,
    table_bytes=MB,
    large_bytes=2 * MB,
    lookups=100,
    deep_commits=5,
    opens=2,
    pushed_bytes=MB,
    pushes=5,
    reader_scans=1,
    convoy_lookups=20,
)
"""Tiny sizes: they show that everything runs, and say nothing about speed."""


def as_json(sizes: Sizes) -> dict[str, int]:
    """Return the sizes as a JSON object."""
    return dataclasses.asdict(sizes)
