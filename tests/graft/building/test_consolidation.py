"""Carrying: after many small pushes pages lie in few objects, and readers fetch nothing twice because of it."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graft.building import consolidation
from graft.building.consolidation import spans
from graft.errors import Corrupt
from graft.operations.hydrate import hydrate
from graft.operations.log import log_entries
from graft.operations.verify import verify
from graft.remote.carried import CARRIED, Carried, decode_carried, encode_carried, frames_held_elsewhere
from graft.settings import Durability
from graft.sync.pull import pull
from graft.sync.push import push
from graft.sync.time_travel import snapshot_at
from pagestore.stores.metered import MeteredStore
from tests.graft.building.consolidating import consolidate_early, consolidating_volume, reader_of
from tests.graft.support import commit, content, fast_directory, fresh_store, leave

PAGES = 2000


@pytest.fixture
def short_spans(monkeypatch):
    consolidate_early(monkeypatch)


@pytest.fixture
def place(short_spans):
    with fast_directory() as path:
        yield path


@pytest.fixture
def store():
    return MeteredStore(fresh_store())


def volume(place, store, **settings):
    """A volume of many pages in a segment of its own."""
    return consolidating_volume(place / "writer", store, PAGES, **settings)


def scatter(replica, first, last, *, seed=1, after=lambda: None):
    """Push one scattered page at a time, until the log has ``last`` commits."""
    for number in range(first, last + 1):
        page = random.Random(seed * 100_000 + number).randrange(PAGES) + 1
        commit(replica, [page], number, durability=Durability.RELAXED)
        push(replica)
        after()


def objects_of(replica):
    """The objects that hold the newest version's pages."""
    snapshot = replica.snapshot()
    locations = [snapshot.page_map.location(page) for page in range(1, snapshot.page_count + 1)]
    return {
        snapshot.page_map.table.key(consolidation.frame_of(location)).locate().key for location in locations if location
    }


@pytest.mark.parametrize(
    ("lsn", "expected"),
    [(1, []), (7, []), (16, [16]), (24, []), (32, [16]), (256, [256, 16]), (512, [256, 16]), (4096, [4096, 256, 16])],
)
def test_spans(lsn, expected):
    assert list(spans(lsn)) == expected


@given(st.dictionaries(st.integers(1, 2**32 - 2), st.integers(1, 2**20 - 1), min_size=1), st.integers(2**20, 2**31))
def test_the_list_of_carried_pages_comes_back(since, lsn):
    pages = sorted(since)
    given_list = Carried(np.array(pages, np.uint32), np.array([since[page] for page in pages], np.uint64))
    commit_like = type("Commit", (), {"lsn": lsn, "log": "l", "attributes": {CARRIED: encode_carried(given_list, lsn)}})
    found = decode_carried(commit_like)
    assert found.pages.tolist() == pages
    assert found.since.tolist() == given_list.since.tolist()


@pytest.mark.parametrize("data", [b"", b"\0" * 4, b"\7\0\0\0\0abcdefg", b"\10\0\0\0\2xxxx", b"\xff\xff\xff\xff\0"])
def test_a_list_that_says_nothing(data):
    with pytest.raises(Corrupt, match="carried"):
        decode_carried(type("Commit", (), {"lsn": 5, "log": "l", "attributes": {CARRIED: data}}))


def test_pages_of_many_pushes_lie_in_few_objects(place, store):
    replica = volume(place, store)
    counts = {}
    for last in (3, 4, 15, 16, 63, 64, 70):
        scatter(replica, max(counts, default=1) + 1, last)
        counts[last] = len(objects_of(replica)) - 1
    assert counts == {3: 2, 4: 1, 15: 6, 16: 1, 63: 9, 64: 1, 70: 4}
    assert {entry.changed_pages for entry in log_entries(replica, 69)} == {1}
    reader = reader_of(replica, place / "reader")
    before = store.snapshot()
    hydrate(reader)
    assert (store.snapshot() - before).requests <= 12
    assert content(reader.snapshot()) == content(replica.snapshot())
    verify(reader)
    for lsn in (1, 3, 4, 17, 63, 64, 69):
        past = snapshot_at(reader, lsn)
        assert past.read(1) == snapshot_at(replica, lsn).read(1)
    leave(reader)
    leave(replica)


