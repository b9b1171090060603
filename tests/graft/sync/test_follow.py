"""Following and freshness, on a clock that the test moves: what is asked of the remote, when, and who is told."""

import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from graft.disk.shared_counters import Moment
from graft.errors import BadRequest, Diverged, HistoryLost, RemoteUnavailable, TooStale, WriterBusy
from graft.operations.status import status
from graft.replica.freshness import age_of, freshness, is_within
from graft.sync.clone import clone
from graft.sync.follow import Follower, Polled, PollFailed, poll_policy, watch
from graft.sync.poll import poll
from graft.sync.poll_schedule import PollPolicy, PollSchedule
from graft.sync.pull import fetch, pull
from graft.sync.push import push
from graft.sync.staleness import refresh, wait_for
from metastore.lsn import LSN
from metastore.placement import commit_key
from pagestore.runtime import SYSTEM
from pagestore.stores.metered import MeteredStore, StoreTraffic
from pagestore.testing import FaultyStore
from testbed.patience import PATIENCE_S
from tests.graft.support import (
    as_other_process,
    begin,
    body,
    commit,
    fast_directory,
    fresh_store,
    leave,
    new_replica,
    small_settings,
)

POLICY = PollPolicy(interval_s=1.0, interval_s_max=8.0, requests_per_hour=7200)
ONE_LOOK = StoreTraffic(range_gets=1)


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self):
        self.now_s = 1000.0
        self.runtime = dataclasses.replace(
            SYSTEM, now_s=lambda: 1.7e9 + self.now_s, monotonic_s=lambda: self.now_s, sleep_s=self.sleep
        )

    def sleep(self, seconds):
        assert seconds > 0
        self.now_s += seconds


class World:
    """A writer, and a reader on another machine whose clock and store are the test's."""

    def __init__(self, path):
        self.path = path
        self.inner = fresh_store()
        self.outage = FaultyStore(self.inner)
        self.metered = MeteredStore(self.outage)
        self.clock = Clock()
        self.writer = new_replica(path / "w", self.inner)
        self.made = itertools.count(1)
        self.push()
        self.reader = clone(
            path / "r", f"{self.inner.url}#vol", settings=self.settings(), store=self.metered,
            runtime=self.clock.runtime,
        )  # fmt: skip
        self.replicas = [self.writer, self.reader]
        self.spent()

    def settings(self):
        return small_settings(lock_timeout_s=0.0)

    def push(self, times=1):
        for _ in range(times):
            commit(self.writer, [1], next(self.made))
            after = push(self.writer).after
        return after

    def spent(self):
        now = self.metered.snapshot()
        since, self.seen = now - getattr(self, "seen", StoreTraffic()), now
        return dataclasses.replace(since, bytes_down=0, bytes_up=0)

    def other_process(self):
        from graft.replica.replica import Replica

        other = Replica(
            (self.path / "r").resolve(), settings=self.settings(), store=self.metered, runtime=self.clock.runtime
        )
        self.replicas.append(other)
        return other

    def newest(self, replica=None):
        return bytes((replica or self.reader).snapshot().read(1))

    def written(self, number):
        return body(512, 1, number)

    def watching(self, replica=None, policy=POLICY):
        return watch(replica or self.reader, policy)


@pytest.fixture
def world():
    with fast_directory() as path:
        made = World(path)
        yield made
        made.outage.down = False
        for replica in reversed(made.replicas):
            leave(replica)


