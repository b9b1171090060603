"""Requests seen by the latency proxy, and their sum; pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple


class SeenRequest(NamedTuple):
    """One request, as the proxy saw it; times are in seconds on the proxy's clock."""

    method: str
    target: str
    """Path and query."""
    status: int
    begun_s: float
    """When its first bytes came."""
    ended_s: float
    """Just before the last bytes of its reply went out, so that a request that waits for this one begins later."""
    bytes_up: int
    """Of the body."""
    bytes_down: int
    """Of the body."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """The sum of some requests."""

    requests: int
    round_trips: int
    bytes_up: int
    bytes_down: int


def summed(seen: Iterable[SeenRequest]) -> Traffic:
    """Return the sum."""
    requests = list(seen)
    return Traffic(
        len(requests),
        round_trips(requests),
        sum(request.bytes_up for request in requests),
        sum(request.bytes_down for request in requests),
    )


def round_trips(seen: Iterable[SeenRequest]) -> int:
    """Return the length of the longest chain of requests in which each begins after the one before has ended.

    Latency is paid once for each: a hundred concurrent requests are one round trip. The request that ends first starts
    a longest chain, as in interval scheduling.
    """
    count, free_at = 0, float("-inf")
    for request in sorted(seen, key=lambda each: each.ended_s):
        if request.begun_s >= free_at:
            count, free_at = count + 1, request.ended_s
    return count
