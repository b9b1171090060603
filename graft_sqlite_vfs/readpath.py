"""Chooses the read path of this process: the accelerated one if it was built, else the pure one.

``GRAFT_PURE=1`` in the environment forces the pure path (docs/explanation/read-path.md).
"""

import importlib
import os
from dataclasses import dataclass

from graft.disk import shared_counters
from graft.journal.format import RECORD_LAYOUT
from graft.pagemap import locations
from graft.pagemap.chunks import CHUNK_SHIFT

VARIABLE = "GRAFT_PURE"
INTERFACE = 4
"""The interface version that the compiled module must have; see native/module.c."""

_LOCATION_LAYOUT = (
    locations.FRAME_TAG,
    locations.JOURNAL_TAG,
    locations.SLOT_BITS,
    locations.OFFSET_BITS,
    CHUNK_SHIFT,
)
_COUNTER_LAYOUT = (
    shared_counters.GENERATION,
    shared_counters.LOCAL_LSN,
    shared_counters.APPENDING,
    shared_counters.IN_DOUBT,
)
_NEEDED = {
    "INTERFACE": INTERFACE,
    "LOCATION_LAYOUT": _LOCATION_LAYOUT,
    "RECORD_LAYOUT": RECORD_LAYOUT,
    "COUNTER_LAYOUT": _COUNTER_LAYOUT,
}
"""Layouts defined in both Python and C. If they differed, the accelerator would read and write in the wrong places."""


@dataclass(frozen=True, slots=True)
class Accelerated:
    """Cached pages are read without Python."""

    def __str__(self) -> str:
        """Return the name that users see."""
        return "accelerated"


@dataclass(frozen=True, slots=True)
class Pure:
    """Every read goes through Python."""

    why: str

    def __str__(self) -> str:
        """Return the name that users see, with the reason."""
        return f"pure ({self.why})"


ReadPath = Accelerated | Pure


def available(name: str = "graft_sqlite_vfs._accelerator") -> ReadPath:
    """Return the fastest read path that this process can use."""
    if os.environ.get(VARIABLE, "0") not in {"", "0"}:
        return Pure(f"{VARIABLE} is set")
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        return Pure(f"no accelerator was built: {error}")
    others = [name for name, needed in _NEEDED.items() if getattr(module, name, None) != needed]
    if others:
        return Pure(f"{module.__file__} was built from other sources ({', '.join(others)}); install graft again")
    return Accelerated()
