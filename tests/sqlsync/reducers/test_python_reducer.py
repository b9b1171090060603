"""Reducers in Python: by name, with arguments that are what the annotations say, and errors that say what to mend."""

import datetime as dt
from enum import Enum
from typing import Annotated

import apsw
import pytest
from pydantic import BaseModel, Field

from sqlsync.envelope import Mutation, Named, Opaque
from sqlsync.errors import BadMutation, MigrationFailed
from sqlsync.ids import TimelineId
from sqlsync.reducers.apply import Applied, Rejected, apply_batch
from sqlsync.reducers.python_reducer import PythonReducer, migration, mutation
from sqlsync.reducers.sandbox import Sandbox


class Colour(Enum):
    RED = "red"


class Place(BaseModel):
    shelf: int
    row: int = 1


class Base(PythonReducer):
    @migration(1)
    def tables(self, ctx):
        ctx.execute("CREATE TABLE items (id TEXT PRIMARY KEY, value)")

    @mutation
    def drop(self, ctx, id: str):
        if not ctx.execute("DELETE FROM items WHERE id = ?", (id,)):
            ctx.reject(f"there is no {id}")


class Items(Base):
    def __init__(self):
        super().__init__()
        self.seen = []

    @migration(2)
    def more(self, ctx):
        ctx.execute("ALTER TABLE items ADD COLUMN more")

    @mutation
    def add(
        self,
        ctx,
        id: Annotated[str, Field(min_length=1)],
        *,
        places: Annotated[list[Place], Field(default_factory=list)],
        due: dt.datetime | None = None,
        colour: Colour = Colour.RED,
        schema: int = 0,
    ):
        self.seen.append((due, colour, places, schema))
        ctx.execute("INSERT INTO items (id, value) VALUES (?, ?)", (id, ctx.actor))

    @mutation("apply")
    def do_apply(self, ctx):
        ctx.execute("UPDATE items SET value = 'applied'")


@pytest.fixture
def sandbox():
    connection = apsw.Connection(":memory:")
    yield Sandbox(connection)
    connection.close()


def call(name, **arguments):
    return Mutation(TimelineId(bytes(16)), 0, Named(name, arguments), "ann", 0, 0)


def run(sandbox, reducer, *mutations):
    sandbox.begin()
    try:
        outcomes = apply_batch(sandbox, reducer, mutations)
    except BaseException:
        sandbox.connection.execute("ROLLBACK")
        raise
    sandbox.connection.execute("COMMIT")
    return outcomes


def test_methods_are_called_with_what_their_annotations_say(sandbox):
    reducer = Items()
    mutations = [
        call("add", id="a", due="2024-02-29T12:00:00Z", colour="red", places=[{"shelf": "3"}], schema=4),
        call("add", id="b"),
        call("apply"),
        call("drop", id="b"),
        call("drop", id="b"),
    ]
    assert run(sandbox, reducer, *mutations) == [Applied()] * 4 + [Rejected("there is no b")]
    noon = dt.datetime(2024, 2, 29, 12, tzinfo=dt.UTC)
    assert reducer.seen == [(noon, Colour.RED, [Place(shelf=3)], 4), (None, Colour.RED, [], 0)]
    assert sandbox.connection.execute("SELECT id, value, more FROM items").fetchall() == [("a", "applied", None)]
    assert (reducer.version, reducer.mutations, reducer.digest) == (2, ("add", "apply", "drop"), None)


def test_functions_can_be_registered_too(sandbox):
    reducer = PythonReducer()

    @reducer.migration(1)
    def tables(ctx):
        ctx.execute("CREATE TABLE items (id)")

    @reducer.mutation
    def add(ctx, id: int):
        ctx.execute("INSERT INTO items VALUES (?)", (id,))

    @reducer.mutation("remove-all")
    def clear(ctx):
        ctx.execute("DELETE FROM items")

    assert run(sandbox, reducer, call("add", id=1), call("remove-all"), call("add", id="2")) == [Applied()] * 3
    assert sandbox.connection.execute("SELECT id FROM items").fetchall() == [(2,)]
    for again in (reducer.mutation("add"), reducer.migration(1)):
        with pytest.raises(TypeError, match="already"):
            again(add)
    assert PythonReducer().mutations == ()


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (call("ad", id="a"), "there is no mutation 'ad'; did you mean 'add'?"),
        (call("zzz"), "there is no mutation 'zzz'; known mutations: add, apply, drop"),
        (call("add"), "mutation 'add': id is missing"),
        (call("add", id="a", ide="b"), "mutation 'add': ide is not an argument"),
        (call("add", id=""), "mutation 'add': id: String should have at least 1 character (got '')"),
        (call("add", id="a", due="soon"), "mutation 'add': due: Input should be a valid datetime"),
        (call("add", id="a", places=[{"row": 2}]), "mutation 'add': places.0.shelf is missing"),
        (call("add", id="x" * 100, colour="y" * 100), f"(got '{'y' * 56}...)"),
        (call("add", id="a", self=1, ctx=2), "mutation 'add': self is not an argument; ctx is not an argument"),
        (
            Mutation(TimelineId(bytes(16)), 0, Opaque(b"abc"), "", 0, 0),
            "Items needs mutations with names, and this one is 3 opaque bytes",
        ),
    ],
)
def test_what_does_not_fit_is_told_in_words_and_rejected_wherever_it_arrives(sandbox, bad, told):
    with pytest.raises(BadMutation) as caught:
        Items().check(bad)
    assert told in str(caught.value)
    assert run(sandbox, Items(), bad) == [Rejected(str(caught.value))]


def test_what_cannot_be_registered_is_told_where_it_is_written():
    with pytest.raises(TypeError, match="hides a method of PythonReducer"):
        type("Bad", (PythonReducer,), {"check": mutation(lambda self, ctx: None)})
    for bad in (lambda ctx, *rest: None, lambda ctx, **rest: None, lambda ctx, one, /: None):
        with pytest.raises(TypeError, match="all parameters must be named"):
            PythonReducer().mutation("bad")(bad)
    with pytest.raises(TypeError, match="needs a context"):
        PythonReducer().mutation("bad")(lambda: None)


def test_migrations_count_without_a_hole(sandbox):
    reducer = PythonReducer()
    reducer.migration(2)(lambda ctx: None)
    with pytest.raises(MigrationFailed, match=r"has migrations \[2\]"):
        run(sandbox, reducer, call("add"))
