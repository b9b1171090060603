"""The test kit for object stores: the contract that each backend passes, and stores that are slow or fail as told.

Only the contract needs pytest, and it is imported when it is asked for.
"""

import sys
from typing import TYPE_CHECKING

from pagestore.testing.faulty_store import (
    Fault,
    FaultyStore,
    interrupted,
    interrupted_before,
    lost_after,
    lost_and_retried,
    lost_before,
    preceded_by,
)
from pagestore.testing.latency_store import LatencyStore

if TYPE_CHECKING:
    from pagestore.testing.object_store_contract import ObjectStoreContract

__all__ = [
    "Fault",
    "FaultyStore",
    "LatencyStore",
    "ObjectStoreContract",
    "interrupted",
    "interrupted_before",
    "lost_after",
    "lost_and_retried",
    "lost_before",
    "preceded_by",
]

if pytest := sys.modules.get("pytest"):  # failed assertions of the contract show their values, as in a test module
    pytest.register_assert_rewrite("pagestore.testing.object_store_contract")


def __getattr__(name: str) -> object:
    if name == "ObjectStoreContract":
        from pagestore.testing.object_store_contract import ObjectStoreContract  # noqa: PLC0415 - needs pytest

        return ObjectStoreContract
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
