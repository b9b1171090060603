"""Hedged reads: decisions alone, then threads without time: stalls end and time passes when a test says so."""

import threading
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagestore.errors import CorruptObject, ObjectNotFound, StoreUnavailable
from pagestore.parallel import Helpers, Parallel
from pagestore.runtime import SYSTEM
from pagestore.stores.hedge_ledger import HedgeLedger, HedgePolicy
from pagestore.stores.hedged import HedgeCounts, HedgedStore
from pagestore.stores.memory import MemoryStore
from pagestore.testing import ObjectStoreContract
from pagestore.urls import open_store
from testbed.patience import PATIENCE_S

POLICY = HedgePolicy(budget=0.05, quantile=0.95, delay_min_s=0.01, saved_max=4, samples_min=20, samples_max=100)
USUAL_S = 0.02
STALL_S = 1.0


class TestLedger:
    def learned(self, latencies_s, kind="k", policy=POLICY):
        ledger = HedgeLedger(policy)
        for latency_s in latencies_s:
            ledger.begin(kind)
            ledger.record(kind, latency_s)
        return ledger

    def test_nothing_is_late_without_experience(self):
        ledger = self.learned([USUAL_S] * 19)
        assert ledger.begin("k") is None
        ledger.record("k", USUAL_S)
        assert ledger.begin("k") == USUAL_S
        assert ledger.begin("another kind") is None

    def test_late_is_later_than_the_quantile(self):
        ledger = self.learned([number / 100 for number in range(1, 101)])
        assert ledger.begin("k") == 0.95

    def test_a_few_slow_reads_do_not_change_what_is_late(self):
        assert self.learned(([USUAL_S] * 49 + [STALL_S]) * 2).begin("k") == USUAL_S

    def test_where_all_is_slow_slow_is_not_late(self):
        assert self.learned([STALL_S] * 100).begin("k") == STALL_S

    def test_only_recent_reads_count(self):
        assert self.learned([STALL_S] * 100 + [USUAL_S] * 100).begin("k") == USUAL_S

    def test_never_before_the_least_delay(self):
        assert self.learned([0.0001] * 100).begin("k") == POLICY.delay_min_s

    def test_kinds_are_bounded(self):
        ledger = self.learned([USUAL_S] * 30)
        for number in range(200):
            ledger.record(number, USUAL_S)
        assert len(ledger._windows) <= 64

    def test_quiet_times_save_up_a_little(self):
        ledger = self.learned([USUAL_S] * 1000)
        assert [ledger.spend() for _ in range(6)] == [True] * 4 + [False] * 2
        assert ledger.begin("k") is None, "what cannot be paid needs no thread"

    @given(
        st.lists(st.sampled_from(["begin", "spend", "record"]), max_size=400),
        st.floats(0.01, 0.5),
        st.floats(1, 20),
    )
    def test_the_budget_holds_whatever_happens(self, events, budget, saved_max):
        ledger = HedgeLedger(replace(POLICY, budget=budget, saved_max=saved_max))
        begun = spent = 0
        for event in events:
            if event == "begin":
                begun += 1
                ledger.begin("k")
            elif event == "spend":
                spent += ledger.spend()
            else:
                ledger.record("k", USUAL_S)
        assert spent <= begun * budget + 1e-6

    @given(st.lists(st.floats(0, 10), min_size=20, max_size=150))
    def test_the_window_is_what_a_sort_would_make_it(self, latencies_s):
        ledger = self.learned(latencies_s)
        assert ledger._windows["k"].ordered == sorted(latencies_s[-POLICY.samples_max :])


