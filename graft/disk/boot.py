"""Identifies the current boot of the machine: what was written since then, the operating system still has."""

import functools
from pathlib import Path

import xxhash

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@functools.cache
def boot_number() -> int:
    """Return a number that no other boot of this or another machine has; 0 if it is unknown."""
    try:
        return xxhash.xxh3_64_intdigest(_BOOT_ID.read_bytes().strip()) or 1
    except OSError:
        return 0
