"""Limits the number of open documents by the process's file descriptors."""

import resource
from typing import Final

_PER_DOCUMENT: Final = 24
"""Descriptors of an open document: its replica's journal, cache and locks, its inbox, SQLite's connections."""
_OTHERS: Final = 64
"""Descriptors that the process needs otherwise."""


def documents_that_fit(documents_max: int) -> int:
    """Return how many documents may be open at once: ``documents_max``, or fewer if there are too few descriptors.

    A quarter of the descriptors is reserved for clients' connections.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return documents_max
    return max(1, min(documents_max, (limit * 3 // 4 - _OTHERS) // _PER_DOCUMENT))


def raise_limit() -> None:
    """Raise the process's descriptor limit to the maximum that is allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
