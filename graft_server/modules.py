"""Where reducers come from: an uploaded WebAssembly module, or Python by its name."""

import importlib
import sys
from typing import Final, cast

from graft.errors import BadRequest
from graft_server.reducers import NotAReducer
from sqlsync.reducers.reducer import Reducer

COMPILE_S: Final = 20.0
"""How long an uploaded module may take to compile."""


def load_module(module: bytes) -> Reducer:
    """Return the reducer in a WebAssembly module; raises `NotAReducer` for what is none."""
    try:
        from sqlsync.wasm.reducer import WasmReducer  # noqa: PLC0415 - an extra, and it takes a while
    except ModuleNotFoundError as error:
        raise NotAReducer(
            f"this server runs no WebAssembly without the extra 'wasm': in a checkout, pip install '.[wasm]' ({error})"
        ) from error
    return WasmReducer(module, compile_s=COMPILE_S)


def load_named(name: str) -> Reducer:
    """Return the reducer called ``package.module:name``, or make the one whose class is; raises `BadRequest`.

    Modules are looked for in the working directory too.
    """
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise BadRequest(f"{name!r} names no reducer; expected something like package.module:Reducer")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found = getattr(importlib.import_module(module), attribute)
        reducer = found() if isinstance(found, type) else found
        if not (callable(reducer.apply) and callable(reducer.check) and callable(reducer.migrate)):
            raise TypeError("it lacks apply, check or migrate")
    except Exception as error:
        raise BadRequest(f"no reducer {name}: {error}") from error
    return cast("Reducer", reducer)
