"""The part of an open database that scenarios need."""

from collections.abc import Sequence
from typing import Any, Protocol


class Rows(Protocol):
    """The result of a statement."""

    def fetchall(self) -> Sequence[Sequence[Any]]:
        """Return all rows."""
        ...


class Database(Protocol):
    """An open connection."""

    def execute(self, sql: str, parameters: Any = ..., /) -> Rows:
        """Run a statement."""
        ...

    def executemany(self, sql: str, parameters: Any, /) -> Any:
        """Run a statement for many rows."""
        ...

    def close(self) -> None:
        """Close."""
        ...
