"""A guest: one instance of a reducer's module, called through SQLSync's ABI.

Buffers: the guest frees those that the host allocates in it (mutation, step input, responses). The host frees those
that the guest returns, and log records. The state of a guest that failed is unknown, so its owner drops it.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import wasmtime

from pagestore.runtime import SYSTEM, Runtime
from sqlsync.errors import ReducerFailed
from sqlsync.wasm import engine as wasm_engine
from sqlsync.wasm.abi import LogRecord, ReducerError, Requests, read_log_record, read_reply, write_step
from sqlsync.wasm.bincode import BadBincode
from sqlsync.wasm.calls import (
    Context,
    GlobalValue,
    GuestExports,
    GuestFunction,
    context_of,
    set_epoch_deadline,
    set_fuel,
)
from sqlsync.wasm.guest_state import GLOBAL_NAME

_LOG = logging.getLogger("sqlsync.reducers.reducer")
_LEVELS = {"ERROR": logging.ERROR, "WARN": logging.WARNING, "INFO": logging.INFO}
_LOG_BYTES_MAX = 64 * 1024
_LOG_RECORDS_MAX = 1000
_TABLE_ELEMENTS_MAX = 100_000
_RESTORED_BYTES_MAX = 2 * 1024 * 1024
"""Copying more memory takes longer than creating an instance."""
_TRAPS = {
    wasmtime.TrapCode.STACK_OVERFLOW: "its calls are nested too deeply",
    wasmtime.TrapCode.MEMORY_OUT_OF_BOUNDS: "it accessed an address outside of its memory",
    wasmtime.TrapCode.INTEGER_DIVISION_BY_ZERO: "it divided by zero",
    wasmtime.TrapCode.UNREACHABLE: "it aborted (unreachable)",
}

Reply = Requests | ReducerError | None
_Given = TypeVar("_Given")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class WasmLimits:
    """What a WebAssembly reducer may use for one mutation, besides the `sqlsync.reducers.sandbox.Limits` of its SQL."""

    fuel: int = 1_000_000_000
    """About the number of instructions; the main limit, since it is the same on every machine."""
    memory_bytes: int = 64 * 1024 * 1024
    seconds: float = 10.0
    """Wall time outside of SQL; a backstop for slow instructions."""
    reply_bytes: int = 16 * 1024 * 1024
    """Size of the requests that it sends at once."""


@dataclass(frozen=True, slots=True)
class GuestState:
    """The state of an instance."""

    memory: bytes
    globals: Sequence[GlobalValue]


class Guest:
    """An instance, for one thread at a time. Raises `ReducerFailed` for any error in it."""

    def __init__(self, compiled: wasm_engine.Compiled, limits: WasmLimits, *, runtime: Runtime = SYSTEM) -> None:
        """Create and initialize an instance; this and all calls must run under `wasm_engine.ticker`."""
        self._compiled = compiled
        self._limits = limits
        self._runtime = runtime
        self._seconds_left = limits.seconds
        self._logged = 0
        self._panic: LogRecord | None = None
        self._bad_log: str | None = None
        self._in_log = False
        self._store = wasmtime.Store(wasm_engine.engine())
        self._store.set_limits(
            memory_size=limits.memory_bytes, table_elements=_TABLE_ELEMENTS_MAX, instances=1, tables=8, memories=1
        )
        self._context = context_of(self._store)
        self._exports: GuestExports | None = None  # until it is instantiated
        self.begin()
        self._turn(self._instantiate, None)
        self.begin()

    def begin(self) -> None:
        """Reset its limits for one mutation."""
        set_fuel(self._context, self._limits.fuel)
        self._seconds_left = self._limits.seconds
        self._logged, self._panic = 0, None

    def state(self) -> GuestState | None:
        """Return its state for `restore`; None if that is too large, or cannot be read completely."""
        size = self._memory.size(self._context)
        if self._compiled.globals_count is None or size > _RESTORED_BYTES_MAX:
            return None
        values = [each.get(self._context) for each in self._globals]
        return GuestState(self._memory.read(self._context, 0, size), values)

    def restore(self, state: GuestState) -> bool:
        """Restore the state of an instance of the same module; return False if memory has grown, which is final."""
        if self._memory.size(self._context) != len(state.memory):
            return False
        self._memory.write(self._context, 0, state.memory)
        for each, value in zip(self._globals, state.globals, strict=True):
            each.set(self._context, value)
        return True

    def reduce(self, mutation: bytes) -> Reply:
        """Begin a mutation."""
        return self._turn(self._reduced, mutation)

    def step(self, responses: Mapping[int, bytes]) -> Reply:
        """Continue with the responses to its requests."""
        return self._turn(self._stepped, responses)

    def version(self) -> int:
        """Return its schema version; only for modules with that export."""
        return self._turn(self._exported("ffi_reducer_version", 0, 1), self._context)

    def migrate(self, version: int) -> Reply:
        """Begin a migration; only for modules with that export."""
        return self._turn(lambda to: self._taken(self._exported("ffi_migrate", 1, 1)(self._context, to)), version)

    def note_log(self, context: Context, pointer: int) -> None:
        """Take a log record of the guest; never raises."""
        if self._exports is None or self._in_log:
            self._bad_log = "it logged before it was initialized, or while it was logging"
            return
        self._in_log = True
        try:
            length = self._length(context, pointer)
            if length > _LOG_BYTES_MAX:
                raise BadBincode(f"a log record of {length} bytes is too long")
            data = self._memory.read(context, pointer, length)
            self._deallocate(context, pointer)
            self._note(read_log_record(data))
        except (BadBincode, IndexError, wasmtime.Trap, wasmtime.WasmtimeError) as error:
            self._bad_log = f"it logged an invalid record: {wasm_engine.first_line(error)}"
        finally:
            self._in_log = False

    def _note(self, record: LogRecord) -> None:
        self._logged += 1
        level = _LEVELS.get(record.level.upper(), logging.DEBUG)
        if level == logging.ERROR:
            self._panic = record
        if self._logged <= _LOG_RECORDS_MAX:
            _LOG.log(level, "%s", record)

    def _put(self, data: bytes) -> int:
        """Copy bytes into a new buffer, which the guest frees."""
        pointer = self._allocate(self._context, len(data))
        self._memory.write(self._context, pointer, data)
        return pointer

    def _reduced(self, mutation: bytes) -> Reply:
        return self._taken(self._reduce(self._context, self._put(mutation)))

    def _stepped(self, responses: Mapping[int, bytes]) -> Reply:
        pointers = {request: self._put(response) for request, response in responses.items()}
        return self._taken(self._reactor_step(self._context, self._put(write_step(pointers))))

    def _taken(self, pointer: int) -> Reply:
        """Read and free the buffer that the guest returned."""
        length = self._length(self._context, pointer)
        if length > self._limits.reply_bytes:
            raise ReducerFailed(f"the reducer sent {length} bytes of requests at once, more than its limit")
        data = self._memory.read(self._context, pointer, length)
        self._deallocate(self._context, pointer)
        return read_reply(data)

    def _instantiate(self, _: None) -> None:
        linked = wasm_engine.linked(self._compiled.module, _host_log)
        self._exports = GuestExports(self._store, linked.instantiate(self._store))
        self._memory = self._exports.memory("memory")
        self._allocate = self._exported("ffi_buf_allocate", 1, 1)
        self._deallocate = self._exported("ffi_buf_deallocate", 1, 0)
        self._length = self._exported("ffi_buf_len", 1, 1)
        self._reduce = self._exported("ffi_reduce", 1, 1)
        self._reactor_step = self._exported("ffi_reactor_step", 1, 1)
        names = map(GLOBAL_NAME.format, range(self._compiled.globals_count or 0))
        self._globals = [self._exports.number(name) for name in names]
        self._exported("ffi_init_reducer", 0, 0)(self._context)
        # Rust's allocator grows memory at the first allocation. In a mutation, that would prevent restoring the state.
        self._deallocate(self._context, self._allocate(self._context, 1))

    def _exported(self, name: str, parameters: int, results: int) -> GuestFunction:
        assert self._exports is not None, "BUG: the guest is not instantiated"
        return self._exports.function(name, parameters, results)

    def _turn(self, run: Callable[[_Given], _Result], given: _Given) -> _Result:
        """Run the guest within the rest of its time."""
        began_s = self._runtime.monotonic_s()
        set_epoch_deadline(self._context, wasm_engine.ticks(self._seconds_left))
        outer = _running.guest
        _running.guest = self
        try:
            found = run(given)
        except wasmtime.Trap as error:
            raise ReducerFailed(self._trapped(error)) from error
        except (wasmtime.WasmtimeError, BadBincode, IndexError) as error:
            raise ReducerFailed(f"the reducer broke SQLSync's ABI: {wasm_engine.first_line(error)}") from error
        finally:
            _running.guest = outer
            self._seconds_left -= self._runtime.monotonic_s() - began_s
        if self._bad_log is not None:
            raise ReducerFailed(f"the reducer broke SQLSync's ABI: {self._bad_log}")
        return found

    def _trapped(self, trap: wasmtime.Trap) -> str:
        code, limits = trap.trap_code, self._limits
        if code is wasmtime.TrapCode.OUT_OF_FUEL:
            return f"the reducer used up its fuel of {limits.fuel} for one mutation"
        if code is wasmtime.TrapCode.INTERRUPT:
            return f"the reducer ran for longer than {limits.seconds:g} s"
        if self._panic is not None:
            return f"the reducer failed: {self._panic}"
        what = _TRAPS.get(code) if code is not None else None
        used = self._memory.size(self._context) if self._exports is not None else 0
        memory = f"; it had {used >> 10} KiB of at most {limits.memory_bytes >> 10} KiB of memory"
        return f"the reducer failed: {what or wasm_engine.first_line(trap)}{memory}"


class _Running(threading.local):
    guest: Guest | None = None


_running = _Running()


def _host_log(caller: wasmtime.Caller, pointer: int) -> None:
    """Pass a log record to the guest that runs in this thread; never raises, since wasmtime would store the error."""
    guest = _running.guest
    if guest is not None:
        guest.note_log(context_of(caller), pointer & 0xFFFFFFFF)
