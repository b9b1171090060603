"""Times on a command line: ``90``, ``45s``, ``30m``, ``12h``, ``7d``, ``4w``. Pure."""

import re
from typing import Any

import click

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw]?)", re.ASCII)


class Duration(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic in click 8.5 alone
    """A time span; its value is in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        if isinstance(value, int | float):
            return float(value)
        match = _DURATION.fullmatch(value.strip().lower())
        if match is None:
            self.fail(f"{value!r} is no time span; expected something like 90s, 30m, 12h, 7d or 4w", param, ctx)
        return float(match[1]) * _UNITS[match[2]]
