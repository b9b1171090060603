"""How much the scenarios of `python -m benchmarks sqlsync` do; a plain value that travels to measured processes."""

from dataclasses import dataclass

MB = 1_000_000


@dataclass(frozen=True, slots=True)
class SyncSizes:
    """Counts and bytes; the defaults are the ones that figures are published for."""

    rounds: int = 5
    clients: int = 4
    client_mutations: int = 5000
    """Of each client, in `coordinator`."""
    rows: int = 10_000
    """Of the document before anybody mutates it."""
    calls: int = 1000
    """Single calls whose latency is measured."""
    pending: tuple[int, ...] = (1000, 10_000)
    """Mutations that wait while others push, in `rebase`."""
    document_bytes: int = 100 * MB
    confirms: int = 20


QUICK = SyncSizes(
    rounds=1, clients=2, client_mutations=20, rows=50, calls=10, pending=(5, 10), document_bytes=2 * MB, confirms=2
)
"""Tiny: shows that everything runs, and says nothing about speed."""
