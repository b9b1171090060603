"""Garbage collection: what a window, tags and forks need stays readable, all else goes."""

import itertools
import random
from contextlib import closing

import pytest

from graft.errors import VersionCollected
from graft.operations.compact import compact
from graft.retention.collect import collect
from graft.retention.policy import DAY_S
from graft.sync.clone import clone
from graft.sync.push import push
from graft.sync.time_travel import snapshot_at
from metastore.collected import read_remaining
from pagestore.runtime import Runtime
from pagestore.stores.memory import MemoryStore
from tests.graft.support import commit, content, new_replica, small_settings

_names = itertools.count(1)


class Clock:
    """A wall clock that a test sets."""

    def __init__(self, now_s=1_700_000_000.0):
        self.now_s = now_s

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(clock):
    return MemoryStore(f"gc-{next(_names)}", runtime=Runtime(now_s=clock))


@pytest.fixture
def replica(tmp_path, store):
    with closing(new_replica(tmp_path / "vol", store)) as replica:
        yield replica


def write(replica, clock, seed, *, pages=40, changed=6, truncate=None):
    """Push a change of some pages an hour after the one before; return the content."""
    chance = random.Random(seed)
    clock.now_s += 3600
    commit(replica, chance.sample(range(1, pages + 1), min(changed, pages)), seed, page_count=truncate)
    push(replica)
    return content(replica.snapshot())


def collected(store, **options):
    return collect(store.url, store=store, settings=small_settings(), **options)


def reads(tmp_path, store, versions, name="vol"):
    """Read versions with a new replica, which has nothing cached."""
    with closing(
        clone(tmp_path / f"reader-{next(_names)}", f"{store.url}#{name}", store=store, settings=small_settings())
    ) as reader:
        return {lsn: content(snapshot_at(reader, lsn)) for lsn in versions}


def test_a_window_by_count_stays_and_all_else_goes(tmp_path, store, clock, replica):
    model = {lsn: write(replica, clock, lsn) for lsn in range(1, 31)}
    before = sum(info.size for info in store.list(""))
    done = collected(store, keep_last=5)
    assert reads(tmp_path, store, range(26, 31)) == {lsn: model[lsn] for lsn in range(26, 31)}
    assert done.commits > 0
    assert sum(info.size for info in store.list("")) < before
    assert before - sum(info.size for info in store.list("")) + 400 > done.freed_bytes
    for lsn in range(1, 26):
        with pytest.raises(VersionCollected, match="LSN 26 and all newer"):
            reads(tmp_path, store, [lsn])


def test_a_window_by_age_goes_by_the_clock_of_the_store(tmp_path, store, clock, replica):
    model = {lsn: write(replica, clock, lsn) for lsn in range(1, 31)}
    collected(store, keep_for_s=3 * 3600 + 60)
    # LSN 26 was still the newest three hours and a minute ago, though it was written four hours ago
    assert read_remaining(store, replica.log).floor == 26
    assert reads(tmp_path, store, range(26, 31)) == {lsn: model[lsn] for lsn in range(26, 31)}
    clock.now_s += 100 * DAY_S
    collected(store, keep_for_s=3 * 3600)
    assert reads(tmp_path, store, [30]) == {30: model[30]}
    assert read_remaining(store, replica.log).floor == 30


@pytest.mark.parametrize("seed", range(12))
def test_every_version_of_the_window_equals_the_model(tmp_path, store, clock, seed):
    chance = random.Random(seed)
    model = {}
    with closing(
        new_replica(tmp_path / "vol", store, inline_bytes_max=chance.choice([0, 512, 2048, 32768]))
    ) as replica:
        for step in range(chance.randrange(20, 60)):
            pages = chance.choice([3, 40, 40, 90])
            truncate = chance.choice([None] * 9 + [chance.randrange(1, 20)])
            lsn = max(model, default=0) + 1
            model[lsn] = write(
                replica, clock, f"{seed}/{step}", pages=pages, changed=chance.randrange(1, 30), truncate=truncate
            )
            if chance.random() < 0.1:
                done = compact(replica, scattered_only=chance.random() < 0.5)
                model[done.after] = model[lsn]
            if chance.random() < 0.25:
                keep = chance.randrange(1, 12)
                collected(store, keep_last=keep, grace_s=chance.choice([0, DAY_S]))
                clock.now_s += chance.choice([0, 2 * DAY_S])
                floor = read_remaining(store, replica.log).floor
                assert floor == max(max(model) - keep + 1, 1) or floor > max(model) - keep
        floor = read_remaining(store, replica.log).floor
        window = [lsn for lsn in model if lsn >= floor]
        assert reads(tmp_path, store, window) == {lsn: model[lsn] for lsn in window}
        model[max(model) + 1] = write(replica, clock, "last")
        assert reads(tmp_path, store, [max(model)]) == {max(model): model[max(model)]}
