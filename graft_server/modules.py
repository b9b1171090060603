"""Loads reducers: from an uploaded WebAssembly module, or from Python by name."""

import importlib
import sys
from typing import Final, cast

from graft.errors import BadRequest
from graft_server.reducers import NotAReducer
from sqlsync.reducers.reducer import Reducer

COMPILE_S: Final = 20.0
"""How long an uploaded module may take to compile."""


def load_module(module: bytes) -> Reducer:
    """Return the reducer in a WebAssembly module; raises `NotAReducer` if it has none."""
    try:
        from sqlsync.wasm.reducer import WasmReducer  # noqa: PLC0415 - an extra, and a slow import
    except ModuleNotFoundError as error:
        raise NotAReducer(
            f"this server needs the extra 'wasm' to run WebAssembly: in a checkout, pip install '.[wasm]' ({error})"
        ) from error
    return WasmReducer(module, compile_s=COMPILE_S)


def load_named(name: str) -> Reducer:
    """Return the reducer ``package.module:name``, or an instance of it if it is a class; raises `BadRequest`.

    Modules in the working directory are found too.
    """
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise BadRequest(f"{name!r} does not name a reducer; use package.module:Reducer")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found = getattr(importlib.import_module(module), attribute)
        reducer = found() if isinstance(found, type) else found
        if not (callable(reducer.apply) and callable(reducer.check) and callable(reducer.migrate)):
            raise TypeError("it lacks apply, check or migrate")
    except Exception as error:
        raise BadRequest(f"cannot load reducer {name}: {error}") from error
    return cast("Reducer", reducer)
