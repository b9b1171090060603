"""The reducers that `python -m benchmarks sqlsync` compares: the notes of examples/reducers, in Python and in C."""

import importlib.util
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from examples.reducers.notes import Notes
from sqlsync.reducers.reducer import Reducer

_BUILD = Path(__file__).parents[2] / "scripts" / "build-reducer"


class System(Protocol):
    """A reducer to measure with."""

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables that the measured process needs."""
        ...

    def reducer(self) -> Reducer:
        """Return a new reducer."""
        ...


@dataclass(frozen=True, slots=True)
class PythonSystem:
    """Reducers in Python."""

    environment: Mapping[str, str] = field(default_factory=dict)

    def reducer(self) -> Reducer:
        """Return a new reducer."""
        return Notes()


@dataclass(frozen=True, slots=True)
class WasmSystem:
    """Reducers in WebAssembly, compiled from C; ``isolated``: each mutation starts from an instance's first state."""

    isolated: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)

    def reducer(self) -> Reducer:
        """Compile, and return a new reducer."""
        from sqlsync.wasm.reducer import WasmReducer  # noqa: PLC0415 - wasmtime is an extra

        with tempfile.TemporaryDirectory(prefix="graft-benchmarks-") as directory:
            out = Path(directory) / "notes.wasm"
            subprocess.run([_BUILD, "c", out], check=True, stdout=subprocess.DEVNULL)
            return WasmReducer(out, isolated=self.isolated)


def _found() -> dict[str, System]:
    systems: dict[str, System] = {"python": PythonSystem()}
    if importlib.util.find_spec("wasmtime") and shutil.which("clang") and shutil.which("wasm-ld"):
        systems |= {"wasm": WasmSystem(), "wasm-shared": WasmSystem(isolated=False)}
    return systems


SYSTEMS = _found()
"""The systems that can run on this machine, by name."""
