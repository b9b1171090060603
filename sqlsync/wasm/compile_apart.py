"""Compiling a module in a process of its own, which can be ended: 600 KB can take the compiler half a minute.

    parent: source --> stdin of `python -m sqlsync.wasm.compile_child MEMORY_BYTES`
    child:  exit 0, stdout = number of mutable globals (-1 for none), newline, wasmtime's serialized module
            exit 3, stdout = why the module is no WebAssembly

The engine does not stop a compilation, which would take all cores of a server and gigabytes of its memory.
"""

import subprocess
import sys
from typing import Final

from sqlsync.errors import BadReducer

_MEMORY_BYTES: Final = 2 * 1024 * 1024 * 1024
NOT_A_MODULE: Final = 3
"""The child's exit status for bytes that are no module."""
_CHILD: Final = "sqlsync.wasm.compile_child"


def compile_apart(source: bytes, seconds: float, *, memory_bytes: int = _MEMORY_BYTES) -> tuple[bytes, int | None]:
    """Return a module as wasmtime serializes it, and its number of mutable globals.

    Raises `BadReducer` for one that is not valid, or that takes more than ``seconds`` or ``memory_bytes`` to compile.
    """
    command = [sys.executable, "-m", _CHILD, str(memory_bytes)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as child:  # noqa: S603 - ours
        try:
            output, _ = child.communicate(source, timeout=seconds)
        except subprocess.TimeoutExpired:
            raise BadReducer(f"it takes more than {seconds:g} s to compile") from None
        finally:
            child.kill()
    if child.returncode == NOT_A_MODULE:
        raise BadReducer(f"it is no valid WebAssembly module: {output.decode(errors='replace')}")
    if child.returncode != 0:
        raise BadReducer(
            f"the compiler gave up (status {child.returncode}); it has {memory_bytes >> 20} MiB of memory for a module"
        )
    count, _, serialized = output.partition(b"\n")
    return serialized, None if int(count) < 0 else int(count)
