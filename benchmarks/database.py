"""An open database, as far as scenarios need it."""

from collections.abc import Sequence
from typing import Any, Protocol


class Rows(Protocol):
    """What a statement gives."""

    def fetchall(self) -> Sequence[Sequence[Any]]:
        """Return all rows."""
        ...


class Database(Protocol):
    """An open connection, as far as the scenarios need it."""

    def execute(self, sql: str, parameters: Any = ..., /) -> Rows:
        """Run a statement."""
        ...

    def executemany(self, sql: str, parameters: Any, /) -> Any:
        """Run a statement for many rows."""
        ...

    def close(self) -> None:
        """Close."""
        ...
