"""WebAssembly guests for tests: small modules in text form that misbehave in one way each, and the built examples."""

import subprocess
from pathlib import Path

import pytest
import wasmtime

ROOT = Path(__file__).parents[3]
GOLDEN = Path(__file__).parents[1] / "golden"
DONE = bytes(5)  # Ok(None)
REPLY, REQUEST, RECORD, FREE = 64, 1024, 8192, 16384


def requesting(sql, *, is_exec=True, params=b"", count=0, number=0):
    """The reply that asks for one thing."""
    text = sql.encode()
    return b"".join((
        bytes(4), b"\1", (1).to_bytes(8, "little"), number.to_bytes(4, "little"), int(is_exec).to_bytes(4, "little"),
        len(text).to_bytes(8, "little"), text, count.to_bytes(8, "little"), params,
    ))  # fmt: skip


def record(level, message):
    return b"".join(len(text).to_bytes(8, "little") + text.encode() for text in (level, message)) + b"\0\0"


def guest(reduce=f"(i32.const {REPLY})", *, step=f"(i32.const {REPLY})", reply=DONE, request=DONE, log=b"", more=""):
    """A module: `reduce` and `step` return what leads to REPLY (done), REQUEST or elsewhere; RECORD is a log record."""
    data = "".join(
        f'(data (i32.const {place - 8}) "{_escaped(len(content).to_bytes(8, "little") + content)}")'
        for place, content in ((REPLY, reply), (REQUEST, request), (RECORD, log))
    )
    return wat(f"""(module
        (import "env" "host_log" (func $log (param i32)))
        (memory (export "memory") 1)
        (global $top (mut i32) (i32.const {FREE}))
        (global $count (mut i32) (i32.const 0))
        (func (export "ffi_buf_allocate") (param $length i32) (result i32) (local $found i32)
            (local.set $found (i32.add (global.get $top) (i32.const 8)))
            (i32.store (global.get $top) (local.get $length))
            (global.set $top (i32.and (i32.add (local.get $found) (i32.add (local.get $length) (i32.const 7)))
                (i32.const -8)))
            (local.get $found))
        (func (export "ffi_buf_deallocate") (param i32))
        (func (export "ffi_buf_len") (param i32) (result i32) (i32.load (i32.sub (local.get 0) (i32.const 8))))
        (func (export "ffi_init_reducer"))
        (func $reduce (export "ffi_reduce") (param i32) (result i32) {reduce})
        (func (export "ffi_reactor_step") (param i32) (result i32) {step})
        {data} {more})""")


def wat(text):
    """The module that WebAssembly's text form describes."""
    return bytes(wasmtime.wat2wasm(text))


def _escaped(content):
    return "".join(f"\\{byte:02x}" for byte in content)


def built(kind, directory):
    """Build an example reducer; the test is skipped where its compiler is not installed."""
    if kind == "sdk":
        return GOLDEN / "notes_sdk.wasm"
    out = directory / f"{kind}.wasm"
    done = subprocess.run([ROOT / "scripts/build-reducer", kind, out], capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    return out
