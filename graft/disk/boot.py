"""Which start of the machine this is: what the operating system was given since then, it still has."""

import functools
from pathlib import Path

import xxhash

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@functools.cache
def boot_number() -> int:
    """Return a number that no other start of this machine or of another one has; 0 where there is no telling."""
    try:
        return xxhash.xxh3_64_intdigest(_BOOT_ID.read_bytes().strip()) or 1
    except OSError:
        return 0
