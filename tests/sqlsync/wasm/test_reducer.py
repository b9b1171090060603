"""Reducers in WebAssembly: whatever a module does, its own mutation is rejected, and nothing else happens."""

import hashlib
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import apsw
import pytest

from sqlsync.envelope import Mutation, Named, Opaque
from sqlsync.errors import BadMutation, BadReducer
from sqlsync.ids import TimelineId
from sqlsync.reducers.apply import Applied, apply_batch
from sqlsync.reducers.sandbox import Limits, Sandbox
from sqlsync.wasm import engine as wasm_engine
from sqlsync.wasm.compile_apart import compile_apart
from sqlsync.wasm.guest import WasmLimits
from sqlsync.wasm.reducer import WasmReducer, payload_of
from testbed.patience import PATIENCE_S
from tests.sqlsync.wasm.guests import DONE, RECORD, REPLY, REQUEST, guest, record, requesting, wat

TIMELINE = TimelineId(b"a" * 16)
SMALL = WasmLimits(fuel=1_000_000, memory_bytes=1024 * 1024)


@pytest.fixture
def sandbox():
    connection = apsw.Connection(":memory:")
    connection.execute("CREATE TABLE t (x)")
    yield Sandbox(connection)
    connection.close()


def call(lsn=0, body=None):
    return Mutation(TIMELINE, lsn, body or Opaque(b""), "ann", 1_700_000_000_000_000, 7)


def run(sandbox, reducer, *mutations):
    """Apply mutations; returns the reason of each, None where it took effect."""
    sandbox.begin()
    outcomes = apply_batch(sandbox, reducer, mutations or [call()])
    sandbox.connection.execute("COMMIT")
    return [None if isinstance(outcome, Applied) else outcome.reason for outcome in outcomes]


def rows(sandbox):
    return [x for (x,) in sandbox.connection.execute("SELECT x FROM t")]


# A module that misbehaves when a mutation is empty, and else writes it down.
def half_bad(bad, **options):
    return guest(
        f"(if (i32.eqz (i32.load (i32.sub (local.get 0) (i32.const 8)))) (then {bad})) (i32.const {REQUEST})",
        request=requesting("INSERT INTO t VALUES ('well')"),
        **options,
    )


BAD = {
    "(loop $l (br $l))": "used up its fuel of 1000000",
    "(drop (i32.div_u (i32.const 1) (i32.const 0)))": "divided by zero",
    "(drop (i32.load (i32.const -4)))": "accessed an address outside of its memory",
    "(drop (call $reduce (local.get 0)))": "(nested too deeply|fuel)",
    "(if (i32.eq (memory.grow (i32.const 60000)) (i32.const -1)) (then unreachable))": "aborted .*64 KiB of at most",
    "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable": "1024 KiB of at most 1024",
    "(return (i32.const 70000000))": "(outside of its memory|broke SQLSync's ABI)",
    "(i32.store (i32.const 16) (i32.const 70000)) (return (i32.const 24))": "70000 bytes at 24 are outside of a memory",
    "(i32.store (i32.const 16) (i32.const 9)) (return (i32.const 24))": "broke SQLSync's ABI",
    "(call $log (i32.const 70000000))": "logged an invalid record",
    f"(call $log (i32.const {REPLY}))": "logged an invalid record",
    f"(call $log (i32.const {RECORD})) unreachable": "the reducer failed: all is lost",
    f"(i32.store (i32.const {REPLY}) (i32.const 1)) (return (i32.const {REPLY}))": "broke SQLSync's ABI",
}


@pytest.mark.parametrize(("bad", "reason"), BAD.items())
@pytest.mark.parametrize("isolated", [True, False])
def test_a_bad_turn_rejects_its_mutation_and_harms_nothing_else(sandbox, bad, reason, isolated):
    reducer = WasmReducer(half_bad(bad, log=record("ERROR", "all is lost")), limits=SMALL, isolated=isolated)
    first, second, third = run(sandbox, reducer, call(0, Opaque(b"a")), call(1), call(2, Opaque(b"b")))
    assert (first, third) == (None, None)
    assert rows(sandbox) == ["well", "well"]
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(second)


@pytest.mark.parametrize("loop", ["", "(memory.fill (i32.const 16384) (i32.const 0) (i32.const 40000))"])
def test_wall_time_is_limited_too(sandbox, loop):
    limits = WasmLimits(fuel=2**62, seconds=0.05)
    reducer = WasmReducer(half_bad(f"(loop $l {loop} (br $l))"), limits=limits)
    assert run(sandbox, reducer, call(), call(1, Opaque(b"b"))) == ["the reducer ran for longer than 0.05 s", None]


def test_endless_requests_run_into_the_limit_of_statements(sandbox):
    sandbox.limits = Limits(statements=50)
    reducer = WasmReducer(
        guest(f"(i32.const {REQUEST})", step=f"(i32.const {REQUEST})", request=requesting("SELECT 1"))
    )
    assert run(sandbox, reducer) == ["a mutation ran too many statements"]