class TestSchedule:
    def test_waits_grow_while_nothing_happens_and_start_again_when_something_does(self):
        schedule = PollSchedule(POLICY, 0.0)
        waits = [schedule.after_poll(moved=False, requests=1, now_s=number * 10) for number in range(8)]
        assert waits[:3] == [1.5, 2.25, 3.375]
        assert waits[-1] == POLICY.interval_s_max
        assert schedule.after_poll(moved=True, requests=2, now_s=100) == POLICY.interval_s

    @pytest.mark.parametrize("jitter", [0.0, 0.999])
    def test_failures_wait_longer_each_time_with_jitter(self, jitter):
        schedule = PollSchedule(POLICY, 0.0)
        waits = [schedule.after_failure(requests=1, now_s=number * 10, jitter=jitter) for number in range(60)]
        assert waits[:2] == [pytest.approx(2 * (1 + jitter) / 2), pytest.approx(4 * (1 + jitter) / 2)]
        assert 4 <= waits[-1] <= POLICY.interval_s_max
        assert schedule.failures == 60

    def test_lists_first_then_seldom_and_after_failures(self):
        schedule = PollSchedule(POLICY, 0.0)
        listed = []
        for number in range(300):
            listed.append(schedule.by_listing())
            schedule.after_poll(moved=False, requests=1, now_s=float(number))
        assert [number for number, by_listing in enumerate(listed) if by_listing] == [0, 100, 200]
        schedule.after_failure(requests=1, now_s=300.0, jitter=0.5)
        assert schedule.by_listing()

    @hypothesis_settings(deadline=None)
    @given(
        st.floats(0.01, 5), st.integers(1, 100_000), st.lists(st.tuples(st.booleans(), st.integers(1, 5)), max_size=200)
    )
    def test_the_budget_holds_whatever_happens(self, interval_s, per_hour, looks):
        policy = PollPolicy(interval_s, 10 * interval_s, per_hour)
        schedule, now_s, spent = PollSchedule(policy, 0.0), 0.0, 0
        for moved, requests in looks:
            spent += requests
            wait_s = schedule.after_poll(moved=moved, requests=requests, now_s=now_s)
            assert wait_s >= interval_s * 0.999
            assert spent <= policy.burst + 4 + per_hour * now_s / 3600 + 1e-6
            now_s += wait_s

    def test_bad_intervals(self, world):
        for wrong in ({"interval_s": 0}, {"interval_s": 2, "interval_s_max": 1}, {"requests_per_hour": 0}):
            with pytest.raises(BadRequest):
                poll_policy(world.reader, **wrong)
        assert poll_policy(world.reader, interval_s=60) == PollPolicy(60, 60, 7200)


class TestLook:
    def test_nothing_new_is_one_request(self, world):
        assert not poll(world.reader).moved
        assert world.spent() == ONE_LOOK

    def test_one_commit_is_two_requests_and_seen_after_one(self, world, monkeypatch):
        world.push()
        seen = []
        real = world.outage.get_range
        monkeypatch.setattr(
            world.outage, "get_range", lambda *args: (seen.append(world.newest()), real(*args))[1], raising=False
        )
        found = poll(world.reader)
        assert (found.before, found.after, found.requests) == (1, 2, 2)
        assert world.spent() == StoreTraffic(range_gets=2)
        assert seen == [world.written(1), world.written(2)], "readers had it before the second request"
        assert world.spent().requests == 0, "the body came along with the commit"

    def test_many_commits_are_read_in_one_batch(self, world):
        world.push(40)
        found = poll(world.reader)
        assert found.after == 41
        spent = world.spent()
        assert (spent.lists, spent.range_gets) == (1, 5), "2 by name, then 41, 40 and 32, a base"
        assert found.requests == spent.requests
        assert world.newest() == world.written(41)

    def test_what_was_seen_by_a_fetch_is_gone_to_at_once(self, world):
        world.push(3)
        assert fetch(world.reader).head == 4
        world.spent()
        assert poll(world.reader).after == 4
        assert world.spent().lists == 1

    def test_local_commits_in_the_way(self, world):
        commit(world.reader, [2], "mine")
        assert not poll(world.reader).moved
        world.push()
        with pytest.raises(Diverged, match="are based on LSN 1, the remote is at LSN 2"):
            poll(world.reader)
        assert status(world.reader).state == "diverged"

    def test_an_open_write_transaction_is_not_robbed_of_its_base(self, world):
        world.push()
        with begin(world.reader):
            with pytest.raises(WriterBusy):
                poll(world.reader)
            assert world.reader.view().state.lsn == 1
        assert poll(world.reader).after == 2

    def test_a_log_that_lost_its_end(self, world):
        world.push(2)
        poll(world.reader)
        for lsn in (2, 3):
            world.inner.delete(commit_key(world.reader.log, LSN(lsn)))
        assert not poll(world.reader).moved, "asking by name does not tell"
        with pytest.raises(HistoryLost):
            poll(world.reader, listing=True)

    def test_a_commit_that_was_retired_is_passed_over_by_listing(self, world):
        world.push(4)
        world.inner.delete(commit_key(world.reader.log, LSN(2)))
        assert not poll(world.reader).moved
        assert poll(world.reader, listing=True).after == 5


