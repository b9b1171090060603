"""The WebAssembly engine: compiles modules, checks their imports and exports, and limits their time.

The process has one engine. Its settings make a module give the same results everywhere: no threads, no relaxed SIMD,
one form of NaN. A module may import only the log function of SQLSync's ABI, so it has no clock and no random numbers.
"""

import contextlib
import functools
import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Self

try:
    import wasmtime
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "reducers in WebAssembly need the package wasmtime, the extra 'wasm': in a checkout, pip install '.[wasm]'"
    ) from error

from pagestore.runtime import SYSTEM
from sqlsync.errors import BadReducer
from sqlsync.wasm.compile_apart import compile_apart
from sqlsync.wasm.guest_state import with_globals_exported

MODULE_BYTES_MAX: Final = 10 * 1024 * 1024
TICK_S: Final = 0.02
"""The precision of the limit of wall time."""
STACK_BYTES: Final = 256 * 1024
"""Native stack of a guest; on some systems a thread has only 512 KiB."""
_MAGIC = b"\0asm"
_COMPILED_MAX = 64
_I32 = "i32"
_LOG_IMPORT = ("env", "host_log")
_SIGNATURES = {
    "ffi_buf_allocate": ((_I32,), (_I32,)),
    "ffi_buf_deallocate": ((_I32,), ()),
    "ffi_buf_len": ((_I32,), (_I32,)),
    "ffi_init_reducer": ((), ()),
    "ffi_reduce": ((_I32,), (_I32,)),
    "ffi_reactor_step": ((_I32,), (_I32,)),
}
_MIGRATION_SIGNATURES = {
    "ffi_reducer_version": ((), (_I32,)),
    "ffi_migrate": ((_I32,), (_I32,)),
}


@dataclass(frozen=True, slots=True)
class Compiled:
    """A compiled module whose imports and exports have been checked."""

    digest: bytes
    """SHA-256 of its bytes."""
    module: wasmtime.Module
    migrates: bool
    """Whether it has graft's two exports for migrations, which SQLSync does not know."""
    globals_count: int | None
    """Number of mutable globals, exported as `sqlsync.wasm.guest_state` names them; None if it has other state too."""


@functools.cache
def engine() -> wasmtime.Engine:
    """Return the process's engine."""
    config = wasmtime.Config()
    config.consume_fuel = True
    config.epoch_interruption = True
    config.cranelift_nan_canonicalization = True
    config.max_wasm_stack = STACK_BYTES
    config.wasm_threads = False
    config.wasm_relaxed_simd = False
    config.wasm_memory64 = False
    config.wasm_multi_memory = False
    config.memory_may_move = False  # `sqlsync.wasm.calls.GuestMemory` stores its address
    return wasmtime.Engine(config)


class _Modules:
    """The most recently used compiled modules, by digest; threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards what follows
        self._compiled: OrderedDict[bytes, Compiled] = OrderedDict()

    def get(self, digest: bytes) -> Compiled | None:
        with self._lock:
            found = self._compiled.get(digest)
            if found is not None:
                self._compiled.move_to_end(digest)
            return found

    def put(self, compiled: Compiled) -> Compiled:
        with self._lock:
            self._compiled[compiled.digest] = compiled
            while len(self._compiled) > _COMPILED_MAX:
                self._compiled.popitem(last=False)
        return compiled


_modules = _Modules()


def load(source: bytes, *, compile_s: float | None = None) -> Compiled:
    """Compile a module, or return it from the cache.

    With ``compile_s``, a child process compiles it within that many seconds. Raises `BadReducer` if the module is not a
    reducer.
    """
    if len(source) > MODULE_BYTES_MAX:
        raise BadReducer(f"a reducer of {len(source)} bytes is too large; the limit is {MODULE_BYTES_MAX}")
    if not source.startswith(_MAGIC):
        raise BadReducer(f"{len(source)} bytes that begin with {source[:4]!r} are not a WebAssembly module")
    digest = hashlib.sha256(source).digest()
    return _modules.get(digest) or _modules.put(_compiled(source, digest, compile_s))


def _compiled(source: bytes, digest: bytes, compile_s: float | None) -> Compiled:
    try:
        if compile_s is None:
            module, globals_count = compiled_module(source)
        else:
            serialized, globals_count = compile_apart(source, compile_s)
            module = wasmtime.Module.deserialize(engine(), serialized)
    except BadReducer as error:
        raise BadReducer(f"reducer {digest.hex()[:12]} cannot be compiled: {error}") from error
    except wasmtime.WasmtimeError as error:
        name = digest.hex()[:12]
        raise BadReducer(f"reducer {name} is not a valid WebAssembly module: {first_line(error)}") from error
    complaints, migrates = _complaints(module)
    if complaints:
        raise BadReducer(f"reducer {digest.hex()[:12]} does not have SQLSync's ABI: {'; '.join(complaints)}")
    return Compiled(digest, module, migrates, globals_count)


def compiled_module(source: bytes) -> tuple[wasmtime.Module, int | None]:
    """Compile a module, rewritten so that its state can be restored if possible; raises `WasmtimeError`."""
    found = with_globals_exported(source)
    if found is not None:
        with contextlib.suppress(wasmtime.WasmtimeError):  # the source is not valid, or already uses such a name
            return wasmtime.Module(engine(), found[0]), found[1]
    return wasmtime.Module(engine(), source), None


def _complaints(module: wasmtime.Module) -> tuple[list[str], bool]:
    """Return the problems of a module's imports and exports, and whether it has exports for migrations."""
    found = {export.name: export.type for export in module.exports}
    migrates = not found.keys().isdisjoint(_MIGRATION_SIGNATURES)
    complaints = [complaint for item in module.imports if (complaint := _import_complaint(item)) is not None]
    memory = found.get("memory")
    if not isinstance(memory, wasmtime.MemoryType):
        complaints.append("it does not export a memory named memory")
    for name, signature in (_SIGNATURES | (_MIGRATION_SIGNATURES if migrates else {})).items():
        if name not in found:
            complaints.append(f"it lacks the export {name}")
        elif _signature(found[name]) != signature:
            complaints.append(f"its export {name} is not {_shown(signature)}")
    return complaints, migrates