class Stage:
    """A store whose reads stall when told, the clock, and the waiting of a `HedgedStore` for it."""

    def __init__(self):
        self.inner = MemoryStore(uuid.uuid4().hex)
        self.now_s = 0.0
        self.stalling = False
        """Whether the next read is stuck until `release` is set."""
        self.begun = threading.Event()
        self.release = threading.Event()
        self.ended = threading.Event()
        self.first_error = None
        self.second_error = None
        self.calls = Counter()

    @property
    def url(self):
        return self.inner.url

    @property
    def parallelism(self):
        return 4

    def get(self, key):
        self.calls["get"] += 1
        if self.stalling:
            self.stalling = False
            self.begun.set()
            self.release.wait()
            try:
                return self._read(key, self.first_error)
            finally:
                self.ended.set()
        self.now_s += USUAL_S
        return self._read(key, self.second_error)

    def _read(self, key, error):
        if error is not None:
            raise error
        return self.inner.get(key)

    def put(self, key, data):
        self.calls["put"] += 1
        self.inner.put(key, data)

    def close(self):
        self.inner.close()

    def stall(self):
        self.stalling = True
        for event in (self.begun, self.release, self.ended):
            event.clear()

    def wait(self, answers, seconds):
        """As long as nothing stalls, wait for the answer; else time passes."""
        if not self.stalling and not self.begun.is_set():
            return answers.get()
        self.begun.wait()
        self.now_s += seconds
        return None

    def end_stall(self):
        self.now_s += STALL_S
        self.release.set()
        self.ended.wait()
        self.begun.clear()


@pytest.fixture
def stage():
    return Stage()


@pytest.fixture
def store(stage):
    runtime = replace(SYSTEM, monotonic_s=lambda: stage.now_s)
    with closing(HedgedStore(stage, policy=POLICY, runtime=runtime, wait=stage.wait)) as store:
        stage.inner.put("a/k", b"body")
        for _ in range(100):
            assert store.get("a/k") == b"body"
        stage.calls.clear()
        yield store
        stage.release.set()


def test_two_slow_reads_in_a_hundred_are_not_felt(stage, store):
    slowest_s = 0.0
    for number in range(1000):
        slow = number % 50 == 7
        if slow:
            stage.stall()
        begun_s = stage.now_s
        assert store.get("a/k") == b"body"
        slowest_s = max(slowest_s, stage.now_s - begun_s)
        if slow:
            stage.end_stall()
    assert slowest_s <= 3 * USUAL_S < STALL_S
    assert store.counts() == HedgeCounts(reads=1100, hedges=20, wins=20)
    assert stage.calls["get"] == 1020


def test_a_first_try_that_is_faster_after_all_wins(stage, store, monkeypatch):
    stage.stall()
    second = threading.Event()
    usual_get = stage.get

    def get(key):
        if threading.current_thread() is not threading.main_thread() and stage.begun.is_set():
            second.wait()
        return usual_get(key)

    monkeypatch.setattr(stage, "get", get)
    monkeypatch.setattr(store, "_wait", lambda answers, seconds: (stage.wait(answers, seconds), stage.release.set())[0])
    assert store.get("a/k") == b"body"
    assert store.counts() == HedgeCounts(reads=101, hedges=1, wins=0)
    second.set()


def test_a_bad_first_try_is_saved_by_the_second(stage, store):
    stage.stall()
    stage.first_error = StoreUnavailable("first")
    stage.release.set()
    assert store.get("a/k") == b"body"


def test_a_bad_second_try_does_not_hide_the_first(stage, store, monkeypatch):
    stage.stall()
    stage.second_error = CorruptObject("second")
    answered = threading.Event()
    usual_try = store._try

    def release_after(kind, read, *, is_hedge):
        answer = usual_try(kind, read, is_hedge=is_hedge)
        if is_hedge:
            answered.set()
            stage.release.set()
        return answer

    monkeypatch.setattr(store, "_try", release_after)
    assert store.get("a/k") == b"body"
    assert answered.is_set()


def test_when_both_fail_the_first_error_is_told(stage, store):
    stage.stall()
    stage.first_error = StoreUnavailable("first")
    stage.second_error = StoreUnavailable("second")
    stage.release.set()
    with pytest.raises(StoreUnavailable, match="first"):
        store.get("a/k")


def test_an_absent_object_is_an_answer(stage, store):
    stage.stall()
    with pytest.raises(ObjectNotFound):
        store.get("a/none")
    assert store.counts().wins == 1
    stage.end_stall()


def test_what_cannot_be_paid_waits_for_the_first_try(stage, store):
    for _ in range(4):
        stage.stall()
        store.get("a/k")
        stage.end_stall()
    stage.stall()
    stage.release.set()
    assert store.get("a/k") == b"body"
    assert stage.calls["get"] == 9, "four hedges were saved up"


