"""Clock, entropy and sleep: the only door through which time and chance come in."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Runtime:
    """What a deterministic test replaces. All members may be called from any thread."""

    now_s: Callable[[], float] = time.time
    """Wall clock, seconds since the Unix epoch; for names and logs, never for time-outs."""
    monotonic_s: Callable[[], float] = time.monotonic
    """Seconds from an arbitrary start, never going back; for deadlines."""
    sleep_s: Callable[[float], None] = time.sleep
    entropy: Callable[[int], bytes] = os.urandom
    """That many random bytes."""


SYSTEM = Runtime()
