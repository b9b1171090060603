"""Read bounds: make a replica at most some seconds old, or wait until it has a given remote commit."""

from graft.disk.shared_counters import Moment
from graft.errors import BadRequest, GraftError, RemoteUnavailable, TooStale, WriterBusy
from graft.replica.freshness import Freshness, freshness, is_within, now
from graft.replica.replica import Replica
from graft.sync.follow import poll_policy
from graft.sync.poll import PollResult, count_poll, poll, poll_locked
from graft.sync.poll_schedule import PollSchedule
from pagestore.retry import random_fraction


def refresh(replica: Replica, max_staleness_s: float) -> Freshness:
    """Make sure that the replica has all that the remote had ``max_staleness_s`` ago; no request if it is known to.

    0 means as of this call. Every later read is at least as fresh. Raises `TooStale` if the remote did not answer,
    `WriterBusy` if another push or pull or an open write transaction takes too long, `Diverged` if local commits are in
    the way, `BadRequest` for less than 0, and `RemoteRefused` or `Corrupt`.
    """
    if not max_staleness_s >= 0:
        raise BadRequest(f"max_staleness is a number of seconds, 0 or more, not {max_staleness_s:g}")
    asked = now(replica.runtime)
    if not _is_fresh(replica, asked, max_staleness_s):
        with replica.sync_lock.held(replica.settings.lock_timeout_s, replica.runtime):
            # The previous holder of the lock may have polled or pushed.
            if not _is_fresh(replica, asked, max_staleness_s):
                _poll_now(replica, max_staleness_s)
    return freshness(replica)


def wait_for(replica: Replica, lsn: int, *, timeout_s: float = 30.0) -> Freshness:
    """Wait until the replica has commit ``lsn`` of its remote, such as one that another machine pushed.

    No request if it is here already. Polls at once, then every ``follow_interval_s``; only once if ``timeout_s`` is 0.
    Raises `TooStale` when the time is over, with a message that says whether the remote answered, and as `refresh`.
    """
    if lsn < 0 or not timeout_s >= 0:
        raise BadRequest(f"cannot wait {timeout_s:g} s for LSN {lsn}")
    runtime = replica.runtime
    begun_s = runtime.monotonic_s()
    schedule = PollSchedule(poll_policy(replica, interval_s_max=replica.settings.follow_interval_s), begun_s)
    problem: GraftError | None = None
    while replica.view().state.lsn < lsn:
        found = PollResult()
        try:
            poll(replica, listing=schedule.by_listing(), found=found)
            problem = None
            wait_s = schedule.after_poll(moved=found.moved, requests=found.requests, now_s=runtime.monotonic_s())
        except (RemoteUnavailable, WriterBusy) as error:
            problem = error
            jitter = random_fraction(runtime)
            wait_s = schedule.after_failure(requests=found.requests, now_s=runtime.monotonic_s(), jitter=jitter)
        count_poll(replica.counts, found, failed=problem is not None)
        left_s = begun_s + timeout_s - runtime.monotonic_s()
        if replica.view().state.lsn >= lsn:
            break
        if left_s <= 0:
            raise _not_there_yet(replica, lsn, timeout_s, problem) from problem
        runtime.sleep_s(min(wait_s, left_s))
    return freshness(replica)


def _is_fresh(replica: Replica, asked: Moment, max_staleness_s: float) -> bool:
    confirmed = replica.shared.confirmed  # before `now` is taken, which must not be earlier
    return is_within(confirmed, asked, now(replica.runtime), max_staleness_s)


def _poll_now(replica: Replica, max_staleness_s: float) -> None:
    found = PollResult()
    found.before = found.after = replica.view().state.lsn
    begun = now(replica.runtime)
    replica.shared.begin_poll(begun)
    try:
        poll_locked(replica, listing=False, found=found)
    except RemoteUnavailable as error:
        count_poll(replica.counts, found, failed=True)
        fresh = freshness(replica)
        known = "ever" if fresh.staleness_s is None else f"since {fresh.staleness_s:.1f} s"
        raise TooStale(
            f"volume {replica.name} at LSN {fresh.lsn}: not known {known} to be up to date, {max_staleness_s:g} s are "
            f"allowed, and the remote does not answer: {error}"
        ) from error
    count_poll(replica.counts, found, failed=False)


def _not_there_yet(replica: Replica, lsn: int, timeout_s: float, problem: GraftError | None) -> TooStale:
    fresh = freshness(replica)
    why = f"the last poll failed: {problem}" if problem else "the remote has no such commit yet"
    return TooStale(f"volume {replica.name} is at LSN {fresh.lsn}, not {lsn}, after {timeout_s:g} s: {why}")
