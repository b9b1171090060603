"""How fresh a replica is: when it was last known to have all that the remote had.

Invariant: the confirmed moment is not later than the last request that proved that the remote's head was not above
what the replica builds on. The moment is stored by both clocks of the machine, since each fails in its own way: the
monotonic clock restarts with each boot, the wall clock may be set. The larger of the two ages counts, so an error of
one clock makes a replica look older than it is, never younger. If either clock is behind the confirmed moment, the age
is not trusted: a read with a bound on staleness asks the remote, and the answer replaces the moment.
"""

from dataclasses import dataclass

from graft.disk.shared_counters import Moment
from graft.replica.replica import Replica
from pagestore.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Freshness:
    """A replica compared with the newest version that was ever seen of its remote."""

    lsn: int
    """The remote commit that the replica builds on."""
    head: int
    """The newest remote commit that was ever seen."""
    staleness_s: float | None
    """Seconds since the replica was last known to have all that the remote had; None if it never was."""

    @property
    def lsns_behind(self) -> int:
        """Remote commits that are known and not here."""
        return self.head - self.lsn


def freshness(replica: Replica) -> Freshness:
    """Return how fresh a replica is; no request, and safe from any thread."""
    confirmed = replica.shared.confirmed  # read before the state, which is then at least as new
    state = replica.state.read()
    age_s = age_of(confirmed, now(replica.runtime))
    return Freshness(state.lsn, max(state.head, state.lsn), age_s)


def confirm(replica: Replica, begun: Moment) -> None:
    """Record that, at ``begun``, the remote's head was not above what the replica builds on now."""
    replica.shared.confirm(begun, now(replica.runtime))


def now(runtime: Runtime) -> Moment:
    """Return this moment by both clocks; call it before the request that is to prove something."""
    return Moment(int(runtime.monotonic_s() * 1e6), int(runtime.now_s() * 1e6))


def age_of(then: Moment | None, now: Moment) -> float | None:
    """Return the seconds from one moment to another, None if neither clock can tell."""
    if then is None:
        return None
    ages_us = [now.monotonic_us - then.monotonic_us, now.wall_us - then.wall_us]
    believable = [age_us for age_us in ages_us if age_us >= 0]
    return max(believable) / 1e6 if believable else None


def is_within(then: Moment | None, asked: Moment, now: Moment, seconds: float) -> bool:
    """Return whether a moment is less than ``seconds`` before ``asked``, and certainly not later than ``now``.

    It may be later than ``asked`` if another thread was faster. If it is later than ``now``, a clock was set back.
    """
    if then is None or not now.is_not_before(then):
        return False
    ages_us = (asked.monotonic_us - then.monotonic_us, asked.wall_us - then.wall_us)
    return max(ages_us) < seconds * 1e6
