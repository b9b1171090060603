"""JSON from others: read with limits, so that it can be written, stored and read again by everybody.

Python's own `json` takes NaN and Infinity, reads 1e999 as infinity, and nests until the stack ends. All of that is
refused here, where it comes in.
"""

import math
from typing import Any

from pydantic_core import from_json

DEPTH_MAX = 100
"""How deep lists and objects may be nested; far less than any reader's stack."""


def read_object(data: bytes | str) -> dict[str, Any]:
    """Read a JSON object; raises `ValueError` for anything else, and for what `require_plain` refuses."""
    found = from_json(data, allow_inf_nan=False)
    if not isinstance(found, dict):
        raise ValueError(f"a JSON object is expected, not {type(found).__name__}")  # noqa: TRY004 - bytes are wrong
    require_plain(found)
    return found


def require_plain(value: object) -> None:
    """Raise `ValueError` unless every JSON reader can take ``value``: finite numbers, Unicode text, bounded depth."""
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
