"""Listing in parallel, the throttle, and the store's clock."""

import random
import uuid

import pytest

from graft.retention.listing import list_segments
from graft.retention.store_clock import store_now_s
from graft.retention.throttle import Throttle
from pagestore.errors import StoreRefused
from pagestore.ids import SegmentId
from pagestore.parallel import Parallel
from pagestore.runtime import SYSTEM, Runtime
from pagestore.stores.memory import MemoryStore
from pagestore.stores.metered import MeteredStore
from pagestore.testing import FaultyStore


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 4321])
@pytest.mark.parametrize("spread_ms", [0, 10, 10**9])
def test_segments_are_listed_in_parts_without_gaps(threads, count, spread_ms):
    chance, begin_ms = random.Random(count), 1_700_000_000_000
    store = MeteredStore(MemoryStore(uuid.uuid4().hex))
    made = set()
    for _ in range(count):
        raw = (begin_ms + chance.randint(0, spread_ms)).to_bytes(6, "big") + chance.randbytes(10)
        made.add(SegmentId(raw))
        store.put(f"segments/{SegmentId(raw)}", b"x")
    store.put("segments/stray", b"")
    before = store.snapshot()
    with Parallel(threads) as parallel:
        found = list_segments(store, parallel, (begin_ms + spread_ms) / 1000)
    assert set(found) == made
    assert (store.snapshot() - before).lists <= count // 1000 + 2 + threads


def test_the_throttle_lets_so_many_a_second_pass():
    now = [100.0]

    def sleep(seconds):
        now[0] += seconds

    throttle = Throttle(50, Runtime(monotonic_s=lambda: now[0], sleep_s=sleep))
    for _ in range(11):
        throttle.take(100)
    assert now[0] == 100 + 10 * 2
    now[0] += 60
    throttle.take(100)
    throttle.take(100)
    assert now[0] == 182, "what was not used is not saved up"


def test_the_time_is_that_of_the_store(store, clock):
    clock.now_s = 1_234_567_890.0
    assert store_now_s(store, SYSTEM) == clock.now_s
    assert list(store.list("")) == []


def test_without_the_right_to_write_a_dry_run_guesses(store):
    def refused(method, *arguments):
        raise StoreRefused("read only")

    faulty = FaultyStore(store)
    for _ in range(2):
        faulty.fail_next("put", refused)
    assert store_now_s(faulty, Runtime(now_s=lambda: 5.0), may_guess=True) == 5.0
    with pytest.raises(StoreRefused):
        store_now_s(faulty, SYSTEM)
