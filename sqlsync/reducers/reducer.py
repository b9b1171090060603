"""The reducer port: the application's logic, which turns a mutation into SQL."""

import datetime as dt
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import NoReturn, Protocol

from sqlsync.envelope import Mutation

SQLValue = None | int | float | str | bytes
Bindings = Sequence[SQLValue] | Mapping[str, SQLValue]


class ReducerContext(Protocol):
    """What a reducer may use. The same mutation on the same data sees the same answers, at every replay."""

    @property
    def mutation(self) -> Mutation:
        """The mutation that is being applied."""

    @property
    def actor(self) -> str:
        """Who called the mutation; empty if nobody said."""

    @property
    def now(self) -> dt.datetime:
        """When the mutation was called, in UTC; SQL's clock inside the reducer says the same."""

    @property
    def random(self) -> random.Random:
        """Random numbers from the mutation's seed."""

    def query(self, sql: str, bindings: Bindings = ()) -> Iterator[tuple[SQLValue, ...]]:
        """Run SQL (one statement or several, which use up the bindings in turn) and return the rows.

        Raises apsw's errors, which a reducer may handle: the statement left nothing then.
        """

    def query_columns(
        self, sql: str, bindings: Bindings = (), *, bytes_max: int | None = None
    ) -> tuple[tuple[str, ...], list[tuple[SQLValue, ...]]]:
        """Run SQL like `query`; returns the names of the columns, and the rows.

        Rows that take more than ``bytes_max`` bytes (None: the document's limit) fail the mutation.
        """

    def execute(self, sql: str, bindings: Bindings = ()) -> int:
        """Run SQL like `query`; returns how many rows were changed."""

    def reject(self, reason: str) -> NoReturn:
        """Refuse the mutation: raises `MutationRejected`."""


class Reducer(Protocol):
    """Applies mutations. Stateless between mutations; one thread uses it at a time per connection."""

    @property
    def version(self) -> int:
        """The schema version that it works on, 0 if it has no migrations."""

    @property
    def digest(self) -> bytes | None:
        """SHA-256 of a WebAssembly module, by which SQLSync's clients name it; None for others."""

    def migrate(self, context: ReducerContext, version: int) -> None:
        """Take the document from ``version - 1`` to ``version``; what it raises leaves the document as it was."""

    def check(self, mutation: Mutation) -> None:
        """Raise `BadMutation` if the mutation's name or arguments can be told to be wrong without any data."""

    def apply(self, context: ReducerContext) -> None:
        """Apply the context's mutation.

        Raises `MutationRejected` to refuse it. Any other exception counts as `ReducerFailed`; the caller rolls back the
        mutation's savepoint in both cases.
        """
