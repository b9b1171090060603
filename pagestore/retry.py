"""When to retry: exponential backoff with full jitter.

Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

from dataclasses import dataclass

from pagestore.runtime import Runtime


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and for how long one call is tried."""

    attempts_max: int
    backoff_base_s: float
    backoff_max_s: float
    call_s_max: float
    """No try begins later than this after the first one."""

    def wait_s(self, attempts: int, elapsed_s: float, jitter: float) -> float | None:
        """Return how long to wait after ``attempts`` failed tries within ``elapsed_s``, or None to give up.

        ``jitter`` is random, 0 ≤ jitter < 1.
        """
        if attempts >= self.attempts_max:
            return None
        ceiling_s = min(self.backoff_max_s, self.backoff_base_s * 2.0 ** min(attempts - 1, 60))
        wait_s = ceiling_s * jitter
        return wait_s if elapsed_s + wait_s <= self.call_s_max else None


def random_fraction(runtime: Runtime) -> float:
    """Return a random number, 0 ≤ number < 1."""
    return int.from_bytes(runtime.entropy(6), "big") / 2**48