def test_writes_are_sent_once_and_by_the_caller(stage, store):
    thread = []
    usual_put = stage.inner.put
    stage.inner.put = lambda key, data: (thread.append(threading.current_thread()), usual_put(key, data))
    for _ in range(100):
        store.put("a/k", b"body")
    assert stage.calls == {"put": 100}
    assert set(thread) == {threading.current_thread()}


def test_stalled_reads_do_not_keep_others_waiting_even_in_all_threads_of_a_pool(stage, store):
    """Eight helpers are stuck, as are the callers that they read for; more readers come all the same."""
    stuck = threading.Semaphore(0)
    release = threading.Event()
    usual_get = stage.get

    def get(key):
        if key == "a/stuck":
            stuck.release()
            release.wait()
            return b"late"
        return usual_get(key)

    stage.get = get
    with ThreadPoolExecutor(8) as callers, Parallel(4) as parallel:
        late = [callers.submit(store.get, "a/stuck") for _ in range(8)]
        for _ in late:
            stuck.acquire()
        assert list(parallel.map(store.get, ["a/k"] * 50)) == [b"body"] * 50
        release.set()
        assert [future.result() for future in late] == [b"late"] * 8


def test_reading_goes_on_after_an_interruption(stage, store, monkeypatch):
    def interrupted(answers, seconds):
        raise KeyboardInterrupt

    usual_wait = store._wait
    monkeypatch.setattr(store, "_wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.get("a/k")
    monkeypatch.setattr(store, "_wait", usual_wait)
    assert store.get("a/k") == b"body"


def test_a_store_of_s3_is_hedged_unless_told_otherwise():
    assert isinstance(open_store("s3://bucket"), HedgedStore)
    assert not isinstance(open_store("s3://bucket?hedge_budget=0"), HedgedStore)
    assert open_store("s3://bucket?hedge_budget=0.0").url == "s3://bucket?hedge_budget=0.0"
    with pytest.raises(ValueError, match="hedge_budget: Input should be less"):
        open_store("s3://bucket?hedge_budget=1")


class TestHelpers:
    def test_work_without_a_free_thread_is_refused_until_there_is_one(self):
        helpers = Helpers(2)
        release, done = threading.Event(), threading.Semaphore(0)
        assert helpers.try_run(release.wait)
        assert helpers.try_run(release.wait)
        assert not helpers.try_run(release.wait)
        release.set()
        while not helpers.try_run(done.release):  # a helper takes a moment to come back
            pass
        assert done.acquire(timeout=PATIENCE_S)
        helpers.close()

    def test_threads_are_used_again(self):
        helpers = Helpers(1)
        threads, done = set(), threading.Semaphore(0)

        def work():
            threads.add(threading.current_thread())
            done.release()

        for _ in range(20):
            while not helpers.try_run(work):
                pass
            assert done.acquire(timeout=PATIENCE_S)
        assert len(threads) == 1
        helpers.close()
        [thread] = threads
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
        assert not helpers.try_run(work)

    def test_idle_threads_end_and_new_ones_come(self, monkeypatch):
        monkeypatch.setattr("pagestore.parallel._IDLE_S_MAX", 0.0)
        helpers = Helpers(1)
        threads, done = [], threading.Semaphore(0)

        def work():
            threads.append(threading.current_thread())
            done.release()

        for _ in range(50):
            while not helpers.try_run(work):
                pass
            assert done.acquire(timeout=PATIENCE_S)
        threads[-1].join(PATIENCE_S)
        assert len(set(threads)) > 1
        helpers.close()


class TestHedgedMemoryStore(ObjectStoreContract):
    """Hedging everything that can be changes nothing that a user would see."""

    streams_in_steps = False

    @pytest.fixture
    def store_url(self):
        return f"memory://{uuid.uuid4().hex}"

    @pytest.fixture
    def store(self, store_url):
        eager = HedgePolicy(budget=0.5, delay_min_s=0.0, quantile=0.5, saved_max=100, samples_min=1)
        with closing(HedgedStore(open_store(store_url), policy=eager)) as store:
            yield store