class TestWatch:
    def test_requests_of_a_quiet_hour(self, world):
        begun_s, looks = world.clock.now_s, 0
        for event in world.watching():
            assert isinstance(event, Polled)
            looks += 1
            if world.clock.now_s - begun_s > 3600:
                break
        spent = world.spent()
        assert looks == spent.requests
        assert spent.lists == 5
        assert 450 <= spent.requests <= 3600 / POLICY.interval_s_max + 10

    def test_a_busy_hour_stays_within_the_budget(self, world):
        policy = PollPolicy(interval_s=1.0, interval_s_max=1.0, requests_per_hour=600)
        begun_s = world.clock.now_s
        for event in world.watching(policy=policy):
            assert event.after == world.writer.view().state.lsn
            if world.clock.now_s - begun_s > 600:
                break
            world.push()
        assert world.spent().requests <= 600 / 6 + policy.burst + 4

    def test_news_shorten_the_wait(self, world):
        events = world.watching()
        waits = [next(events).wait_s for _ in range(6)]
        assert waits[-1] == POLICY.interval_s_max
        world.push()
        event = next(events)
        assert (event.moved, event.before, event.after, event.wait_s) == (True, 1, 2, POLICY.interval_s)
        assert world.newest() == world.written(2)

    def test_an_outage_is_told_survived_and_not_hammered(self, world):
        events = world.watching()
        next(events)
        world.outage.down = True
        failed = [next(events) for _ in range(20)]
        assert all(isinstance(event, PollFailed) for event in failed)
        assert [event.failures for event in failed] == list(range(1, 21))
        assert sum(event.wait_s for event in failed) > 60
        assert isinstance(failed[-1].error, RemoteUnavailable)
        assert status(world.reader).staleness_s > 60
        assert world.newest() == world.written(1), "what is here can be read"
        world.outage.down = False
        world.push(2)
        world.spent()
        assert next(events).after == 3
        assert world.spent().lists == 1, "after an outage there may be much"
        assert status(world.reader).staleness_s == 0
        counts = world.reader.counts.snapshot()
        assert (counts.looks_failed, counts.looks, counts.moves) == (20, 22, 1)
        assert counts.look_requests >= world.metered.snapshot().requests - 4

    def test_a_write_transaction_only_delays(self, world):
        events = world.watching()
        next(events)
        world.push()
        with begin(world.reader):
            assert isinstance(next(events).error, WriterBusy)
        assert next(events).after == 2

    def test_what_needs_a_decision_ends_it(self, world):
        events = world.watching()
        next(events)
        commit(world.reader, [2], "mine")
        world.push()
        with pytest.raises(Diverged):
            next(events)

    def test_it_stops_when_told(self, world):
        assert len(list(watch(world.reader, POLICY, wait=lambda seconds: True))) == 1

    def test_two_processes_look_as_often_as_one(self, world):
        other = world.other_process()
        policy = PollPolicy(interval_s=1.0, interval_s_max=1.0, requests_per_hour=7200)
        ours = watch(world.reader, policy, wait=lambda seconds: False)
        theirs = watch(other, policy, wait=lambda seconds: False)
        begun_s = world.clock.now_s
        for _ in range(100):
            next(ours)
            world.clock.sleep(0.5)
            assert not next(theirs).requests
            world.clock.sleep(0.5)
        assert world.spent().requests == 100 == world.clock.now_s - begun_s
        world.push()
        assert next(ours).moved
        assert next(theirs).moved, "what one found, both know"
        assert world.newest(other) == world.written(2)

    def test_a_dead_follower_is_replaced(self, world):
        other = world.other_process()
        policy = PollPolicy(interval_s=1.0, interval_s_max=1.0, requests_per_hour=7200)
        ours = watch(world.reader, policy, wait=lambda seconds: False)
        theirs = watch(other, policy, wait=lambda seconds: False)
        next(ours)
        assert not next(theirs).requests
        ours.close()
        world.clock.sleep(1)
        assert next(theirs).requests == 1

    def test_a_push_under_way_elsewhere_is_waited_for_by_nobody(self, world):
        other = world.other_process()
        assert other.sync_lock.try_acquire()
        try:
            assert poll(world.reader).shared
            assert world.spent().requests == 0
        finally:
            other.sync_lock.release()


