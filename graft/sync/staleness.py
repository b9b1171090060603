"""Reading what is fresh enough: at most so old, or with at least the commit that somebody pushed elsewhere."""

from graft.disk.shared_counters import Moment
from graft.errors import BadRequest, GraftError, RemoteUnavailable, TooStale, WriterBusy
from graft.replica.freshness import Freshness, freshness, is_within, now
from graft.replica.replica import Replica
from graft.sync.follow import poll_policy
from graft.sync.poll import Look, look, look_locked
from graft.sync.poll_schedule import PollSchedule
from pagestore.retry import random_fraction


def refresh(replica: Replica, max_staleness_s: float) -> Freshness:
    """Make sure that the replica has all that the remote had ``max_staleness_s`` ago; no request if that is known.

    0 means as of this call. Whatever is read next is at least as fresh. Raises `TooStale` when the remote did not
    answer, `WriterBusy` when another push or pull or an open write transaction takes too long, `Diverged` when local
    commits are in the way, `BadRequest` for less than 0, and `RemoteRefused` or `Corrupt`.
    """
    if not max_staleness_s >= 0:
        raise BadRequest(f"max_staleness is a number of seconds, 0 or more, not {max_staleness_s:g}")
    asked = now(replica.runtime)
    if not _is_fresh(replica, asked, max_staleness_s):
        with replica.sync_lock.held(replica.settings.lock_timeout_s, replica.runtime):
            # Whoever held the lock may have looked, or pushed.
            if not _is_fresh(replica, asked, max_staleness_s):
                _look_now(replica, max_staleness_s)
    return freshness(replica)


def wait_for(replica: Replica, lsn: int, *, timeout_s: float = 30.0) -> Freshness:
    """Wait until the replica has commit ``lsn`` of its remote, as another machine's push returned it.

    No request if it is here already. Looks at once, then each ``follow_interval_s``; with a ``timeout_s`` of 0, once.
    Raises `TooStale` when the time is over, saying whether the remote answered, and as `refresh` does.
    """
    if lsn < 0 or not timeout_s >= 0:
        raise BadRequest(f"cannot wait {timeout_s:g} s for LSN {lsn}")
    runtime = replica.runtime
    begun_s = runtime.monotonic_s()
    schedule = PollSchedule(poll_policy(replica, interval_s_max=replica.settings.follow_interval_s), begun_s)
    problem: GraftError | None = None
    while replica.view().state.lsn < lsn:
        found = Look()
        try:
            look(replica, listing=schedule.by_listing(), found=found)
            problem = None
            wait_s = schedule.after_look(moved=found.moved, requests=found.requests, now_s=runtime.monotonic_s())
        except (RemoteUnavailable, WriterBusy) as error:
            problem = error
            jitter = random_fraction(runtime)
            wait_s = schedule.after_failure(requests=found.requests, now_s=runtime.monotonic_s(), jitter=jitter)
        _count(replica, found, failed=problem is not None)
        left_s = begun_s + timeout_s - runtime.monotonic_s()
        if replica.view().state.lsn >= lsn:
            break
        if left_s <= 0:
            raise _not_there_yet(replica, lsn, timeout_s, problem) from problem
        runtime.sleep_s(min(wait_s, left_s))
    return freshness(replica)


def _is_fresh(replica: Replica, asked: Moment, max_staleness_s: float) -> bool:
    confirmed = replica.shared.confirmed  # before this moment is taken, which is not to be earlier
    return is_within(confirmed, asked, now(replica.runtime), max_staleness_s)


def _look_now(replica: Replica, max_staleness_s: float) -> None:
    found = Look()
    found.before = found.after = replica.view().state.lsn
    begun = now(replica.runtime)
    replica.shared.begin_poll(begun)
    try:
        look_locked(replica, listing=False, found=found)
    except RemoteUnavailable as error:
        _count(replica, found, failed=True)
        fresh = freshness(replica)
        known = "ever" if fresh.staleness_s is None else f"since {fresh.staleness_s:.1f} s"
        raise TooStale(
            f"volume {replica.name} at LSN {fresh.lsn}: not known {known} to be up to date, {max_staleness_s:g} s are "
            f"allowed, and the remote does not answer: {error}"
        ) from error
    _count(replica, found, failed=False)


def _not_there_yet(replica: Replica, lsn: int, timeout_s: float, problem: GraftError | None) -> TooStale:
    fresh = freshness(replica)
    why = f"could not look: {problem}" if problem else "the remote has no such commit yet"
    return TooStale(f"volume {replica.name} is at LSN {fresh.lsn}, not {lsn}, after {timeout_s:g} s: {why}")


def _count(replica: Replica, found: Look, *, failed: bool) -> None:
    replica.counts.add(
        looks=not found.shared, looks_shared=found.shared, looks_failed=failed,
        look_requests=found.requests, moves=found.moved,
    )  # fmt: skip
