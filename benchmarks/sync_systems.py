"""The reducers that `python -m benchmarks sqlsync` compares; all do the same to the same table."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from sqlsync.python_reducer import PythonReducer, migration, mutation
from sqlsync.reducer import Reducer, ReducerContext


class Tasks(PythonReducer):
    """A list of tasks: what a small application does with one table and one index."""

    @migration(1)
    def tables(self, ctx: ReducerContext) -> None:
        """Make the table."""
        ctx.execute(
            "CREATE TABLE tasks (id INTEGER PRIMARY KEY, owner TEXT NOT NULL, text TEXT NOT NULL, done INTEGER)"
        )
        ctx.execute("CREATE INDEX tasks_by_owner ON tasks (owner)")

    @mutation
    def add(self, ctx: ReducerContext, number: int, owner: str, text: Annotated[str, Field(min_length=1)]) -> None:
        """Add a task, or say it anew."""
        ctx.execute(
            "INSERT INTO tasks VALUES (?, ?, ?, 0) ON CONFLICT (id) DO UPDATE SET text = excluded.text",
            (number, owner, text),
        )


@dataclass(frozen=True, slots=True)
class PythonSystem:
    """Reducers in Python."""

    environment: Mapping[str, str] = field(default_factory=dict)

    def reducer(self) -> Reducer:
        """Return a new reducer."""
        return Tasks()


SYSTEMS = {"python": PythonSystem()}
"""All that can run here, by name."""
