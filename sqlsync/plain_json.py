"""Reads JSON from other processes, with limits, so that any JSON library can store and read it again.

Python's own `json` accepts NaN and Infinity, reads 1e999 as infinity, and nests until the stack overflows. This module
refuses all of that.
"""

import math
from typing import Any

from pydantic_core import from_json

DEPTH_MAX = 100
"""How deep lists and objects may be nested, far below the limit of any reader's stack."""


def read_object(data: bytes | str) -> dict[str, Any]:
    """Read a JSON object; raises `ValueError` for anything else, and where `require_plain` does."""
    found = from_json(data, allow_inf_nan=False)
    if not isinstance(found, dict):
        raise ValueError(f"expected a JSON object, not {type(found).__name__}")  # noqa: TRY004 - the bytes are wrong
    require_plain(found)
    return found


def require_plain(value: object) -> None:
    """Raise `ValueError` unless any JSON reader can read ``value``: finite numbers, Unicode text, bounded depth."""
    level, depth = [value], 0
    while level:
        if depth > DEPTH_MAX:
            raise ValueError(f"it is nested more than {DEPTH_MAX} levels deep")
        below: list[object] = []
        for item in level:
            match item:
                case float() if not math.isfinite(item):
                    raise ValueError(f"JSON has no {item}")
                case str():
                    item.encode()
                case dict():
                    below += item.keys()
                    below += item.values()
                case list() | tuple():
                    below += item
        level, depth = below, depth + 1
