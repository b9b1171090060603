"""When a follower looks at the remote again: pure decisions, without clock, thread or randomness.

Where something happened, the next look comes after the least interval; each look that finds nothing makes the wait half
as long again, up to a bound; each one that fails doubles it, with jitter, so that those who lost the same remote do not
come back at the same moment. And each request is paid from a bucket that fills with the budget's rate.

Invariant: the requests of any span of h hours are at most budget · h, a burst of ``burst``, and those by which one look
overdrew the bucket (a look that finds news must be finished); looks wait until what was overdrawn is there again.
"""

from dataclasses import dataclass

_IDLE_GROWTH = 1.5
_FAILURE_GROWTH = 2.0
_LISTING_EVERY = 100
_SECONDS_PER_HOUR = 3600


@dataclass(frozen=True, slots=True)
class PollPolicy:
    """How often to look."""

    interval_s: float
    interval_s_max: float
    requests_per_hour: int

    def __post_init__(self) -> None:
        if not 0 < self.interval_s <= self.interval_s_max:
            raise ValueError(f"an interval of {self.interval_s:g} s cannot grow to {self.interval_s_max:g} s")
        if self.requests_per_hour < 1:
            raise ValueError(f"{self.requests_per_hour} requests per hour are none at all")

    @property
    def burst(self) -> float:
        """Requests that quiet times save up: those of a minute, but always enough for news."""
        return max(16.0, self.requests_per_hour / 60)


class PollSchedule:
    """The waits of one follower; used by one thread."""

    def __init__(self, policy: PollPolicy, now_s: float) -> None:
        """Begin with a full bucket."""
        self._policy = policy
        self._wait_s = policy.interval_s
        self._failures = 0
        self._looks = 0
        self._tokens = policy.burst
        self._filled_s = now_s

    @property
    def wait_s(self) -> float:
        """The wait between looks as it is now; a look that somebody made within it is as good as one of ours."""
        return self._wait_s

    @property
    def failures(self) -> int:
        """How many looks failed since the last one that did not."""
        return self._failures

    def by_listing(self) -> bool:
        """Tell whether the look that begins now should list: the first one, each one after a failure, some others.

        Asking for the next commit by name is cheaper, but it does not tell that commits were lost or retired.
        """
        self._looks += 1
        return self._looks % _LISTING_EVERY == 1 or self._failures > 0

    def after_look(self, *, moved: bool, requests: int, now_s: float) -> float:
        """Return the seconds until the next look, after one that was answered."""
        self._failures = 0
        grown_s = min(self._wait_s * _IDLE_GROWTH, self._policy.interval_s_max)
        self._wait_s = self._policy.interval_s if moved else grown_s
        return max(self._paid_in_s(requests, now_s), self._wait_s)

    def after_failure(self, *, requests: int, now_s: float, jitter: float) -> float:
        """Return the seconds until the next look, after one that was not; ``jitter`` is random, 0 ≤ jitter < 1."""
        self._failures += 1
        self._wait_s = self._policy.interval_s
        ceiling_s = self._policy.interval_s * _FAILURE_GROWTH ** min(self._failures, 60)
        wait_s = min(ceiling_s, self._policy.interval_s_max) * (1 + jitter) / 2
        return max(self._paid_in_s(requests, now_s), wait_s)

    def _paid_in_s(self, requests: int, now_s: float) -> float:
        """Pay for requests; return after how many seconds there is enough for another one."""
        rate = self._policy.requests_per_hour / _SECONDS_PER_HOUR
        self._tokens = min(self._policy.burst, self._tokens + (now_s - self._filled_s) * rate) - requests
        self._filled_s = now_s
        return max(0.0, (1 - self._tokens) / rate)
