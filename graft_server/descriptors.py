"""How many documents a process has file descriptors for."""

import resource
from typing import Final

_PER_DOCUMENT: Final = 24
"""What an open document needs: its replica's journal, cache and locks, its inbox, connections of SQLite."""
_OTHERS: Final = 64
"""What the process needs besides."""


def documents_that_fit(documents_max: int) -> int:
    """Return how many documents may be open at once: ``documents_max``, or as many as there are descriptors for.

    A quarter of the descriptors is left to clients' connections.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return documents_max
    return max(1, min(documents_max, (limit * 3 // 4 - _OTHERS) // _PER_DOCUMENT))


def raise_limit() -> None:
    """Allow the process as many descriptors as its user may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
