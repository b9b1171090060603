"""When a follower polls the remote again: pure decisions, without clock, thread or randomness.

After news, the next poll comes after the shortest interval. Each poll that finds nothing makes the wait half as long
again, up to a limit. Each poll that fails doubles it, with jitter, so that followers that lost the same remote do not
come back at the same moment. Each request is paid from a token bucket, which fills at the rate of the budget.

Invariant: the requests in any h hours are at most budget · h, plus ``burst``, plus those by which one poll overdrew the
bucket (a poll that finds news must be finished); no poll begins until the overdraft is made up.
"""

from dataclasses import dataclass

_IDLE_GROWTH = 1.5
_FAILURE_GROWTH = 2.0
_LISTING_EVERY = 100
_SECONDS_PER_HOUR = 3600


@dataclass(frozen=True, slots=True)
class PollPolicy:
    """How often to poll."""

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
        """The size of the token bucket: the requests of one minute, and always enough to read news."""
        return max(16.0, self.requests_per_hour / 60)


class PollSchedule:
    """The waits of one follower; used by one thread."""

    def __init__(self, policy: PollPolicy, now_s: float) -> None:
        """Begin with a full bucket."""
        self._policy = policy
        self._wait_s = policy.interval_s
        self._failures = 0
        self._polls = 0
        self._tokens = policy.burst
        self._filled_s = now_s

    @property
    def wait_s(self) -> float:
        """The current wait between polls. A poll of another process within this time counts as one of ours."""
        return self._wait_s

    @property
    def failures(self) -> int:
        """How many polls in a row have failed."""
        return self._failures

    def by_listing(self) -> bool:
        """Return whether the next poll should list: the first one, each one after a failure, and one in a hundred.

        Asking for the next commit by name is cheaper, but does not reveal that commits were lost or retired.
        """
        self._polls += 1
        return self._polls % _LISTING_EVERY == 1 or self._failures > 0

    def after_poll(self, *, moved: bool, requests: int, now_s: float) -> float:
        """Return the seconds until the next poll, after one that the remote answered."""
        self._failures = 0
        grown_s = min(self._wait_s * _IDLE_GROWTH, self._policy.interval_s_max)
        self._wait_s = self._policy.interval_s if moved else grown_s
        return max(self._paid_in_s(requests, now_s), self._wait_s)

    def after_failure(self, *, requests: int, now_s: float, jitter: float) -> float:
        """Return the seconds until the next poll, after a failed one; ``jitter`` is random, 0 ≤ jitter < 1."""
        self._failures += 1
        self._wait_s = self._policy.interval_s
        ceiling_s = self._policy.interval_s * _FAILURE_GROWTH ** min(self._failures, 60)
        wait_s = min(ceiling_s, self._policy.interval_s_max) * (1 + jitter) / 2
        return max(self._paid_in_s(requests, now_s), wait_s)

    def _paid_in_s(self, requests: int, now_s: float) -> float:
        """Take tokens for requests; return the seconds until there is one for the next request."""
        rate = self._policy.requests_per_hour / _SECONDS_PER_HOUR
        self._tokens = min(self._policy.burst, self._tokens + (now_s - self._filled_s) * rate) - requests
        self._filled_s = now_s
        return max(0.0, (1 - self._tokens) / rate)
