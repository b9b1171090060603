"""Following keeps a replica fresh by polling its remote.

`watch` polls in the caller's thread and yields what each poll found; a `Follower` does so in a thread of its own. Any
number of processes may follow one replica. The polling process holds the sync lock and notes the time in the shared
counters. The others see there that a poll was just made, make no request, and read what it found from the replica.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from graft.errors import BadRequest, GraftError, LimitReached, RemoteUnavailable, WriterBusy
from graft.replica.replica import Replica
from graft.sync.poll import PollResult, count_poll, poll
from graft.sync.poll_schedule import PollPolicy, PollSchedule
from pagestore.limits import limit_reached, require_room_for_thread
from pagestore.retry import random_fraction

_STOP_S_MAX = 5.0
_SHARED_PART = 0.9
"""A poll of another process within this part of the wait counts as one of ours."""

Wait = Callable[[float], bool]
"""Waits for some seconds; returns whether to stop."""


@dataclass(frozen=True, slots=True)
class Polled:
    """The remote answered a poll, or another process polled."""

    before: int
    """The LSN of the replica after the previous poll."""
    after: int
    """The LSN of the replica now."""
    requests: int
    wait_s: float
    """Seconds until the next poll."""

    @property
    def moved(self) -> bool:
        """Whether readers see something new."""
        return self.after != self.before


@dataclass(frozen=True, slots=True)
class PollFailed:
    """The remote did not answer a poll, or an open write transaction kept the replica from moving."""

    error: RemoteUnavailable | WriterBusy
    failures: int
    """How many polls failed in a row, this one included."""
    wait_s: float
    """Seconds until the next poll."""


Event = Polled | PollFailed


def poll_policy(
    replica: Replica,
    *,
    interval_s: float | None = None,
    interval_s_max: float | None = None,
    requests_per_hour: int | None = None,
) -> PollPolicy:
    """Return how often to poll: as given here, else by the replica's settings. Raises `BadRequest`."""
    settings = replica.settings
    interval_s = settings.follow_interval_s if interval_s is None else interval_s
    longest_s = max(settings.follow_interval_s_max, interval_s) if interval_s_max is None else interval_s_max
    budget = settings.follow_requests_per_hour if requests_per_hour is None else requests_per_hour
    try:
        return PollPolicy(interval_s, longest_s, budget)
    except ValueError as error:
        raise BadRequest(str(error)) from None


def watch(replica: Replica, policy: PollPolicy | None = None, *, wait: Wait | None = None) -> Iterator[Event]:
    """Poll the remote for ever, and yield what each poll found; the wait comes after the event.

    If the remote does not answer, or a write transaction stays open, the next poll comes later each time. Other errors
    are raised: `Diverged`, `RemoteRefused`, `Corrupt` and `HistoryLost` need a decision. ``wait`` replaces sleeping.
    """
    policy = policy or poll_policy(replica)
    runtime = replica.runtime
    wait = wait or _sleeping(replica)
    schedule = PollSchedule(policy, runtime.monotonic_s())
    seen: int = replica.view().state.lsn
    while True:
        found = PollResult()
        try:
            within_s = schedule.wait_s * _SHARED_PART
            poll(replica, listing=schedule.by_listing(), unless_polled_within_s=within_s, found=found)
        except (RemoteUnavailable, WriterBusy) as error:
            wait_s = schedule.after_failure(
                requests=found.requests, now_s=runtime.monotonic_s(), jitter=random_fraction(runtime)
            )
            count_poll(replica.counts, found, failed=True)
            yield PollFailed(error, schedule.failures, wait_s)
        else:
            moved = found.after != seen
            wait_s = schedule.after_poll(moved=moved, requests=found.requests, now_s=runtime.monotonic_s())
            count_poll(replica.counts, found, failed=False)
            yield Polled(seen, found.after, found.requests, wait_s)
            seen = found.after
        if wait(wait_s):
            return


class Follower:
    """A thread that follows a replica until it is stopped or meets an error that needs a decision; a context manager.

    Stop it before you close the replica; closing stops it too. The child of a fork does not have the thread.
    """

    def __init__(
        self, replica: Replica, policy: PollPolicy | None = None, *, on_event: Callable[[Event], None] | None = None
    ) -> None:
        """Begin to follow; ``on_event`` is called in the thread with each event, and must not raise."""
        self._replica = replica
        self._policy = policy or poll_policy(replica)
        self._on_event = on_event
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"graft-follow-{replica.name}", daemon=True)
        try:
            require_room_for_thread()
            self._thread.start()
        except RuntimeError as error:
            raise LimitReached(f"following volume {replica.name}: {limit_reached(error) or error}") from error
        replica.on_close(self.stop)

    @property
    def running(self) -> bool:
        """Whether the thread is still following."""
        return self._thread.is_alive()

    @property
    def error(self) -> BaseException | None:
        """The error that ended the thread, if it was not stopped."""
        return self._error

    def stop(self) -> None:
        """End the thread, waiting a few seconds for a request in flight; may be called again."""
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
                if self._on_event is not None:
                    self._on_event(event)
        except GraftError as error:
            self._error = error
        except Exception as error:  # noqa: BLE001 - `error` reports it; a replica that was closed meanwhile is no error
            if not self._stop.is_set():
                self._error = error


def _sleeping(replica: Replica) -> Wait:
    def wait(seconds: float) -> bool:
        replica.runtime.sleep_s(seconds)
        return False

    return wait
