"""Strategies: whatever the order of arrival, the row is what the strategy promises."""

import itertools
import json

import apsw
import pytest

from sqlsync.envelope import Mutation, Named
from sqlsync.ids import TimelineId
from sqlsync.reducers.apply import Applied, Rejected, apply_batch
from sqlsync.reducers.python_reducer import PythonReducer, migration, mutation
from sqlsync.reducers.sandbox import Sandbox
from sqlsync.reducers.strategies import last_writer_wins, merge_by_field, reject_on_conflict


class Rows(PythonReducer):
    @migration(1)
    def tables(self, ctx):
        ctx.execute('CREATE TABLE "the rows" (id TEXT PRIMARY KEY, a, "b c", stamp TEXT, stamps TEXT, version INTEGER)')

    @mutation
    def last(self, ctx, id: str, values: dict[str, str]):
        last_writer_wins(ctx, "the rows", {"id": id}, values)

    @mutation
    def merge(self, ctx, id: str, values: dict[str, str]):
        merge_by_field(ctx, "the rows", {"id": id}, values)

    @mutation
    def strict(self, ctx, id: str, values: dict[str, str], expected: int):
        reject_on_conflict(ctx, "the rows", {"id": id}, values, expected=expected)

    @mutation
    def plain(self, ctx, id: str):
        ctx.execute('INSERT INTO "the rows" (id) VALUES (?)', (id,))

    @mutation
    def delete(self, ctx, id: str):
        ctx.execute('DELETE FROM "the rows" WHERE id = ?', (id,))


def call(name, at=0, client=b"a", **arguments):
    return Mutation(TimelineId(client * 16), 0, Named(name, {"id": "row", **arguments}), "", at, 0)


def after(*mutations):
    connection = apsw.Connection(":memory:")
    sandbox = Sandbox(connection)
    sandbox.begin()
    outcomes = apply_batch(sandbox, Rows(), mutations)
    connection.execute("COMMIT")
    row = connection.execute('SELECT a, "b c", version FROM "the rows"').fetchall()
    connection.close()
    return outcomes, row


def test_the_last_writer_wins_in_every_order_of_arrival():
    calls = [
        call("last", -5, values={"a": "before 1970", "b c": "x"}),
        call("last", 10, values={"a": "first", "b c": "x"}),
        call("last", 20, values={"a": "second", "b c": "y"}),
        call("last", 20, b"b", values={"a": "second too", "b c": "z"}),
    ]
    found = {str(after(*order)) for order in itertools.permutations(calls)}
    assert found == {str(([Applied()] * 4, [("second too", "z", None)]))}


def test_fields_are_merged_in_every_order_of_arrival():
    calls = [
        call("merge", 10, values={"a": "old", "b c": "old"}),
        call("merge", 20, values={"a": "new"}),
        call("merge", 15, b"b", values={"a": "late", "b c": "new"}),
    ]
    found = {str(after(*order)) for order in itertools.permutations(calls)}
    assert found == {str(([Applied()] * 3, [("new", "new", None)]))}


@pytest.mark.parametrize("strategy", ["last", "merge"])
def test_a_row_that_others_made_without_stamps_is_older_than_any(strategy):
    assert after(call("plain"), call(strategy, values={"a": "x"}))[1] == [("x", None, None)]


def test_stamps_are_json_that_names_the_columns():
    connection = apsw.Connection(":memory:")
    sandbox = Sandbox(connection)
    sandbox.begin()
    apply_batch(sandbox, Rows(), [call("merge", 10, values={"a": "x", "b c": "y"})])
    (text,) = connection.execute('SELECT stamps FROM "the rows"').fetchone()
    assert set(json.loads(text)) == {"a", "b c"}
    connection.close()


def test_a_call_on_an_older_version_is_refused_and_says_what_there_is():
    outcomes, rows = after(
        call("strict", values={"a": "one"}, expected=0),
        call("strict", values={"a": "two"}, expected=1),
        call("strict", values={"a": "late"}, expected=1),
        call("strict", values={"a": "new?"}, expected=0),
        call("strict", values={"a": "three"}, expected=2),
        call("delete"),
        call("strict", values={"a": "four"}, expected=3),
    )
    changed = "the rows id 'row' was changed by another client: this call was made on"
    assert outcomes == [
        Applied(),
        Applied(),
        Rejected(f"{changed} version 1, and it is now at version 2"),
        Rejected(f"{changed} a missing row, and it is now at version 2"),
        Applied(),
        Applied(),
        Rejected(f"{changed} version 3, and it is now deleted"),
    ]
    assert rows == []