def test_a_module_that_asks_for_nothing_and_is_not_done_is_not_waited_for(sandbox):
    reducer = WasmReducer(guest(reply=bytes(4) + b"\1" + bytes(8)))
    assert "sent no requests" in run(sandbox, reducer)[0]


def test_too_many_rows_for_a_guests_memory_are_not_handed_over(sandbox):
    sql = "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 9000) SELECT hex(zeroblob(100)) FROM n"
    reducer = WasmReducer(guest(f"(i32.const {REQUEST})", request=requesting(sql, is_exec=False)), limits=SMALL)
    assert "rows of a query exceed the limit" in run(sandbox, reducer)[0]


def test_what_reducers_may_not_do_they_may_not_do_from_webassembly(sandbox):
    reducer = WasmReducer(guest(f"(i32.const {REQUEST})", request=requesting("ATTACH ':memory:' AS other")))
    assert "may not attach" in run(sandbox, reducer)[0]


def test_an_error_of_sql_is_the_guests_to_handle(sandbox):
    # Done if the response says Err, SqliteError, SQLITE_ERROR; else a trap. The pointer is behind the step's id.
    step = f"""(if (i32.or (i32.ne (i32.load (i32.load offset=13 (local.get 0))) (i32.const 1))
        (i64.ne (i64.load offset=4 (i32.load offset=13 (local.get 0))) (i64.const 0x100000000))) (then unreachable))
        (i32.const {REPLY})"""
    reducer = WasmReducer(guest(f"(i32.const {REQUEST})", step=step, request=requesting("SELECT * FROM missing")))
    assert run(sandbox, reducer) == [None]


COUNTING = f"""(global.set $count (i32.add (global.get $count) (i32.const 1)))
    (i32.store8 (i32.const {REQUEST + 40}) (i32.add (i32.const 48) (global.get $count)))
    (if (i32.eqz (i32.load (i32.sub (local.get 0) (i32.const 8)))) (then unreachable))
    (i32.const {REQUEST})"""


@pytest.mark.parametrize(("isolated", "seen"), [(True, [1, 1, 1]), (False, [1, 2, 1])])
def test_what_a_guest_remembers(sandbox, isolated, seen):
    """Nothing from mutation to mutation, or else until one fails; never anything of one that failed."""
    sql = "INSERT INTO t VALUES (_)"
    place = requesting(sql).index(b"_")
    reduce = COUNTING.replace(str(REQUEST + 40), str(REQUEST + place))
    reducer = WasmReducer(guest(reduce, request=requesting(sql)), isolated=isolated)
    well = Opaque(b"x")
    outcomes = run(sandbox, reducer, call(0, well), call(1, well), call(2), call(3, well))
    assert [outcome is None for outcome in outcomes] == [True, True, False, True]
    assert rows(sandbox) == seen


def test_not_a_number_is_the_same_number_everywhere(sandbox):
    request = requesting("INSERT INTO t VALUES (?)", params=(1).to_bytes(4, "little") + bytes(8), count=1)
    reduce = f"""(i64.store (i32.const {REQUEST + len(request) - 8})
        (i64.reinterpret_f64 (f64.div (f64.const 0) (f64.const 0)))) (i32.const {REQUEST})"""
    assert run(sandbox, WasmReducer(guest(reduce, request=request))) == [None]
    assert rows(sandbox) == [0x7FF8000000000000]


def test_what_a_guest_logs_goes_to_the_log(sandbox, caplog):
    reducer = WasmReducer(guest(f"(call $log (i32.const {RECORD})) (i32.const {REPLY})", log=record("WARN", "hot")))
    with caplog.at_level(logging.INFO, "sqlsync.reducers.reducer"):
        assert run(sandbox, reducer) == [None]
    assert [(line.levelname, line.getMessage()) for line in caplog.records] == [("WARNING", "hot")]


LACKING = {
    b"": "are not a WebAssembly module",
    b"(module)": "are not a WebAssembly module",
    b"\0asm\1\0\0\0\xff": "not a valid WebAssembly module",
    wat("(module)"): "it does not export a memory named memory; it lacks the export ffi_buf_allocate; ",
    guest(more='(func (export "ffi_migrate"))'): "lacks the export ffi_reducer_version; its export ffi_migrate is not",
    guest(more="(func $begin unreachable) (start $begin)"): "cannot be started: .*aborted",
    guest(more="(func $begin (loop $l (br $l))) (start $begin)"): "cannot be started: .*fuel",
    guest(more="(func $begin (call $log (i32.const 0))) (start $begin)"): "cannot be started: .*before it was",
    wat('(module (import "wasi" "random_get" (func)))'): "it imports wasi.random_get, but may import only env.ho",
    wat('(module (import "env" "host_log" (func)))'): r"host_log is not func\(i32\) -> \(\)",
    wat('(module (import "env" "memory" (memory 1)))'): "it imports env.memory",
    guest().replace(b"ffi_reduce", b"ffi_reducX"): "it lacks the export ffi_reduce",
    b"\0asm" + bytes(10 * 1024 * 1024): "is too large",
}


