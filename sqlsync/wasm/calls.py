"""Calls into a WebAssembly guest and access to its memory, directly through wasmtime's C API.

The Python package builds type objects around each call, which takes ten times as long as the call. This module uses the
documented C API instead, as the package declares it. No other file uses those names, and pyproject.toml allows only the
versions that were tested.
"""

import ctypes
from typing import Any

import wasmtime
from wasmtime import _ffi as capi
from wasmtime import _func

Context = int
"""The address of a store's context."""
GlobalValue = Any
"""The value of a global, bit for bit."""


def _bound(name: str, result: Any, *parameters: Any) -> Any:
    """Return a function of the C API that takes addresses as numbers, which ctypes converts fastest."""
    function = capi.dll[name]  # each look-up creates a new object, so the package's own function is unchanged
    function.restype, function.argtypes = result, parameters
    return function


_ADDRESS = ctypes.c_void_p
_func_call = _bound("wasmtime_func_call_unchecked", _ADDRESS, _ADDRESS, _ADDRESS, _ADDRESS, ctypes.c_size_t, _ADDRESS)
_data_size = _bound("wasmtime_memory_data_size", ctypes.c_size_t, _ADDRESS, _ADDRESS)
_data = _bound("wasmtime_memory_data", _ADDRESS, _ADDRESS, _ADDRESS)
_global_get = _bound("wasmtime_global_get", None, _ADDRESS, _ADDRESS, _ADDRESS)
_global_set = _bound("wasmtime_global_set", _ADDRESS, _ADDRESS, _ADDRESS, _ADDRESS)
_set_epoch_deadline = _bound("wasmtime_context_set_epoch_deadline", None, _ADDRESS, ctypes.c_uint64)
_set_fuel = _bound("wasmtime_context_set_fuel", _ADDRESS, _ADDRESS, ctypes.c_uint64)
_export_get = _bound(
    "wasmtime_instance_export_get", ctypes.c_bool, _ADDRESS, _ADDRESS, ctypes.c_char_p, ctypes.c_size_t, _ADDRESS
)
_error_type = ctypes.POINTER(capi.wasmtime_error_t)
_trap_type = ctypes.POINTER(capi.wasm_trap_t)
_RAW_WORDS = ctypes.sizeof(capi.wasmtime_val_raw_t) // ctypes.sizeof(ctypes.c_uint32)


class GuestFunction:
    """An exported function of i32 parameters and at most one i32 result; one thread at a time."""

    __slots__ = ("_address", "_function", "_raw", "_raw_address", "_raw_count", "_trap", "_trap_address")

    def __init__(self, function: Any, parameters: int, results: int) -> None:
        """Wrap ``function``; its signature must have been checked, since the engine does not check the values."""
        assert max(parameters, results) <= 1, "BUG: no function of the ABI has more than one"
        self._function = function
        self._address = ctypes.addressof(function)
        self._raw_count = max(parameters, results)
        self._raw = (ctypes.c_uint32 * _RAW_WORDS)()
        self._raw_address = ctypes.addressof(self._raw)
        self._trap = ctypes.c_void_p()
        self._trap_address = ctypes.addressof(self._trap)

    def __call__(self, context: Context, argument: int = 0) -> int:
        """Call it; the return value is undefined if it has no result. Raises `wasmtime.Trap` and `WasmtimeError`."""
        raw = self._raw
        raw[0] = argument
        error = _func_call(context, self._address, self._raw_address, self._raw_count, self._trap_address)
        if error:
            raise _error(error)
        if self._trap.value:
            trap, self._trap.value = self._trap.value, None
            raised = wasmtime.Trap._from_ptr(ctypes.cast(trap, _trap_type))  # noqa: SLF001 - how the package does it
            _func.maybe_raise_last_exn()  # Ctrl-C in a callback
            raise raised
        return raw[0]


