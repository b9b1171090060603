"""Clock, entropy and sleep, injected so that tests can replace them."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Runtime:
    """The sources of time and randomness; a deterministic test replaces them. Members are safe for threads."""

    now_s: Callable[[], float] = time.time
    """The wall clock, in seconds since the Unix epoch; for names and logs, never for time-outs."""
    monotonic_s: Callable[[], float] = time.monotonic
    """A clock that never goes back, in seconds since an arbitrary start; for deadlines."""
    sleep_s: Callable[[float], None] = time.sleep
    entropy: Callable[[int], bytes] = os.urandom
    """Returns the given number of random bytes."""


SYSTEM = Runtime()
