"""The notes reducer in Python; notes.c, notes.ts and sdk/ are the same in C, AssemblyScript and on SQLSync's SDK."""

from sqlsync.reducers.python_reducer import PythonReducer, migration, mutation
from sqlsync.reducers.reducer import ReducerContext

_UPSERT = (
    "INSERT INTO notes (key, value) VALUES (?1, {}) ON CONFLICT (key) DO UPDATE SET value = {}, version = version + 1"
)
_PUT = _UPSERT.format("?2", "excluded.value")
_APPEND = _UPSERT.format("?2", "value || excluded.value")
_STAMP = _UPSERT.format("sqlsync_actor() || ' ' || datetime() || ' ' || random()", "excluded.value")
_VALUE_OF = "SELECT value FROM notes WHERE key = ?"


class Notes(PythonReducer):
    """Notes that have a text each."""

    @migration(1)
    def _tables(self, ctx: ReducerContext) -> None:
        ctx.execute("CREATE TABLE notes (key TEXT PRIMARY KEY, value TEXT, version INTEGER DEFAULT 1) STRICT")

    @mutation
    def put(self, ctx: ReducerContext, key: str, value: str) -> None:
        """Write a note."""
        ctx.execute(_PUT, (key, value))

    @mutation
    def append(self, ctx: ReducerContext, key: str, value: str) -> None:
        """Add to a note's text."""
        ctx.execute(_APPEND, (key, value))

    @mutation
    def take(self, ctx: ReducerContext, key: str, value: str) -> None:
        """Write a note, unless somebody else has."""
        if list(ctx.query(_VALUE_OF, (key,))):
            ctx.reject(f"{key} is taken")
        ctx.execute(_PUT, (key, value))

    @mutation
    def remove(self, ctx: ReducerContext, key: str) -> None:
        """Remove a note that is there."""
        if not ctx.execute("DELETE FROM notes WHERE key = ?", (key,)):
            ctx.reject(f"there is no {key}")

    @mutation
    def stamp(self, ctx: ReducerContext, key: str) -> None:
        """Write who called, when, and a random number."""
        ctx.execute(_STAMP, (key,))

    @mutation
    def swap(self, ctx: ReducerContext, one: str, other: str) -> None:
        """Exchange the texts of two notes."""
        first, second = (list(ctx.query(_VALUE_OF, (key,))) for key in (one, other))
        if not first or not second:
            ctx.reject(f"{one} or {other} is missing")
        ctx.execute(_PUT, (one, second[0][0]))
        ctx.execute(_PUT, (other, first[0][0]))