class GuestMemory:
    """A guest's memory; every access is checked against its size. It only grows, and the engine never moves it."""

    __slots__ = ("_address_of", "_memory", "_size", "_view")

    def __init__(self, memory: Any) -> None:
        """Wrap ``memory``; the caller must keep its store alive."""
        self._memory = memory
        self._address_of = ctypes.addressof(memory)
        self._view, self._size = memoryview(b""), 0

    def size(self, context: Context) -> int:
        """Return the size in bytes."""
        return int(_data_size(context, self._address_of))

    def read(self, context: Context, start: int, length: int) -> bytes:
        """Copy bytes out; raises `IndexError` if they are not all inside."""
        end = start + length
        if end > self._size:
            self._check(context, start, end)
        return bytes(self._view[start:end])

    def write(self, context: Context, start: int, data: bytes) -> None:
        """Copy bytes in; raises `IndexError` if they do not fit."""
        end = start + len(data)
        if end > self._size:
            self._check(context, start, end)
        self._view[start:end] = data

    def _check(self, context: Context, start: int, end: int) -> None:
        """Check a range against the current size, after memory may have grown."""
        size = self.size(context)
        if end > size:
            raise IndexError(f"{end - start} bytes at {start} are outside of a memory of {size} bytes")
        content = (ctypes.c_ubyte * size).from_address(_data(context, self._address_of))
        self._view, self._size = memoryview(content).cast("B"), size


class GuestGlobal:
    """An exported mutable global that holds a number."""

    __slots__ = ("_address", "_global")

    def __init__(self, found: Any) -> None:
        """Wrap the global ``found``."""
        self._global = found
        self._address = ctypes.addressof(found)

    def get(self, context: Context) -> "GlobalValue":
        """Return its value."""
        found = capi.wasmtime_val_t()
        _global_get(context, self._address, ctypes.addressof(found))
        return found

    def set(self, context: Context, value: "GlobalValue") -> None:
        """Set it to a value that `get` returned."""
        if error := _global_set(context, self._address, ctypes.addressof(value)):
            raise _error(error)


class GuestExports:
    """The exports of an instance, by name."""

    def __init__(self, store: wasmtime.Store, instance: wasmtime.Instance) -> None:
        """Wrap ``instance``."""
        self._context = context_of(store)
        self._instance = instance

    def function(self, name: str, parameters: int, results: int) -> GuestFunction:
        """Return a function whose signature has been checked."""
        return GuestFunction(self._get(name).func, parameters, results)

    def memory(self, name: str) -> GuestMemory:
        """Return a memory."""
        return GuestMemory(self._get(name).memory)

    def number(self, name: str) -> GuestGlobal:
        """Return a mutable global that holds a number."""
        return GuestGlobal(self._get(name).global_)

    def _get(self, name: str) -> Any:
        found, raw = capi.wasmtime_extern_t(), name.encode()
        known = _export_get(
            self._context, ctypes.addressof(self._instance._instance), raw, len(raw), ctypes.addressof(found)  # noqa: SLF001 - see above
        )  # fmt: skip
        assert known, f"BUG: {name} was not checked"
        return found.of


def context_of(store: "wasmtime.Store | wasmtime.Caller") -> Context:
    """Return the context of a store, or of the caller in a callback."""
    return ctypes.cast(store._context(), ctypes.c_void_p).value or 0  # noqa: SLF001 - see above


def set_fuel(context: Context, fuel: int) -> None:
    """Set a store's fuel."""
    if error := _set_fuel(context, fuel):
        raise _error(error)


def set_epoch_deadline(context: Context, ticks: int) -> None:
    """Interrupt a store's running guest after ``ticks`` ticks of the epoch."""
    _set_epoch_deadline(context, ticks)


def _error(address: int) -> wasmtime.WasmtimeError:
    return wasmtime.WasmtimeError._from_ptr(ctypes.cast(address, _error_type))  # noqa: SLF001 - how the package does it
