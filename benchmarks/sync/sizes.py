"""How much the scenarios of `python -m benchmarks sqlsync` do; passed to the measured processes as JSON."""

from dataclasses import dataclass

MB = 1_000_000


@dataclass(frozen=True, slots=True)
class SyncSizes:
    """Counts and bytes; published figures use the defaults."""

    rounds: int = 5
    clients: int = 4
    client_mutations: int = 5000
    """Mutations of each client, in `coordinator`."""
    rows: int = 10_000
    """Rows of the document before the first mutation."""
    calls: int = 1000
    """Single calls whose latency is measured."""
    pending: tuple[int, ...] = (1000, 10_000)
    """Pending mutations in `rebase`."""
    document_bytes: int = 100 * MB
    confirms: int = 20


QUICK = SyncSizes(
    rounds=1, clients=2, client_mutations=20, rows=50, calls=10, pending=(5, 10), document_bytes=2 * MB, confirms=2
)
"""Tiny sizes: they show that everything runs, and say nothing about speed."""