def _import_complaint(item: wasmtime.ImportType) -> str | None:
    if (item.module, item.name) != _LOG_IMPORT:
        return f"it imports {item.module}.{item.name}, but may import only env.host_log"
    signature = ((_I32,), ())
    return None if _signature(item.type) == signature else f"its import env.host_log is not {_shown(signature)}"


def _signature(found: object) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    if not isinstance(found, wasmtime.FuncType):
        return None
    return tuple(str(each) for each in found.params), tuple(str(each) for each in found.results)


def _shown(signature: tuple[tuple[str, ...], tuple[str, ...]]) -> str:
    return "func({}) -> ({})".format(*(", ".join(types) for types in signature))


def first_line(error: Exception) -> str:
    """Return the message of an engine's error without its backtrace."""
    return str(error).strip().split("\n", 1)[0]


class Ticker:
    """Advances the engine's epoch while guests run, so that their wall time can be limited; threads share it."""

    def __init__(self, tick: Callable[[], object], sleep_s: Callable[[float], None] = SYSTEM.sleep_s) -> None:
        """Call ``tick`` every `TICK_S` seconds, in a thread that starts with the first guest."""
        self._tick = tick
        self._sleep_s = sleep_s
        self._lock = threading.Lock()  # guards what follows
        self._wanted = threading.Condition(self._lock)
        self._running = 0
        self._process = 0
        """The process in which the thread runs; the thread does not survive a fork."""
        self._waits = False
        """Whether the thread waits to be notified of a guest; usually it is running, and needs no notification."""

    def __enter__(self) -> Self:
        with self._lock:
            self._running += 1
            if self._process != os.getpid():
                self._process, self._waits = os.getpid(), False
                threading.Thread(target=self._run, name="sqlsync-wasm-ticker", daemon=True).start()
            elif self._waits:
                self._waits = False
                self._wanted.notify()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._running -= 1

    def _run(self) -> None:
        while True:
            with self._lock:
                while not self._running:
                    self._waits = True
                    self._wanted.wait()
            self._sleep_s(TICK_S)
            self._tick()


@functools.cache
def ticker() -> Ticker:
    """Return the ticker of the process's engine."""
    return Ticker(engine().increment_epoch)


def ticks(seconds: float) -> int:
    """Return a number of ticks that takes at least ``seconds`` from now."""
    return max(0, int(seconds / TICK_S)) + 2


@functools.lru_cache(maxsize=_COMPILED_MAX)
def linked(module: wasmtime.Module, log: Callable[[Any, int], None]) -> wasmtime.InstancePre:
    """Return a factory of instances; ``log`` is their only import, gets caller and pointer, and must not raise."""
    linker = wasmtime.Linker(engine())
    kind = wasmtime.FuncType([wasmtime.ValType.i32()], [])
    linker.define_func(*_LOG_IMPORT, kind, log, access_caller=True)
    return linker.instantiate_pre(module)
