"""How many requests things take: the budgets that make a replica cheap to run."""

import math
import random

import pytest

from graft.operations.hydrate import hydrate
from graft.operations.status import status
from graft.settings import Durability
from graft.sync.clone import clone
from graft.sync.fork import fork
from graft.sync.pull import fetch, pull
from graft.sync.push import push
from graft.sync.time_travel import snapshot_at
from metastore.index import HEAD_READ_BYTES
from pagestore.stores.metered import MeteredStore, StoreTraffic
from tests.graft.support import body, commit, fast_directory, fresh_store, leave, new_replica, small_settings

SETTINGS = {"frame_bytes": 4096, "cache_bytes_max": 1 << 30, "cache_file_bytes": 1 << 20, "inline_bytes_max": 32 * 1024}
PAGES = 2000


@pytest.fixture(scope="module")
def volume():
    """A thousand pushes of three scattered pages to a volume of 2,000."""
    with fast_directory() as path:
        store = MeteredStore(fresh_store())
        replica = new_replica(path / "a", store, page_size=512, **SETTINGS)
        chance = random.Random(1)
        commit(replica, range(1, PAGES + 1), "first")
        push(replica)
        at = {}
        for number in range(1, 1000):
            at[number] = clone_at(path, store, number) if number in CLONED_AT else None
            commit(replica, chance.sample(range(1, PAGES + 1), 3), number, durability=Durability.RELAXED)
            before = store.snapshot()
            push(replica)
            assert (store.snapshot() - before).requests == 1
        replica.clones = {number: found for number, found in at.items() if found}
        yield replica
        for found in replica.clones.values():
            leave(found)
        leave(replica)


CLONED_AT = (1, 10, 500, 512, 700, 990, 999)


def clone_at(path, store, number):
    return clone(path / f"at-{number}", f"{store.url}#vol", settings=small_settings(**SETTINGS), store=store)


@pytest.fixture
def spent(volume):
    """What was asked of the store since the test began, or since the last look."""
    store = volume.remote.store
    seen = [store.snapshot()]

    def look():
        now = store.snapshot()
        since, seen[0] = now - seen[0], now
        return since

    return look


def test_nothing_to_push(volume, spent):
    push(volume)
    assert spent().requests == 0


def test_nothing_to_pull(volume, spent):
    for use in (pull, fetch):
        use(volume)
        assert spent() == StoreTraffic(lists=1)


def test_reading_what_was_pushed_from_here(volume, spent):
    for page in range(1, PAGES + 1, 50):
        volume.snapshot().read(page)
    status(volume)
    assert spent().requests == 0


@pytest.mark.parametrize("number", CLONED_AT)
def test_a_pull_however_far_behind(volume, spent, number):
    reader = volume.clones[number]
    head = pull(reader).after
    assert spent().requests <= 2 + math.log2(head)
    pull(reader)
    assert spent().requests == 1
    assert reader.snapshot().read(7) == volume.snapshot().read(7)


def test_a_clone(volume, spent, tmp_path):
    reader = clone(
        tmp_path / "b", volume.remote_address, settings=small_settings(**SETTINGS), store=volume.remote.store
    )
    cloned = spent()
    assert cloned.requests <= 16
    assert cloned.bytes_down < 128 * 1024 < PAGES * 512 / 2
    leave(reader)


def test_a_clone_moves_no_page_but_those_that_came_inline(volume, spent, tmp_path):
    reader = clone(
        tmp_path / "b", volume.remote_address, settings=small_settings(**SETTINGS), store=volume.remote.store
    )
    assert reader.cache.use().bytes <= HEAD_READ_BYTES * len(reader.view().state.chain)
    assert reader.cache.use().pages < PAGES
    leave(reader)


def test_reading_costs_one_request_for_each_run_of_missing_frames(volume, spent, tmp_path):
    store = fresh_store()
    metered = MeteredStore(store)
    writer = new_replica(tmp_path / "w", metered, page_size=512, **SETTINGS | {"inline_bytes_max": 0})
    commit(writer, range(1, 401), "first")
    push(writer)
    reader = clone(
        tmp_path / "r", f"{metered.url}#vol", store=metered,
        settings=small_settings(**SETTINGS, fetch_gap_bytes_max=0),
    )  # fmt: skip
    before = metered.snapshot()
    assert reader.snapshot().read(1) == body(512, 1, "first")
    assert reader.snapshot().read(8) == body(512, 8, "first")
    assert (metered.snapshot() - before) == StoreTraffic(
        range_gets=1, bytes_down=(metered.snapshot() - before).bytes_down
    )
    before = metered.snapshot()
    reader.snapshot().prefetch([*range(9, 33), *range(100, 120)])
    assert (metered.snapshot() - before).requests == 2
    for page in (*range(9, 33), *range(100, 120)):
        assert reader.snapshot().read(page) == body(512, page, "first")
    assert (metered.snapshot() - before).requests == 2
    hydrate(reader)
    assert (metered.snapshot() - before).requests <= 6
    leave(reader)
    leave(writer)


def test_a_fork_copies_no_page(volume, spent):
    fork(volume, "forked")
    forked = spent()
    assert forked.requests <= 4
    assert forked.stream_puts == 0
    assert forked.bytes_up < 64 * 1024
    fork(volume, "forked-earlier", at=500)
    assert spent().requests <= 4 + math.log2(1000)


def test_time_travel_costs_what_opening_costs(volume, spent):
    chance = random.Random(2)
    for lsn in chance.sample(range(1, 1000), 20):
        assert snapshot_at(volume, lsn).lsn == lsn
        assert spent().requests <= 1 + math.log2(1000)


def test_a_large_push(tmp_path):
    store = MeteredStore(fresh_store())
    replica = new_replica(tmp_path / "a", store, page_size=512, **SETTINGS | {"inline_bytes_max": 0})
    commit(replica, range(1, 101), "first")
    before = store.snapshot()
    push(replica)
    spent = store.snapshot() - before
    assert (spent.stream_puts, spent.conditional_puts, spent.requests) == (1, 1, 2)
    leave(replica)
