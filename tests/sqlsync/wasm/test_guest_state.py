"""An instance that is put back to its first state answers like a new one; where that cannot be, there is a new one."""

import apsw
import pytest
import wasmtime
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlsync.envelope import Mutation, Named, Opaque
from sqlsync.ids import TimelineId
from sqlsync.reducers.apply import Applied, apply_batch
from sqlsync.reducers.sandbox import Limits, Sandbox
from sqlsync.wasm import engine as wasm_engine
from sqlsync.wasm import reducer as wasm_reducer
from sqlsync.wasm.guest import Guest, WasmLimits
from sqlsync.wasm.guest_state import with_globals_exported
from sqlsync.wasm.reducer import WasmReducer
from tests.sqlsync.wasm.guests import DONE, RECORD, REQUEST, built, guest, record, requesting, wat

TIMELINE = TimelineId(b"a" * 16)
LIMITS = WasmLimits(fuel=1_000_000, memory_bytes=16 * 65536)
INSERT = requesting("INSERT INTO t VALUES (?)", params=(1).to_bytes(4, "little") + bytes(8), count=1)
CELL, SPOILT = 40000, 50000
# What a mutation's first byte has the guest do, once it looked at what it remembers.
NOTHING, GLOBALS, MEMORY, GROW, TRAP, SPOIL, REFUSE, LOOP, LOG = range(9)
REMEMBERING = f"""
    (i64.store (i32.const {REQUEST + len(INSERT) - 8}) (i64.add
        (i64.add (i64.extend_i32_u (i32.load (i32.const {CELL}))) (i64.extend_i32_u (i32.load8_u (i32.const {SPOILT}))))
        (i64.add (i64.shl (i64.extend_i32_u (memory.size)) (i64.const 48))
            (i64.add (i64.trunc_f64_s (global.get $float)) (global.get $wide)))))
    (block $log (block $loop (block $refuse (block $spoil (block $trap (block $grow (block $memory (block $globals
        (block $nothing
        (br_table $nothing $globals $memory $grow $trap $spoil $refuse $loop $log (i32.load8_u (local.get 0)))
    ) (return (i32.const {REQUEST}))
    ) (global.set $float (f64.add (global.get $float) (f64.const 1000)))
      (global.set $wide (i64.add (global.get $wide) (i64.const 0x100000))) (return (i32.const {REQUEST}))
    ) (i32.store (i32.const {CELL}) (i32.const 77)) (return (i32.const {REQUEST}))
    ) (drop (memory.grow (i32.const 1))) (return (i32.const {REQUEST}))
    ) (global.set $wide (i64.const 5)) (i32.store (i32.const {CELL}) (i32.const 9)) (unreachable)
    ) (memory.fill (i32.const {SPOILT}) (i32.const 3) (i32.const 15000)) (return (i32.const {REQUEST}))
    ) (global.set $wide (i64.const 6)) (return (i32.const 30008))
    ) (loop $l (i32.store (i32.const {CELL}) (i32.const 8)) (br $l))
    ) (call $log (i32.const {RECORD})) (i32.const {REQUEST})"""
REFUSAL = (1).to_bytes(4, "little") * 2 + (2).to_bytes(8, "little") + b"no"
REFUSAL_DATA = "".join(f"\\{byte:02x}" for byte in len(REFUSAL).to_bytes(8, "little") + REFUSAL)
MORE = f"""(start $begin)
    (func $begin (global.set $wide (i64.const 0x5000)) (i32.store (i32.const {CELL}) (i32.const 5)))
    (global $float (mut f64) (f64.const 100)) (global $wide (mut i64) (i64.const 0))
    (data (i32.const 30000) "{REFUSAL_DATA}")"""
TABLE = "(table 2 funcref)"
NEVER_CALLED = f"{TABLE} (func (table.set (i32.const 0) (ref.null func)))"


def remembering(more=""):
    return guest(REMEMBERING, request=INSERT, log=record("INFO", "hello"), more=MORE + more)


RESTORED, FRESH = remembering(), remembering(NEVER_CALLED)


@pytest.fixture
def guests(monkeypatch):
    """The instances that reducers make."""
    made = []

    class Counted(Guest):
        def __init__(self, *args, **options):
            made.append(self)
            super().__init__(*args, **options)

    monkeypatch.setattr(wasm_reducer, "Guest", Counted)
    return made


