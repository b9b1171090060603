"""The example reducers: one application in four languages, with the same history and the same outcome."""

import apsw
import pytest

from examples.reducers.notes import Notes
from sqlsync.envelope import Mutation, Named
from sqlsync.errors import MutationRejected
from sqlsync.ids import TimelineId
from sqlsync.reducers.apply import Applied, apply_batch
from sqlsync.reducers.sandbox import Sandbox
from sqlsync.wasm.guest import WasmLimits
from sqlsync.wasm.reducer import WasmReducer
from tests.graft.support import fast_directory
from tests.sqlsync.support import Stage, notes
from tests.sqlsync.wasm.guests import built

HISTORY = [
    ("put", {"key": "a", "value": "1"}),
    ("append", {"key": "a", "value": "ä\0😀" + "x" * 5000}),
    ("take", {"key": "a", "value": "x"}),
    ("take", {"key": "b", "value": ""}),
    ("swap", {"one": "a", "other": "b"}),
    ("swap", {"one": "a", "other": "nobody's"}),
    ("remove", {"key": "nobody's"}),
    ("stamp", {"key": "s"}),
    ("append", {"key": "s", "value": "!"}),
    ("remove", {"key": "b"}),
]
KINDS = ["c", "assemblyscript", "sdk"]


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    made = {}

    def get(kind):
        if kind not in made:
            made[kind] = built(kind, tmp_path_factory.mktemp(kind))
        return made[kind]

    return get


def mutations(history):
    timeline = TimelineId(b"a" * 16)
    return [
        Mutation(timeline, lsn, Named(name, arguments), "ann", 1_700_000_000_000_000 + lsn, 1000 + lsn)
        for lsn, (name, arguments) in enumerate(history)
    ]


def outcome(reducer, history):
    connection = apsw.Connection(":memory:")
    sandbox = Sandbox(connection)
    if isinstance(reducer, WasmReducer) and not reducer.version:
        # SQLSync has no migrations: its applications begin with a mutation that makes the tables.
        sandbox.begin()
        apply_batch(sandbox, reducer, mutations([("init", {})]))
        connection.execute("COMMIT")
    sandbox.begin()
    found = apply_batch(sandbox, reducer, mutations(history))
    connection.execute("COMMIT")
    rows = connection.execute("SELECT * FROM notes ORDER BY key").fetchall()
    return [None if isinstance(each, Applied) else each.reason for each in found], rows


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("isolated", [True, False])
def test_all_languages_come_to_the_same(build, kind, isolated):
    expected = outcome(Notes(), HISTORY)
    assert expected[0] == [
        None, None, "a is taken", None, None, "a or nobody's is missing", "there is no nobody's", None, None, None,
    ]  # fmt: skip
    assert outcome(WasmReducer(build(kind), isolated=isolated), HISTORY) == expected


def test_a_long_history_leaves_no_memory_behind(build):
    """Ten megabytes go through an instance that may have one."""
    limits = WasmLimits(memory_bytes=2 * 1024 * 1024)
    long = [("put", {"key": "a", "value": f"{number}" * 20_000}) for number in range(100)]
    for kind in KINDS:
        reasons, rows = outcome(WasmReducer(build(kind), limits=limits, isolated=False), long)
        assert (kind, reasons) == (kind, [None] * 100)
        assert rows[0][2] == 100


def test_the_sdks_panic_is_told_as_the_reason(build):
    reasons, rows = outcome(WasmReducer(build("sdk")), [("panic", {"reason": "no such luck"}), HISTORY[0]])
    assert "the reducer failed: panicked at" in reasons[0]
    assert "no such luck" in reasons[0]
    assert (reasons[1], len(rows)) == (None, 1)


def test_the_sdks_errors_are_told_as_the_reason(build):
    reducer = WasmReducer(build("sdk"))
    connection = apsw.Connection(":memory:")
    sandbox = Sandbox(connection)
    sandbox.begin()
    (first,) = apply_batch(sandbox, reducer, mutations(HISTORY[:1]))
    assert first.reason == "SQLite Error(1): no such table: notes"
    (second,) = apply_batch(sandbox, reducer, mutations([("no such name", {})]))
    assert "unknown variant `no such name`" in second.reason


@pytest.mark.parametrize("kind", ["c", "assemblyscript"])
def test_documents_converge_on_a_reducer_in_webassembly(build, kind):
    with fast_directory() as directory:
        stage = Stage(directory, reducer=lambda: WasmReducer(build(kind)))
        coordinator = stage.coordinator()
        ann, bob = stage.client("ann", coordinator), stage.client("bob", coordinator)
        ann.mutate("put", key="a", value="1")
        bob.mutate("append", key="a", value="2")
        receipt = bob.mutate("take", key="seat", value="bob")
        ann.mutate("take", key="seat", value="ann")
        with pytest.raises(MutationRejected, match="there is no b"):
            ann.mutate("remove", key="b")
        for client in (ann, bob, ann):
            client.sync()
            coordinator.step()
        bob.sync()
        assert notes(ann) == notes(bob) == {"a": "12", "seat": "ann"}
        with pytest.raises(MutationRejected, match="seat is taken"):
            receipt.wait(0)
        stage.close()
