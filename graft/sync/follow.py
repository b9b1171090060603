"""Following: a replica that keeps itself fresh, by looking at its remote again and again.

`watch` looks in the caller's thread and tells what each look found; a `Follower` is a thread that does nothing else.
Any number of processes may follow one replica: who looks holds the sync lock and notes when, and the others, finding
that somebody just looked, ask nothing and see what was found through the replica's shared counters.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from graft.counters import ReplicaCounts
from graft.errors import BadRequest, GraftError, LimitReached, RemoteUnavailable, WriterBusy
from graft.replica.replica import Replica
from graft.sync.poll import Look, look
from graft.sync.poll_schedule import PollPolicy, PollSchedule
from pagestore.limits import limit_reached
from pagestore.retry import random_fraction

_STOP_S_MAX = 5.0
_SHARED_PART = 0.9
"""Of a wait: another one's look that is no older than this is as good as one of ours."""

Wait = Callable[[float], bool]
"""Lets so many seconds pass; returns whether to stop."""


@dataclass(frozen=True, slots=True)
class Looked:
    """A look that was answered, or that another process made."""

    before: int
    """The LSN that the replica was on at the look before …"""
    after: int
    """… and the one that it is on now."""
    requests: int
    wait_s: float
    """Until the next look."""

    @property
    def moved(self) -> bool:
        """Whether readers see something new."""
        return self.after != self.before


@dataclass(frozen=True, slots=True)
class LookFailed:
    """A look that the remote did not answer, or that an open write transaction kept from moving."""

    error: RemoteUnavailable | WriterBusy
    failures: int
    """How many failed in a row, this one included."""
    wait_s: float
    """Until the next look."""


Event = Looked | LookFailed


def poll_policy(
    replica: Replica,
    *,
    interval_s: float | None = None,
    interval_s_max: float | None = None,
    requests_per_hour: int | None = None,
) -> PollPolicy:
    """Return how often to look: as asked, else by the replica's settings. Raises `BadRequest`."""
    settings = replica.settings
    interval_s = settings.follow_interval_s if interval_s is None else interval_s
    longest_s = max(settings.follow_interval_s_max, interval_s) if interval_s_max is None else interval_s_max
    budget = settings.follow_requests_per_hour if requests_per_hour is None else requests_per_hour
    try:
        return PollPolicy(interval_s, longest_s, budget)
    except ValueError as error:
        raise BadRequest(str(error)) from None


def watch(replica: Replica, policy: PollPolicy | None = None, *, wait: Wait | None = None) -> Iterator[Event]:
    """Look at the remote for ever, and yield what each look found; the wait comes after the event.

    A remote that does not answer is asked again, later and later; so is one that could not be moved to because a write
    transaction stayed open. Everything else raises: `Diverged`, `RemoteRefused`, `Corrupt` and `HistoryLost` need
    somebody to decide. ``wait`` replaces waiting.
    """
    policy = policy or poll_policy(replica)
    runtime, counts = replica.runtime, replica.counts
    wait = wait or _sleeping(replica)
    schedule = PollSchedule(policy, runtime.monotonic_s())
    seen: int = replica.view().state.lsn
    while True:
        found = Look()
        try:
            within_s = schedule.wait_s * _SHARED_PART
            look(replica, listing=schedule.by_listing(), unless_looked_within_s=within_s, found=found)
        except (RemoteUnavailable, WriterBusy) as error:
            wait_s = schedule.after_failure(
                requests=found.requests, now_s=runtime.monotonic_s(), jitter=random_fraction(runtime)
            )
            _count(counts, found, failed=True)
            yield LookFailed(error, schedule.failures, wait_s)
        else:
            moved = found.after != seen
            wait_s = schedule.after_look(moved=moved, requests=found.requests, now_s=runtime.monotonic_s())
            _count(counts, found, failed=False)
            yield Looked(seen, found.after, found.requests, wait_s)
            seen = found.after
        if wait(wait_s):
            return


class Follower:
    """A thread that follows a replica until it is stopped, or meets what it cannot settle; a context manager.

    Stop it before the replica is closed; closing the replica stops it too. A fork's child has no such thread.
    """

    def __init__(
        self, replica: Replica, policy: PollPolicy | None = None, *, told: Callable[[Event], None] | None = None
    ) -> None:
        """Begin to follow; ``told`` is called in the thread with what each look found, and must not fail."""
        self._replica = replica
        self._policy = policy or poll_policy(replica)
        self._told = told
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"graft-follow-{replica.name}", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            raise LimitReached(f"following volume {replica.name}: {limit_reached(error) or error}") from error
        replica.on_close(self.stop)

    @property
    def running(self) -> bool:
        """Whether it still follows."""
        return self._thread.is_alive()

    @property
    def error(self) -> BaseException | None:
        """What ended it, if it was not stopped."""
        return self._error

    def stop(self) -> None:
        """End the thread, waiting a little for a request that is under way; may be called again."""
        self._stop.set()
        if self._thread is not threading.current_thread():
            self._thread.join(_STOP_S_MAX)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            for event in watch(self._replica, self._policy, wait=self._stop.wait):
                if self._told is not None:
                    self._told(event)
        except GraftError as error:
            self._error = error
        except Exception as error:  # noqa: BLE001 - whoever asks for `error` is told; a replica closed under it is none
            if not self._stop.is_set():
                self._error = error


def _sleeping(replica: Replica) -> Wait:
    def wait(seconds: float) -> bool:
        replica.runtime.sleep_s(seconds)
        return False

    return wait


def _count(counts: ReplicaCounts, found: Look, *, failed: bool) -> None:
    counts.add(
        looks=not found.shared,
        looks_shared=found.shared,
        looks_failed=failed,
        look_requests=found.requests,
        moves=found.moved,
    )