def outcome(module, ops, *, reducer=None, limits=None):
    """What a series of mutations comes to: the reason of each that was rejected, and the rows."""
    connection = apsw.Connection(":memory:")
    connection.execute("CREATE TABLE t (x)")
    sandbox = Sandbox(connection, limits=limits or Limits())
    calls = [Mutation(TIMELINE, lsn, Opaque(bytes((op,)) + b"...."), "", 1, 7) for lsn, op in enumerate(ops)]
    sandbox.begin()
    found = apply_batch(sandbox, reducer or WasmReducer(module, limits=LIMITS), calls)
    rows = connection.execute("SELECT x FROM t").fetchall()
    connection.close()
    return [None if isinstance(each, Applied) else each.reason for each in found], rows


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(NOTHING, LOG), max_size=20))
def test_a_guest_that_is_put_back_answers_like_a_new_one(ops):
    assert outcome(RESTORED, ops) == outcome(FRESH, ops)


def test_one_instance_does_unless_it_failed_or_grew(guests):
    reducer = WasmReducer(RESTORED, limits=LIMITS)
    outcome(None, [NOTHING, GLOBALS, MEMORY, SPOIL, REFUSE, LOG, NOTHING] * 5, reducer=reducer)
    assert len(guests) == 1
    for op in (TRAP, LOOP, GROW):
        del guests[:]
        outcome(None, [op, NOTHING, NOTHING], reducer=reducer)
        assert len(guests) == 1


@pytest.mark.parametrize("kind", ["c", "assemblyscript", "sdk"])
def test_one_instance_of_usual_modules_does(kind, guests, tmp_path):
    reducer = WasmReducer(built(kind, tmp_path))
    sandbox = Sandbox(apsw.Connection(":memory:"))
    sandbox.begin()
    puts = [
        Mutation(TIMELINE, lsn, Named("put", {"key": f"{lsn}", "value": "x" * 1000}), "", 1, 7) for lsn in range(200)
    ]
    apply_batch(sandbox, reducer, puts)
    assert len(guests) == 1


def test_a_mutation_that_is_stopped_between_two_requests_leaves_nothing_behind():
    once = f"(if (i32.load (i32.const {CELL})) (then unreachable)) (i32.store (i32.const {CELL}) (i32.const 1))"
    endless = guest(f"{once} (i32.const {REQUEST})", step=f"(i32.const {REQUEST})", request=INSERT)
    reasons, rows = outcome(endless, [NOTHING] * 3, limits=Limits(statements=5))
    assert "statements" in reasons[0]
    assert (set(reasons), rows) == ({reasons[0]}, [])


def test_where_state_is_out_of_reach_each_mutation_has_a_new_instance(guests):
    outcome(None, [NOTHING] * 5, reducer=WasmReducer(FRESH, limits=LIMITS))
    assert len(guests) == 6


def test_a_guest_with_much_memory_is_made_anew(guests):
    much = f"(if (i32.eqz (i32.load (i32.const {CELL}))) (then (drop (memory.grow (i32.const 0)))))"
    module = guest(much + f"(i32.const {REQUEST})", request=DONE).replace(b"\5\3\1\0\1", b"\5\3\1\0\x30")
    outcome(None, [NOTHING] * 3, reducer=WasmReducer(module))
    assert len(guests) == 4


@pytest.mark.parametrize("kind", ["c", "assemblyscript", "sdk"])
def test_the_state_of_usual_modules_is_within_reach(kind, tmp_path):
    source = built(kind, tmp_path).read_bytes()
    module, count = with_globals_exported(source)
    exported = [export for export in wasmtime.Module(wasm_engine.engine(), module).exports if ":global:" in export.name]
    assert len(exported) == count >= 1
    assert wasm_engine.load(source).globals_count == count


