"""The reducer port: the application's logic, which turns a mutation into SQL."""

import datetime as dt
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import NoReturn, Protocol

from sqlsync.envelope import Mutation

SQLValue = None | int | float | str | bytes
Bindings = Sequence[SQLValue] | Mapping[str, SQLValue]


class ReducerContext(Protocol):
    """What a reducer may use. It gives the same answers to the same mutation on the same data, at every replay."""

    @property
    def mutation(self) -> Mutation:
        """The mutation that is being applied."""

    @property
    def actor(self) -> str:
        """The actor who called the mutation; empty if not given."""

    @property
    def now(self) -> dt.datetime:
        """The time of the mutation's call, in UTC; SQL's clock inside the reducer shows the same."""

    @property
    def random(self) -> random.Random:
        """Random numbers from the mutation's seed."""

    def query(self, sql: str, bindings: Bindings = ()) -> Iterator[tuple[SQLValue, ...]]:
        """Run SQL (one statement or several, which consume the bindings in turn) and return the rows.

        Raises apsw's errors, which a reducer may handle; the failed statement had no effect.
        """

    def query_columns(
        self, sql: str, bindings: Bindings = (), *, bytes_max: int | None = None
    ) -> tuple[tuple[str, ...], list[tuple[SQLValue, ...]]]:
        """Run SQL like `query`; return the column names and the rows.

        The mutation fails if the rows take more than ``bytes_max`` bytes (None: the document's limit).
        """

    def execute(self, sql: str, bindings: Bindings = ()) -> int:
        """Run SQL like `query`; return how many rows were changed."""

    def reject(self, reason: str) -> NoReturn:
        """Reject the mutation: raises `MutationRejected`."""


class Reducer(Protocol):
    """Applies mutations. Stateless between mutations; one thread uses it at a time per connection."""

    @property
    def version(self) -> int:
        """The schema version of its documents, 0 if it has no migrations."""

    @property
    def digest(self) -> bytes | None:
        """SHA-256 of a WebAssembly module, by which SQLSync's clients name it; None for other reducers."""

    def migrate(self, context: ReducerContext, version: int) -> None:
        """Migrate the document from ``version - 1`` to ``version``; after an exception the document is unchanged."""

    def check(self, mutation: Mutation) -> None:
        """Raise `BadMutation` if the mutation's name or arguments are wrong, as far as that shows without data."""

    def apply(self, context: ReducerContext) -> None:
        """Apply the context's mutation.

        Raises `MutationRejected` to reject it. Any other exception counts as `ReducerFailed`. In both cases the caller
        rolls back the mutation's savepoint.
        """