@pytest.mark.parametrize(("module", "complaint"), LACKING.items(), ids=range(len(LACKING)))
def test_what_is_no_reducer_is_refused_when_it_is_loaded(module, complaint):
    with pytest.raises(BadReducer, match=complaint):
        WasmReducer(module, limits=SMALL)


def test_more_memory_than_there_is_is_refused_when_the_module_is_loaded():
    with pytest.raises(BadReducer, match="memory"):
        WasmReducer(guest(), limits=WasmLimits(memory_bytes=1000))


def test_a_module_is_compiled_once(tmp_path):
    module = guest()
    (tmp_path / "reducer.wasm").write_bytes(module)
    reducers = WasmReducer(module), WasmReducer(tmp_path / "reducer.wasm")
    assert reducers[0].digest == reducers[1].digest == wasm_engine.load(bytes(module)).digest
    assert wasm_engine.load(module).module is wasm_engine.load((tmp_path / "reducer.wasm").read_bytes()).module


def slow_to_compile():
    """A valid module of 60 KiB that keeps the compiler busy for about a second: many values, many branches."""
    count, text = 2000, []
    for turn in range(3000):
        text.append(f"(local.set {turn % count} (i32.add (local.get {turn % count}) (local.get 0)))")
        branch = f"(local.set {turn * 13 % count} (local.get {turn * 17 % count}))"
        text.append(f"(if (local.get {turn * 31 % count}) (then {branch}))")
    return wat(f"(module (func (param i32) (local {'i32 ' * count}) {' '.join(text)}))")


def test_a_module_that_takes_too_long_to_compile_is_refused():
    with pytest.raises(BadReducer, match=r"compiling it takes more than 0\.05 s"):
        WasmReducer(slow_to_compile(), compile_s=0.05)


def test_a_module_that_takes_too_much_memory_to_compile_is_refused(monkeypatch):
    monkeypatch.setattr(wasm_engine, "compile_apart", partial(compile_apart, memory_bytes=64 * 1024 * 1024))
    with pytest.raises(BadReducer, match=r"the compiler failed .* 64 MiB"):
        WasmReducer(slow_to_compile(), compile_s=60.0)


def test_what_another_process_compiled_is_the_same_reducer(sandbox):
    module = guest(f"(i32.const {REQUEST})", request=requesting("INSERT INTO t VALUES ('apart')"))
    reducer = WasmReducer(module, compile_s=60.0)
    assert reducer.digest == hashlib.sha256(module).digest()
    assert run(sandbox, reducer, call(), call(1)) == [None, None]
    assert rows(sandbox) == ["apart", "apart"]


@pytest.mark.parametrize("module", [b"\0asm\1\0\0\0\xff", wat("(module)"), b"\0asm" + bytes(10 * 1024 * 1024)])
def test_what_is_no_reducer_is_refused_by_the_other_process_too(module):
    with pytest.raises(BadReducer, match=LACKING[module]):
        WasmReducer(module, limits=SMALL, compile_s=60.0)


def test_threads_share_a_reducer():
    reducer = WasmReducer(half_bad("(loop $l (br $l))"), limits=SMALL, isolated=False)

    def work(_):
        connection = apsw.Connection(":memory:")
        connection.execute("CREATE TABLE t (x)")
        found = run(Sandbox(connection), reducer, *(call(lsn, Opaque(b"x" * (lsn % 5))) for lsn in range(20)))
        return [reason is None for reason in found], connection.execute("SELECT count(*) FROM t").get

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(work, range(4)))
    assert results == [([lsn % 5 > 0 for lsn in range(20)], 16)] * 4


def test_a_mutation_by_name_is_handed_over_as_json():
    body = Named("put", {"key": "ä", "n": [1, 2.5, None]})
    assert payload_of(call(body=body)) == '{"tag":"put","key":"ä","n":[1,2.5,null]}'.encode()
    assert payload_of(call(body=Opaque(b"\0\1"))) == b"\0\1"
    with pytest.raises(BadMutation, match="'tag'"):
        WasmReducer(guest(reply=DONE)).check(call(body=Named("put", {"tag": "x"})))


def test_the_ticker_ticks_for_every_guest_also_after_it_waited_for_one():
    pace, ticked = threading.Semaphore(0), threading.Semaphore(0)
    ticker = wasm_engine.Ticker(ticked.release, lambda _: pace.acquire())
    for _ in range(200):
        with ticker:
            pace.release()
            assert ticked.acquire(timeout=PATIENCE_S)