class TestFollower:
    def test_it_follows_in_a_thread_until_stopped(self, world):
        import threading

        told = threading.Semaphore(0)
        fast = PollPolicy(interval_s=0.001, interval_s_max=0.001, requests_per_hour=10**9)
        reader = as_other_process(world.path / "r", world.metered)
        world.replicas.append(reader)
        world.push()
        with Follower(reader, fast, on_event=lambda event: event.moved and told.release()) as follower:
            assert told.acquire(timeout=PATIENCE_S)
            assert world.newest(reader) == world.written(2)
            assert follower.running
        assert not follower.running
        assert follower.error is None

    def test_it_keeps_what_ended_it(self, world):
        reader = as_other_process(world.path / "r", world.metered)
        world.replicas.append(reader)
        commit(reader, [2], "mine")
        world.push()
        with Follower(reader, PollPolicy(0.001, 0.001, 10**9)) as follower:
            follower._thread.join(PATIENCE_S)
            assert isinstance(follower.error, Diverged)

    def test_closing_the_replica_stops_it(self, world):
        reader = as_other_process(world.path / "r", world.metered)
        follower = Follower(reader)
        reader.close_now()
        assert not follower.running
        assert follower.error is None


class TestFreshness:
    def test_it_ages_and_a_poll_renews_it(self, world):
        assert freshness(world.reader).staleness_s == 0
        world.clock.sleep(5)
        assert freshness(world.reader).staleness_s == pytest.approx(5)
        world.push()
        fetch(world.reader)
        known = freshness(world.reader)
        assert (known.lsn, known.head, known.lsns_behind) == (1, 2, 1)
        assert known.staleness_s == pytest.approx(5), "to know that one is behind makes nobody fresh"
        for renew in (pull, fetch, poll):
            world.clock.sleep(3)
            renew(world.reader)
            assert freshness(world.reader).staleness_s == 0
        assert status(world.reader).lsns_behind == 0

    def test_a_push_renews_it(self, world):
        world.clock.sleep(7)
        commit(world.reader, [1], "mine")
        assert freshness(world.reader).staleness_s == pytest.approx(7)
        push(world.reader)
        assert freshness(world.reader).staleness_s == 0

    def test_all_processes_know_and_the_next_one_too(self, world):
        other = world.other_process()
        world.clock.sleep(4)
        pull(other)
        assert freshness(world.reader).staleness_s == 0
        world.clock.sleep(2)
        for replica in (other, world.reader):
            world.replicas.remove(replica)
            leave(replica)
        later = world.other_process()
        assert freshness(later).staleness_s == pytest.approx(2)

    def test_clocks_that_fail(self):
        then = Moment(1_000_000, 10_000_000)
        assert age_of(then, Moment(4_000_000, 13_000_000)) == 3
        assert age_of(then, Moment(4_000_000, 5_000_000)) == 3, "the wall clock was set back"
        assert age_of(then, Moment(500_000, 70_000_000)) == 60, "the machine was started anew"
        assert age_of(then, Moment(2_000_000, 70_000_000)) == 60, "the same, and it runs for longer already"
        assert age_of(then, Moment(500_000, 5_000_000)) is None
        assert age_of(None, then) is None


