"""The test kit: contracts for the tests of a backend to inherit, and stores and logs that count, wait or fail.

    from graft.testing import ObjectStoreContract

    class TestMyStore(ObjectStoreContract):
        @pytest.fixture
        def store(self):
            return MyStore()

Only the two contracts need pytest; they are imported on first use. docs/how-to/backends.md shows more.
"""

from typing import TYPE_CHECKING

import metastore.testing
import pagestore.testing
from metastore.testing import CountingCommitLog, FaultyCommitLog, MemoryCommitLog
from pagestore.stores.memory import MemoryStore
from pagestore.stores.metered import MeteredStore, StoreTraffic
from pagestore.testing import (
    Fault,
    FaultyStore,
    LatencyStore,
    interrupted,
    interrupted_before,
    lost_after,
    lost_and_retried,
    lost_before,
    preceded_by,
)

if TYPE_CHECKING:
    from metastore.testing import CommitLogContract
    from pagestore.testing import ObjectStoreContract

__all__ = [
    "CommitLogContract",
    "CountingCommitLog",
    "Fault",
    "FaultyCommitLog",
    "FaultyStore",
    "LatencyStore",
    "MemoryCommitLog",
    "MemoryStore",
    "MeteredStore",
    "ObjectStoreContract",
    "StoreTraffic",
    "interrupted",
    "interrupted_before",
    "lost_after",
    "lost_and_retried",
    "lost_before",
    "preceded_by",
]

_CONTRACTS = {"CommitLogContract": metastore.testing, "ObjectStoreContract": pagestore.testing}


def __getattr__(name: str) -> object:
    if name in _CONTRACTS:
        return getattr(_CONTRACTS[name], name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
