"""Compiles a module in a child process, which can be killed: compiling 600 KB can take half a minute.

    parent: source --> stdin of `python -m sqlsync.wasm.compile_child MEMORY_BYTES`
    child:  exit 0, stdout = number of mutable globals (-1 for none), newline, wasmtime's serialized module
            exit 3, stdout = why it is not a WebAssembly module

The engine cannot stop a compilation, which may use all cores of a server and gigabytes of memory.
"""

import subprocess
import sys
from typing import Final

from sqlsync.errors import BadReducer

_MEMORY_BYTES: Final = 2 * 1024 * 1024 * 1024
NOT_A_MODULE: Final = 3
"""The child's exit status for bytes that are not a module."""
_CHILD: Final = "sqlsync.wasm.compile_child"


def compile_apart(source: bytes, seconds: float, *, memory_bytes: int = _MEMORY_BYTES) -> tuple[bytes, int | None]:
    """Return a module as wasmtime serializes it, and its number of mutable globals.

    Raises `BadReducer` if it is not valid, or if compiling it takes more than ``seconds`` or ``memory_bytes``.
    """
    command = [sys.executable, "-m", _CHILD, str(memory_bytes)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as child:  # noqa: S603 - ours
        try:
            output, _ = child.communicate(source, timeout=seconds)
        except subprocess.TimeoutExpired:
            raise BadReducer(f"compiling it takes more than {seconds:g} s") from None
        finally:
            child.kill()
    if child.returncode == NOT_A_MODULE:
        raise BadReducer(f"it is not a valid WebAssembly module: {output.decode(errors='replace')}")
    if child.returncode != 0:
        raise BadReducer(
            f"the compiler failed (status {child.returncode}); it may use {memory_bytes >> 20} MiB of memory"
        )
    count, _, serialized = output.partition(b"\n")
    return serialized, None if int(count) < 0 else int(count)
