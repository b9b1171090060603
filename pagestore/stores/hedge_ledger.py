"""When to ask a second time: pure decisions about hedged reads, without clock, thread or randomness.

Source: J. Dean and L. A. Barroso, "The Tail at Scale", Communications of the ACM 56 (2), 2013.

Invariants of a `HedgeLedger`: hedges taken ≤ ``budget`` · reads begun; a kind's sorted latencies are those of its
window, in order. Nothing here locks: whoever owns a ledger does.
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field

_KINDS_MAX = 64


@dataclass(frozen=True, slots=True)
class HedgePolicy:
    """When a read counts as late, and how many may be sent again."""

    budget: float = 0.05
    """Second requests for each read begun, at most."""
    quantile: float = 0.95
    """Later than this share of the recent reads of its kind is late …"""
    delay_min_s: float = 0.05
    """… but never before this."""
    saved_max: float = 8.0
    """Second requests that quiet times save up for bad ones."""
    samples_min: int = 20
    """Reads of a kind that must have been seen before one is late."""
    samples_max: int = 200
    """Recent reads of a kind that are remembered."""


@dataclass(slots=True)
class _Window:
    """Latencies of one kind of read."""

    recent: deque[float] = field(default_factory=deque)
    """Oldest first."""
    ordered: list[float] = field(default_factory=list)

    def add(self, latency_s: float, samples_max: int) -> None:
        if len(self.recent) == samples_max:
            del self.ordered[bisect_left(self.ordered, self.recent.popleft())]
        self.recent.append(latency_s)
        insort(self.ordered, latency_s)


class HedgeLedger:
    """What was seen and spent. A kind is anything by which reads are alike, as (first part of the key, size)."""

    def __init__(self, policy: HedgePolicy) -> None:
        """Begin with no experience and nothing to spend."""
        self._policy = policy
        self._saved = 0.0
        self._windows: dict[Hashable, _Window] = {}

    def begin(self, kind: Hashable) -> float | None:
        """Count a read; return after how many seconds it is late, None where that is unknown or cannot be paid."""
        self._saved = min(self._policy.saved_max, self._saved + self._policy.budget)
        window = self._windows.get(kind)
        if self._saved < 1 or window is None or len(window.ordered) < self._policy.samples_min:
            return None
        late_s = window.ordered[int(self._policy.quantile * (len(window.ordered) - 1))]
        return max(self._policy.delay_min_s, late_s)

    def spend(self) -> bool:
        """Pay for a second request if there is enough left; tell whether there was."""
        if self._saved < 1:
            return False
        self._saved -= 1
        return True

    def record(self, kind: Hashable, latency_s: float) -> None:
        """Learn how long a read took that was answered, be it in time to be used or not."""
        if kind not in self._windows and len(self._windows) >= _KINDS_MAX:
            self._windows.clear()
        self._windows.setdefault(kind, _Window()).add(latency_s, self._policy.samples_max)
