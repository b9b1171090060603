"""The notes reducer in Python; notes.c, notes.ts and sdk/ are the same in C, AssemblyScript and with SQLSync's SDK."""

from sqlsync import PythonReducer, ReducerContext, migration, mutation

_UPSERT = (
    "INSERT INTO notes (key, value) VALUES (?1, {}) ON CONFLICT (key) DO UPDATE SET value = {}, version = version + 1"
)
_PUT = _UPSERT.format("?2", "excluded.value")
_APPEND = _UPSERT.format("?2", "value || excluded.value")
_STAMP = _UPSERT.format("sqlsync_actor() || ' ' || datetime() || ' ' || random()", "excluded.value")
_VALUE_OF = "SELECT value FROM notes WHERE key = ?"


class Notes(PythonReducer):
    """Notes: a text for each key."""

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
        """Write a note, unless it already exists."""
        if list(ctx.query(_VALUE_OF, (key,))):
            ctx.reject(f"{key} is taken")
        ctx.execute(_PUT, (key, value))

    @mutation
    def remove(self, ctx: ReducerContext, key: str) -> None:
        """Remove an existing note."""
        if not ctx.execute("DELETE FROM notes WHERE key = ?", (key,)):
            ctx.reject(f"there is no {key}")

    @mutation
    def stamp(self, ctx: ReducerContext, key: str) -> None:
        """Write the actor, the time of the call and a random number."""
        ctx.execute(_STAMP, (key,))

    @mutation
    def swap(self, ctx: ReducerContext, one: str, other: str) -> None:
        """Swap the texts of two notes."""
        first, second = (list(ctx.query(_VALUE_OF, (key,))) for key in (one, other))
        if not first or not second:
            ctx.reject(f"{one} or {other} is missing")
        ctx.execute(_PUT, (one, second[0][0]))
        ctx.execute(_PUT, (other, first[0][0]))