SIMPLE = '(export "f" (func $f)) (memory 1) (table $t 2 funcref) (func $f {}) {}'
OUT_OF_REACH = {
    "table.set": ("(table.set (i32.const 0) (ref.null func))", ""),
    "table.grow": ("(drop (table.grow (ref.null func) (i32.const 1)))", ""),
    "table.fill": ("(table.fill (i32.const 0) (ref.null func) (i32.const 1))", ""),
    "table.copy": ("(table.copy (i32.const 0) (i32.const 1) (i32.const 1))", ""),
    "table.init": ("(table.init $e (i32.const 0) (i32.const 0) (i32.const 1))", "(elem $e func $f)"),
    "elem.drop": ("(elem.drop $e)", "(elem $e func $f)"),
    "memory.init": ("(memory.init $d (i32.const 0) (i32.const 0) (i32.const 1))", '(data $d "x")'),
    "data.drop": ("(data.drop $d)", '(data $d "x")'),
    "a global that refers to a function": ("", "(global (mut funcref) (ref.null func))"),
    "a global that is a vector": ("", "(global (mut v128) (v128.const i64x2 0 0))"),
    "a vector": ("(drop (v128.const i64x2 0x260026 0))", ""),
    "behind a br_table": ("(br_table 0 0 (i32.const 0)) (table.set (i32.const 0) (ref.null func))", ""),
    "behind constants": ("(drop (f64.const 1)) (drop (i64.const -1)) (data.drop $d)", '(data $d "x")'),
    "in the last of many": ("", "(func) (func (local f32 i64)) (func (elem.drop $e)) (elem $e func $f)"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "more"), OUT_OF_REACH.values(), ids=OUT_OF_REACH)
def test_modules_that_keep_something_elsewhere_are_told(body, more):
    assert with_globals_exported(wat(f"(module {SIMPLE.format(body, more)})")) is None


WITHIN_REACH = {
    "all kinds of numbers": "(drop (f64.const 26)) (drop (f32.const -1)) (drop (i32.const 0x2626)) "
    "(drop (i64.const -38))",
    "blocks": "(block (result i64) (i64.const 1)) (drop) (drop (block (type $two) (i32.const 1) (f32.const 2)) (drop))",
    "a large index of a block's type": "(drop (block (type 2) (i32.const 1) (f32.const 2)) (drop))",
    "calls": "(call_indirect (type $none) (i32.const 0)) (return_call $f)",
    "conversions": "(drop (i32.trunc_sat_f64_u (f64.const 1))) (drop (i64.extend8_s (i64.const 1)))",
    "bulk memory": "(memory.fill (i32.const 1) (i32.const 2) (i32.const 3)) (memory.copy (i32.const 1) (i32.const 2) "
    "(i32.const 3))",
    "a branch": "(block (br_table 0 1 0 1 (i32.const 3))) "
    "(drop (select (result i64) (i64.const 1) (i64.const 2) (i32.const 0)))",
    "globals": "(global.set $g (global.get $g)) (i64.store offset=300 (i32.const 1) (global.get $g))",
}


@pytest.mark.parametrize("body", WITHIN_REACH.values(), ids=WITHIN_REACH)
def test_modules_that_keep_all_in_memory_and_globals_are_told(body):
    types = "(type $none (func)) (type $two (func (result i32 f32))) (type (func (result i32 f32)))"
    more = "(global i32 (i32.const 7)) (global $g (mut i64) (i64.const 1))"
    more += '(elem (i32.const 0) $f) (data (i32.const 0) "x")'
    found = with_globals_exported(wat(f"(module {types} {SIMPLE.format(body, more)})"))
    assert found is not None
    exports = [export.name for export in wasmtime.Module(wasm_engine.engine(), found[0]).exports]
    assert (found[1], exports) == (1, ["f", "sqlsync:global:0"])


def test_bytes_that_are_no_module_are_told_too():
    for end in range(len(RESTORED)):
        found = with_globals_exported(RESTORED[:end])
        if found is not None:  # cut between sections: the engine says no
            assert found[1] == 4
    assert with_globals_exported(b"") is None
    assert with_globals_exported(RESTORED + RESTORED[8:]) is None
    assert with_globals_exported(RESTORED[:8] + b"\7\xff\xff\xff\xff\xff\1") is None


def test_a_module_that_has_the_name_already_is_made_anew(guests):
    taken = remembering('(export "sqlsync:global:0" (global $wide))')
    assert wasm_engine.load(taken).globals_count is None
    assert outcome(None, [GLOBALS, GLOBALS], reducer=WasmReducer(taken)) == outcome(FRESH, [GLOBALS, GLOBALS])
