"""Read bounds, which say how fresh a connection must read: ``max_staleness_s``, ``min_lsn`` and ``wait_s``; pure."""

from collections.abc import Callable
from dataclasses import dataclass

from graft.errors import BadRequest

WAIT_S = 30.0
"""The default time to wait for `min_lsn`."""


@dataclass(frozen=True, slots=True)
class ReadBounds:
    """How fresh the versions that a connection reads must be."""

    max_staleness_s: float | None = None
    """Each transaction reads all that the remote had this many seconds before it began; None: any local version."""
    min_lsn: int | None = None
    """The connection opens when the replica has this commit."""
    wait_s: float = WAIT_S
    """How long to wait for that commit."""

    def parameters(self) -> dict[str, str]:
        """Return the URI parameters for these bounds; `parse_read_bounds` reads them."""
        found = {"max_staleness_s": self.max_staleness_s, "min_lsn": self.min_lsn}
        if self.min_lsn is not None:
            found["wait_s"] = self.wait_s
        return {name: str(value) for name, value in found.items() if value is not None}


def parse_read_bounds(parameter: Callable[[str], str | None]) -> ReadBounds:
    """Read the URI parameters; raises `BadRequest` for invalid values."""
    staleness, lsn, wait = parameter("max_staleness_s"), parameter("min_lsn"), parameter("wait_s")
    return ReadBounds(
        None if staleness is None else seconds("max_staleness_s", staleness),
        None if lsn is None else lsn_number(lsn),
        WAIT_S if wait is None else seconds("wait_s", wait),
    )


def seconds(name: str, text: str) -> float:
    """Read a number of seconds, 0 or more."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not value >= 0:
        raise BadRequest(f"{name} must be a number of seconds, 0 or more, not {text!r}")
    return value


def lsn_number(text: str) -> int:
    """Read an LSN."""
    if not text.isdecimal():
        raise BadRequest(f"an LSN must be a number, 0 or more, not {text!r}")
    return int(text)
