"""Reducers in WebAssembly, in the ABI of SQLSync 0.3.2: modules compiled for SQLSync run unmodified.

    mutation's bytes --> ffi_reduce --> requests --> SQL --> responses --> ffi_reactor_step --> ... --> done

The module gets the bytes of an opaque mutation unchanged. A named mutation becomes a JSON object of its arguments in
which ``tag`` is the name, the form that SQLSync's applications use: ``mutate("put", key="a")`` -->
``{"tag":"put","key":"a"}``.

A module may export two more functions, which SQLSync does not know: ``ffi_reducer_version() -> u32`` and
``ffi_migrate(version u32) -> ptr``, which replies like ``ffi_reduce``. Modules read the envelope's values through SQL:
the clock, ``random()``, and the functions of `sqlsync.reducers.sandbox` (``sqlsync_actor()`` and so on).
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import apsw

from sqlsync.envelope import Mutation, Opaque
from sqlsync.errors import BadMutation, BadReducer, MutationRejected, ReducerFailed
from sqlsync.reducers.reducer import ReducerContext
from sqlsync.wasm import engine as wasm_engine
from sqlsync.wasm.abi import (
    Changes,
    ConversionError,
    Failed,
    Query,
    ReducerError,
    Request,
    Requests,
    Response,
    Rows,
    UnknownError,
    write_response,
)
from sqlsync.wasm.guest import Guest, Reply, WasmLimits

TAG = "tag"
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
DEFAULT_LIMITS = WasmLimits()
_ERRORS = (UnknownError, ConversionError)
_Given = TypeVar("_Given")


class WasmReducer:
    """A reducer in a WebAssembly module; threads may share it."""

    def __init__(
        self,
        module: bytes | bytearray | str | os.PathLike[str],
        *,
        limits: WasmLimits = DEFAULT_LIMITS,
        isolated: bool = True,
        compile_s: float | None = None,
    ) -> None:
        """Load a module from its bytes or its file; a module that was loaded before is not compiled again.

        With ``isolated``, each mutation runs in an instance with its initial state, so that a module that remembers
        something gives the same results at every replay. Without, an instance is reused until a mutation fails in it,
        which is faster. ``compile_s`` is for untrusted modules: a child process compiles them within that many seconds.
        Raises `BadReducer` for a module that lacks a part of the ABI or imports more than it offers.
        """
        source = Path(module).read_bytes() if isinstance(module, str | os.PathLike) else bytes(module)
        self._compiled = wasm_engine.load(source, compile_s=compile_s)
        self._limits = limits
        self._isolated = isolated
        self._idle: list[Guest] = []
        self._version = 0
        try:
            with wasm_engine.ticker():
                guest = Guest(self._compiled, limits)
                self._first_state = guest.state() if isolated else None
                if self._compiled.migrates:
                    self._version = guest.version()
                self._reuse(guest)
        except ReducerFailed as error:
            raise BadReducer(f"reducer {self._compiled.digest.hex()[:12]} cannot be started: {error}") from error

    @property
    def version(self) -> int:
        """The schema version of its documents; 0 for modules without the exports for migrations."""
        return self._version

    @property
    def digest(self) -> bytes | None:
        """SHA-256 of the module."""
        return self._compiled.digest

    def migrate(self, context: ReducerContext, version: int) -> None:
        """Migrate the document to ``version``."""
        self._run(context, Guest.migrate, version)

    def check(self, mutation: Mutation) -> None:
        """Raise `BadMutation` for an argument called ``tag``, which is reserved for the name."""
        payload_of(mutation)

    def apply(self, context: ReducerContext) -> None:
        """Run the context's mutation."""
        self._run(context, Guest.reduce, payload_of(context.mutation))

    def _run(self, context: ReducerContext, begin: Callable[[Guest, _Given], Reply], given: _Given) -> None:
        with wasm_engine.ticker():
            guest = self._guest()
            error = self._serve(context, guest, begin(guest, given))
            self._reuse(guest, error)
        if error is not None:
            raise _rejection(error)

    def _guest(self) -> Guest:
        try:
            guest = self._idle.pop()
        except IndexError:
            return Guest(self._compiled, self._limits)
        guest.begin()
        return guest

    def _reuse(self, guest: Guest, error: ReducerError | None = None) -> None:
        """Return a guest that finished its mutation to the idle ones; not for one that trapped or was stopped."""
        if self._isolated:
            if self._first_state is not None and guest.restore(self._first_state):
                self._idle.append(guest)
        elif error is None:
            self._idle.append(guest)

    def _serve(self, context: ReducerContext, guest: Guest, reply: Reply) -> ReducerError | None:
        while reply is not None:
            if isinstance(reply, _ERRORS):
                return reply
            if not reply:
                raise ReducerFailed("the reducer broke SQLSync's ABI: it is not done, but sent no requests")
            reply = guest.step(self._responses(context, reply))
        return None

    def _responses(self, context: ReducerContext, requests: Requests) -> dict[int, bytes]:
        found, left = {}, self._limits.memory_bytes
        for number, request in requests.items():
            found[number] = write_response(_answer(context, request, left))
            left -= len(found[number])
            if left < 0:
                raise ReducerFailed("the reducer asked for more rows than fit into its memory")
        return found


def payload_of(mutation: Mutation) -> bytes:
    """Return the bytes that a module gets for a mutation. Raises `BadMutation` for an argument called ``tag``."""
    body = mutation.body
    if isinstance(body, Opaque):
        return body.payload
    if TAG in body.arguments:
        raise BadMutation(f"mutation {body.name!r} has an argument {TAG!r}, which is reserved for its name")
    return _JSON.encode({TAG: body.name, **body.arguments}).encode()


def _answer(context: ReducerContext, request: Request, bytes_max: int) -> Response:
    """Run a guest's request; the guest may handle SQLite's errors, and any other error ends the mutation."""
    try:
        if isinstance(request, Query):
            return Rows(*context.query_columns(request.sql, request.params, bytes_max=bytes_max))
        return Changes(context.execute(request.sql, request.params))
    except apsw.Error as error:
        return Failed(getattr(error, "extendedresult", None), str(error))


def _rejection(error: ReducerError) -> MutationRejected:
    if isinstance(error, ConversionError):
        return ReducerFailed(f"the reducer failed: {error}")
    return MutationRejected(str(error))
