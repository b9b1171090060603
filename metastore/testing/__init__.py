"""The test kit for commit logs: the contract that each backend passes, and logs that count or fail as told.

Only the contract needs pytest, and it is imported when it is asked for.
"""

import sys
from typing import TYPE_CHECKING

from metastore.testing.commit_logs import CountingCommitLog, FaultyCommitLog, MemoryCommitLog

if TYPE_CHECKING:
    from metastore.testing.commit_log_contract import CommitLogContract

__all__ = ["CommitLogContract", "CountingCommitLog", "FaultyCommitLog", "MemoryCommitLog"]

if pytest := sys.modules.get("pytest"):  # failed assertions of the contract show their values, as in a test module
    pytest.register_assert_rewrite("metastore.testing.commit_log_contract")


def __getattr__(name: str) -> object:
    if name == "CommitLogContract":
        from metastore.testing.commit_log_contract import CommitLogContract  # noqa: PLC0415 - needs pytest

        return CommitLogContract
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
