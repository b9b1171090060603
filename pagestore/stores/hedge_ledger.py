"""When to send a hedged read's second request: pure decisions, without clock, thread or randomness.

Source: J. Dean and L. A. Barroso, "The Tail at Scale", Communications of the ACM 56 (2), 2013.

Invariants of a `HedgeLedger`: hedges sent ≤ ``budget`` · reads begun; the sorted latencies of a kind are those of its
window. Nothing here locks: the owner of a ledger does.
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field

_KINDS_MAX = 64


@dataclass(frozen=True, slots=True)
class HedgePolicy:
    """When a read counts as late, and how many late reads may be sent again."""

    budget: float = 0.05
    """The most second requests per read begun."""
    quantile: float = 0.95
    """A read is late when it takes longer than this share of the recent reads of its kind."""
    delay_min_s: float = 0.05
    """A read is never late before this."""
    saved_max: float = 8.0
    """The most unspent second requests that add up in quiet times."""
    samples_min: int = 20
    """How many reads of a kind must have been answered before one can be late."""
    samples_max: int = 200
    """How many recent reads of a kind are remembered."""


@dataclass(slots=True)
class _Window:
    """The recent latencies of one kind of read."""

    recent: deque[float] = field(default_factory=deque)
    """Oldest first."""
    ordered: list[float] = field(default_factory=list)

    def add(self, latency_s: float, samples_max: int) -> None:
        if len(self.recent) == samples_max:
            del self.ordered[bisect_left(self.ordered, self.recent.popleft())]
        self.recent.append(latency_s)
        insort(self.ordered, latency_s)


class HedgeLedger:
    """Latencies seen and hedges spent. A kind groups similar reads, for example by first part of the key and size."""

    def __init__(self, policy: HedgePolicy) -> None:
        """Begin without samples and with nothing to spend."""
        self._policy = policy
        self._saved = 0.0
        self._windows: dict[Hashable, _Window] = {}

    def begin(self, kind: Hashable) -> float | None:
        """Count a read; return after how many seconds it is late, or None if that is unknown or the budget is spent."""
        self._saved = min(self._policy.saved_max, self._saved + self._policy.budget)
        window = self._windows.get(kind)
        if self._saved < 1 or window is None or len(window.ordered) < self._policy.samples_min:
            return None
        late_s = window.ordered[int(self._policy.quantile * (len(window.ordered) - 1))]
        return max(self._policy.delay_min_s, late_s)

    def spend(self) -> bool:
        """Pay for a second request; return False if the budget does not suffice."""
        if self._saved < 1:
            return False
        self._saved -= 1
        return True

    def record(self, kind: Hashable, latency_s: float) -> None:
        """Record the latency of an answered read, whether or not its answer was used."""
        if kind not in self._windows and len(self._windows) >= _KINDS_MAX:
            self._windows.clear()
        self._windows.setdefault(kind, _Window()).add(latency_s, self._policy.samples_max)
