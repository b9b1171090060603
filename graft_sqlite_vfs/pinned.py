"""Snapshots that this process opens as databases: the URI parameter ``snapshot`` names one by a number.

A path and an LSN name a version that the remote has. What a replica holds beyond that, or another volume's version,
is a `Snapshot` alone, which no text describes.
"""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

from graft.errors import BadRequest
from graft.reading.snapshot import Snapshot

PARAMETER = "snapshot"

_pinned: dict[str, Snapshot] = {}
_numbers = itertools.count(1)


@contextmanager
def pinned(snapshot: Snapshot) -> Iterator[str]:
    """Give a snapshot a name, by which a connection can be opened in the block; the connection may outlive it."""
    name = str(next(_numbers))
    _pinned[name] = snapshot
    try:
        yield name
    finally:
        del _pinned[name]


def snapshot_named(name: str) -> Snapshot:
    """Return a pinned snapshot."""
    try:
        return _pinned[name]
    except KeyError:
        raise BadRequest(f"no snapshot {name!r} is pinned: open a version of the past with `at`") from None
