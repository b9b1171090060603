"""Pins: an object ``pins/{log}/{lsn}-{seconds}-{id}`` protects one version from garbage collection for a while.

A pin's key contains all of its data, so the collector gets every pin from one listing. A pin expires ``seconds`` after
it was last written, by the store's own clock; writing it again renews it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from metastore.errors import translated
from metastore.ids import LogId
from metastore.lsn import LSN
from pagestore.objectstore import ObjectStore
from pagestore.runtime import SYSTEM, Runtime

_NAME = re.compile(r"(\d{1,19})-(\d{1,10})-([0-9a-f]{16})", re.ASCII)
PIN_S_MAX = 366 * 24 * 3600


@dataclass(frozen=True, slots=True)
class PinRecord:
    """A version that a reader protects."""

    log: LogId
    lsn: LSN
    ttl_s: int
    token: str

    @property
    def key(self) -> str:
        """The key of its object."""
        return f"pins/{self.log}/{self.lsn}-{self.ttl_s}-{self.token}"


@dataclass(frozen=True, slots=True)
class FoundPin:
    """A pin in a store."""

    pin: PinRecord
    expires_s: float
    """Seconds since the Unix epoch, by the store's own clock."""


def new_pin(log: LogId, lsn: LSN, ttl_s: float, runtime: Runtime = SYSTEM) -> PinRecord:
    """Return a pin, not written yet; raises `ValueError` for a lifetime out of range."""
    if not 1 <= ttl_s <= PIN_S_MAX:
        raise ValueError(f"a pin lasts from a second to {PIN_S_MAX // 86400} days, not {ttl_s:g} s")
    return PinRecord(log, lsn, int(ttl_s), runtime.entropy(8).hex())


def write_pin(store: ObjectStore, pin: PinRecord, words: str) -> None:
    """Write or renew a pin in one request; ``words`` tell human readers who owns it."""
    with translated():
        store.put(pin.key, words.encode())


def delete_pin(store: ObjectStore, pin: PinRecord) -> None:
    """Delete a pin in one request; a missing pin is not an error."""
    with translated():
        store.delete(pin.key)


def all_pins(store: ObjectStore, log: LogId | None = None) -> Iterator[FoundPin]:
    """Yield the pins of a store, or of one log, including expired ones; skips objects that are not pins."""
    with translated():
        for found in store.list(f"pins/{log}/" if log else "pins/"):
            pin = parse_pin(found.key)
            if pin is not None:
                yield FoundPin(pin, found.modified_s + pin.ttl_s)


def parse_pin(key: str) -> PinRecord | None:
    """Parse the key of a pin; returns None for any other key."""
    _, _, rest = key.partition("pins/")
    log, _, name = rest.partition("/")
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    try:
        return PinRecord(LogId.parse(log), LSN(int(match[1])), int(match[2]), match[3])
    except ValueError:
        return None
