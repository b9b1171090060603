"""Calls and memory of a WebAssembly guest, straight through wasmtime's C API.

The Python package builds type objects around each call, which takes ten times as long as the call. What is used here
instead is the documented C API, in the form in which the package declares it; only this file knows those names, and
pyproject.toml admits the versions that were tried.
"""

import ctypes
from typing import Any

import wasmtime
from wasmtime import _ffi as capi
from wasmtime import _func

_WRAP = 0xFFFFFFFF

Context = Any
"""A pointer to a store's context."""


class GuestFunction:
    """An exported function of i32 parameters and at most one i32 result; one thread at a time."""

    __slots__ = ("_function", "_parameters", "_results")

    def __init__(self, function: Any, parameters: int, results: int) -> None:
        """Call ``function``, whose signature was checked."""
        self._function = ctypes.pointer(function)
        self._parameters = (capi.wasmtime_val_t * parameters)()
        for value in self._parameters:
            value.kind = capi.WASMTIME_I32
        self._results = (capi.wasmtime_val_t * results)()

    def __call__(self, context: Context, *arguments: int) -> int:
        """Call it; 0 stands for no result. Raises `wasmtime.Trap` and `wasmtime.WasmtimeError`."""
        for value, argument in zip(self._parameters, arguments, strict=True):
            value.of.i32 = argument
        trap = ctypes.POINTER(capi.wasm_trap_t)()
        error = capi.wasmtime_func_call(
            context, self._function, self._parameters, len(self._parameters),
            self._results, len(self._results), ctypes.byref(trap),
        )  # fmt: skip
        if error:
            raise wasmtime.WasmtimeError._from_ptr(error)  # noqa: SLF001 - how the package does it
        if trap:
            raised = wasmtime.Trap._from_ptr(trap)  # noqa: SLF001 - how the package does it
            _func.maybe_raise_last_exn()  # Ctrl-C in a call-back
            raise raised
        return self._results[0].of.i32 & _WRAP if len(self._results) else 0


class GuestMemory:
    """A guest's memory; every access is checked against its size of the moment."""

    __slots__ = ("_base", "_memory", "_size")

    def __init__(self, memory: Any) -> None:
        """Use ``memory``."""
        self._memory = ctypes.pointer(memory)
        self._base = self._size = 0

    def size(self, context: Context) -> int:
        """Return how many bytes there are."""
        return int(capi.wasmtime_memory_data_size(context, self._memory))

    def read(self, context: Context, start: int, length: int) -> bytes:
        """Copy bytes out; raises `IndexError` if they are not all inside."""
        return ctypes.string_at(self._address(context, start, length), length)

    def write(self, context: Context, start: int, data: bytes) -> None:
        """Copy bytes in; raises `IndexError` if they do not fit."""
        ctypes.memmove(self._address(context, start, len(data)), data, len(data))

    def _address(self, context: Context, start: int, length: int) -> int:
        size = self.size(context)
        if start + length > size:
            raise IndexError(f"{length} bytes at {start} are not inside a memory of {size} bytes")
        if size != self._size:  # memory moves when it grows, and at no other time
            data = capi.wasmtime_memory_data(context, self._memory)
            self._base, self._size = ctypes.cast(data, ctypes.c_void_p).value or 0, size
        return self._base + start


class GuestExports:
    """What an instance exports, by name."""

    def __init__(self, store: wasmtime.Store, instance: wasmtime.Instance) -> None:
        """Look into ``instance``."""
        self._context = context_of(store)
        self._instance = instance

    def function(self, name: str, parameters: int, results: int) -> GuestFunction:
        """Return a function whose signature was checked before."""
        return GuestFunction(self._get(name).func, parameters, results)

    def memory(self, name: str) -> GuestMemory:
        """Return a memory."""
        return GuestMemory(self._get(name).memory)

    def _get(self, name: str) -> Any:
        found, raw = capi.wasmtime_extern_t(), name.encode()
        known = capi.wasmtime_instance_export_get(
            self._context, ctypes.byref(self._instance._instance), ctypes.create_string_buffer(raw), len(raw),  # noqa: SLF001 - see above
            ctypes.byref(found),
        )  # fmt: skip
        assert known, f"BUG: {name} was not checked"
        return found.of


def context_of(store: "wasmtime.Store | wasmtime.Caller") -> Context:
    """Return the context of a store, or of whoever calls back out of one."""
    return store._context()  # noqa: SLF001 - see above