class TestRefresh:
    def test_no_request_while_fresh_enough(self, world):
        world.clock.sleep(5)
        assert refresh(world.reader, 5.1).staleness_s == pytest.approx(5)
        assert world.spent().requests == 0
        assert refresh(world.reader, 4.9).staleness_s == 0
        assert world.spent() == ONE_LOOK

    def test_zero_is_as_of_now(self, world):
        for number in range(2, 5):
            world.push()
            assert refresh(world.reader, 0).lsn == number
            assert world.newest() == world.written(number)

    @pytest.mark.parametrize(
        ("boot_s", "wall_s"),
        [(-1e-3, -1e-3), (-500.0, -500.0), (-500.0, 0.0), (0.0, -500.0), (-500.0, 3.0), (3.0, -500.0)],
        ids=["both, a moment", "both", "a new boot", "the wall clock", "a new boot, later", "the wall clock, later"],
    )
    @pytest.mark.parametrize("allowed_s", [0, 1, 3600])
    def test_a_clock_that_went_back_makes_nobody_fresh(self, world, boot_s, wall_s, allowed_s):
        real = world.clock.runtime
        world.push()
        world.reader.runtime = dataclasses.replace(
            real, monotonic_s=lambda: real.monotonic_s() + boot_s, now_s=lambda: real.now_s() + wall_s
        )
        assert refresh(world.reader, allowed_s).lsn == 2
        assert world.newest() == world.written(2)
        assert world.spent().requests > 0
        refresh(world.reader, 1)  # what was just confirmed counts by the clocks as they are now
        assert world.spent().requests == 0
        world.push()
        assert refresh(world.reader, 0).lsn == 3

    def test_a_clock_that_goes_back_while_another_one_pulls(self, world):
        """What was confirmed later than a reader began to wait counts, but not what only an unset clock calls later."""
        assert is_within(Moment(20, 20), asked=Moment(10, 10), now=Moment(30, 30), seconds=0)
        assert not is_within(Moment(20, 20), asked=Moment(10, 10), now=Moment(30, 15), seconds=0)
        assert not is_within(Moment(20, 20), asked=Moment(10, 10), now=Moment(15, 30), seconds=0)
        assert not is_within(Moment(10, 20), asked=Moment(10, 10), now=Moment(30, 30), seconds=0)

    def test_no_answer_is_told_and_what_is_here_stays_readable(self, world):
        world.clock.sleep(60)
        world.outage.down = True
        with pytest.raises(TooStale, match=r"not known since 60.0 s to be up to date, 5 s are allowed, and the remote"):
            refresh(world.reader, 5)
        assert world.newest() == world.written(1)
        world.outage.down = False
        assert refresh(world.reader, 5).staleness_s == 0

    def test_other_errors_keep_their_class(self, world):
        commit(world.reader, [2], "mine")
        world.push()
        with pytest.raises(Diverged):
            refresh(world.reader, 0)
        with pytest.raises(BadRequest):
            refresh(world.reader, -1)
        with pytest.raises(BadRequest):
            refresh(world.reader, float("nan"))


class TestWaitFor:
    def test_what_is_here_costs_nothing(self, world):
        assert wait_for(world.reader, 1, timeout_s=0).lsn == 1
        assert world.spent().requests == 0

    def test_what_is_pushed_already_costs_one_look(self, world):
        lsn = world.push(3)
        assert wait_for(world.reader, lsn, timeout_s=0).lsn == 4
        spent = world.spent()
        assert (spent.lists, spent.requests) == (1, 2), "4 is a base"
        assert world.newest() == world.written(4)

    def test_it_waits_for_what_is_to_come(self, world):
        times = itertools.count()
        real = world.clock.sleep

        def sleep(seconds):
            real(seconds)
            if next(times) == 5:
                world.push()

        world.reader.runtime = dataclasses.replace(world.clock.runtime, sleep_s=sleep)
        begun_s = world.clock.now_s
        assert wait_for(world.reader, 2, timeout_s=100).lsn == 2
        assert world.spent().requests == 1 + 5 + 2
        assert world.clock.now_s - begun_s == pytest.approx(6)

    def test_time_is_bounded(self, world):
        begun_s = world.clock.now_s
        with pytest.raises(TooStale, match="is at LSN 1, not 7, after 10 s: the remote has no such commit yet"):
            wait_for(world.reader, 7, timeout_s=10)
        assert world.clock.now_s - begun_s == pytest.approx(10)
        world.outage.down = True
        with pytest.raises(TooStale, match=r"the last poll failed: .* does not answer"):
            wait_for(world.reader, 7, timeout_s=10)

    def test_an_outage_is_survived(self, world):
        lsn = world.push()
        world.outage.down = True
        real = world.clock.sleep
        world.reader.runtime = dataclasses.replace(
            world.clock.runtime, sleep_s=lambda seconds: (real(seconds), setattr(world.outage, "down", False))
        )
        assert wait_for(world.reader, lsn, timeout_s=60).lsn == lsn

    def test_nonsense(self, world):
        for wrong in ((-1, 1), (1, -1)):
            with pytest.raises(BadRequest):
                wait_for(world.reader, wrong[0], timeout_s=wrong[1])


def test_bodies_are_left_where_they_are(world):
    commit(world.writer, range(1, 200), "big")
    push(world.writer)
    before = world.metered.snapshot()
    assert poll(world.reader).moved
    assert (world.metered.snapshot() - before).bytes_down < 8 * 1024 < 199 * 512