def test_every_push_stays_one_request(place, store):
    replica = volume(place, store)
    spent = [store.snapshot()]

    def check():
        now = store.snapshot()
        assert (now - spent[0]).requests == (now - spent[0]).conditional_puts == 1
        spent[0] = now

    scatter(replica, 2, 70, after=check)
    leave(replica)


@pytest.mark.parametrize(("step", "fetched"), [(1, 0), (5, 5)])
def test_a_reader_that_keeps_up_fetches_what_changed_and_nothing_else(place, store, step, fetched):
    replica = volume(place, store)
    reader = reader_of(replica, place / "reader", fetch_gap_bytes_max=0)
    hydrate(reader)
    for head in range(1, 80, step):
        scatter(replica, head + 1, head + step)
        pull(reader)
        before = store.snapshot()
        assert content(reader.snapshot()) == content(replica.snapshot())
        spent = store.snapshot() - before
        assert spent.requests == spent.range_gets <= fetched
    leave(reader)
    leave(replica)


def test_a_reader_that_was_away_fetches_what_it_lacks(place, store):
    replica = volume(place, store)
    reader = reader_of(replica, place / "reader")
    hydrate(reader)
    scatter(replica, 2, 50)
    pull(reader)
    scatter(replica, 51, 80)
    pull(reader)
    assert content(reader.snapshot()) == content(replica.snapshot())
    verify(reader)
    leave(reader)
    leave(replica)


def test_bodies_that_are_not_here_are_not_fetched_to_be_carried(place, store):
    replica = volume(place, store)
    scatter(replica, 2, 12)
    other = reader_of(replica, place / "other")
    scatter(other, 13, 13)  # a replica's first push proves first that the endpoint honours conditions
    before = store.snapshot()
    scatter(other, 14, 16)
    spent = store.snapshot() - before
    assert spent.requests == spent.conditional_puts == 3
    pull(replica)
    # The chain that the clone read was that of LSN 12: 12, 8, and the base came with what they hold inline.
    assert 1 < len(objects_of(replica)) - 1 < 15
    assert content(other.snapshot()) == content(replica.snapshot())
    leave(other)
    leave(replica)


def test_what_was_cut_off_is_not_carried(place, store):
    replica = volume(place, store)
    scatter(replica, 2, 14)
    commit(replica, [], "cut", page_count=10)
    push(replica)
    commit(replica, [PAGES], "grown")
    push(replica)
    reader = reader_of(replica, place / "reader")
    assert reader.snapshot().page_count == PAGES
    assert content(reader.snapshot()) == content(replica.snapshot())
    assert not any(bytes(reader.snapshot().read(500)))
    leave(reader)
    leave(replica)


@pytest.mark.parametrize("settings", [{"consolidation_bytes_max": 0}, {"inline_bytes_max": 0}])
def test_nothing_is_carried(place, store, settings):
    replica = volume(place, store, **settings)
    scatter(replica, 2, 20)
    assert len(objects_of(replica)) == 20
    leave(replica)


def test_more_than_may_be_carried_at_once_is_carried_in_smaller_spans(place, store):
    replica = volume(place, store, consolidation_bytes_max=20 * 512)
    scatter(replica, 2, 64)
    assert len(objects_of(replica)) - 1 == 4
    leave(replica)


def test_a_large_push_carries_nothing(place, store):
    replica = volume(place, store)
    scatter(replica, 2, 15)
    commit(replica, range(1, 401), "large")
    push(replica)
    assert replica.view().state.chain[0].commit.inline_length == 0
    assert CARRIED not in replica.view().state.chain[0].commit.attributes
    leave(replica)


def test_a_frame_with_a_page_of_unknown_age_is_not_taken_for_the_old_one(place, store):
    replica = volume(place, store)
    scatter(replica, 2, 64)
    index = replica.view().state.chain[0]
    assert frames_held_elsewhere(index, 63)
    assert not frames_held_elsewhere(index, 1)
    leave(replica)
