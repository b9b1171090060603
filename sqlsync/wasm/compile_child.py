"""The child process of `sqlsync.wasm.compile_apart`, which describes its input and output."""

import contextlib
import os
import resource
import sys

import wasmtime

from sqlsync.wasm import engine
from sqlsync.wasm.compile_apart import NOT_A_MODULE

_NICER = 10


def main() -> int:
    """Compile the module from stdin; return the exit status."""
    memory_bytes = int(sys.argv[1])
    with contextlib.suppress(OSError, ValueError):  # the system has no such limit, or a lower one
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    os.nice(_NICER)
    try:
        module, globals_count = engine.compiled_module(sys.stdin.buffer.read())
    except wasmtime.WasmtimeError as error:
        sys.stdout.write(engine.first_line(error))
        return NOT_A_MODULE
    head = -1 if globals_count is None else globals_count
    sys.stdout.buffer.write(f"{head}\n".encode() + module.serialize())
    return 0


if __name__ == "__main__":
    sys.exit(main())
