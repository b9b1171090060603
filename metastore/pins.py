"""Pins: ``pins/{log}/{lsn}-{seconds}-{id}``, an empty promise object that keeps one version for a while.

A pin says all in its key, so that a collector learns of every pin from one listing. It expires so many seconds after it
was last written, by the store's own clock; writing it again renews it.
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
    """A version that somebody reads."""

    log: LogId
    lsn: LSN
    ttl_s: int
    token: str

    @property
    def key(self) -> str:
        """Of its object."""
        return f"pins/{self.log}/{self.lsn}-{self.ttl_s}-{self.token}"


@dataclass(frozen=True, slots=True)
class FoundPin:
    """A pin in a store."""

    pin: PinRecord
    expires_s: float
    """Seconds since the Unix epoch, by the store's own clock."""


def new_pin(log: LogId, lsn: LSN, ttl_s: float, runtime: Runtime = SYSTEM) -> PinRecord:
    """Return a pin that is not written yet; raises `ValueError` for a time that none can have."""
    if not 1 <= ttl_s <= PIN_S_MAX:
        raise ValueError(f"a pin lasts from a second to {PIN_S_MAX // 86400} days, not {ttl_s:g} s")
    return PinRecord(log, lsn, int(ttl_s), runtime.entropy(8).hex())


def write_pin(store: ObjectStore, pin: PinRecord, words: str) -> None:
    """Write or renew a pin, one request; ``words`` tell people whose it is."""
    with translated():
        store.put(pin.key, words.encode())


def delete_pin(store: ObjectStore, pin: PinRecord) -> None:
    """Give a pin up, one request; one that is gone is no error."""
    with translated():
        store.delete(pin.key)


def all_pins(store: ObjectStore, log: LogId | None = None) -> Iterator[FoundPin]:
    """Yield the pins of a store, or of one log, also those that have expired; strays are passed over."""
    with translated():
        for found in store.list(f"pins/{log}/" if log else "pins/"):
            pin = parse_pin(found.key)
            if pin is not None:
                yield FoundPin(pin, found.modified_s + pin.ttl_s)


def parse_pin(key: str) -> PinRecord | None:
    """Read the key of a pin; None if it is none."""
    _, _, rest = key.partition("pins/")
    log, _, name = rest.partition("/")
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    try:
        return PinRecord(LogId.parse(log), LSN(int(match[1])), int(match[2]), match[3])
    except ValueError:
        return None
