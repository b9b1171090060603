"""Leftovers: frames that later pushes left mostly dead are cleaned, so that readers do not fetch ever more."""

import pytest

from graft.operations.hydrate import hydrate
from graft.operations.verify import verify
from graft.pagemap.locations import frame_of
from graft.settings import Durability
from graft.sync.pull import pull
from graft.sync.push import push
from graft.sync.time_travel import snapshot_at
from pagestore.stores.metered import MeteredStore
from tests.graft.building.consolidating import consolidate_early, consolidating_volume, reader_of
from tests.graft.support import commit, content, fast_directory, fresh_store, leave

PAGES = 400
WRITTEN = 320
"""Up to there pages are written anew; a frame holds eight."""


@pytest.fixture
def place(monkeypatch):
    consolidate_early(monkeypatch)
    with fast_directory() as path:
        yield path


@pytest.fixture
def store():
    return MeteredStore(fresh_store())


def volume(place, store, **settings):
    return consolidating_volume(place / "writer", store, PAGES, **settings)


def write(replica, pages, last):
    """Push pages, a part of them at a time, until the log has ``last`` commits."""
    first = replica.view().state.lsn + 1
    pages = list(pages)
    count = last + 1 - first
    for number in range(count):
        commit(replica, pages[number::count] or pages[:1], first + number, durability=Durability.RELAXED)
        push(replica)


def but_for_every(step, first=0):
    return [page for page in range(1, WRITTEN + 1) if page % step != first]


def pages_by_object(replica):
    """The newest version's pages by the object that they lie in, the oldest first."""
    snapshot = replica.snapshot()
    found = {}
    for page in range(1, snapshot.page_count + 1):
        ref = snapshot.page_map.table.key(frame_of(snapshot.page_map.location(page))).ref
        found.setdefault(getattr(ref.home, "lsn", 0), []).append(page)
    return dict(sorted(found.items()))


def frames_to_fetch(replica):
    snapshot = replica.snapshot()
    return len({frame_of(snapshot.page_map.location(page)) for page in range(1, snapshot.page_count + 1)})


def test_frames_that_are_mostly_dead_are_cleaned(place, store):
    replica = volume(place, store)
    before = frames_to_fetch(replica)
    write(replica, but_for_every(8), 15)
    assert set(range(8, PAGES + 1, 8)) <= set(pages_by_object(replica)[0])
    spent = store.snapshot()
    write(replica, [1], 16)
    assert (store.snapshot() - spent).requests == 1
    assert pages_by_object(replica) == {0: list(range(WRITTEN + 1, PAGES + 1)), 16: list(range(1, WRITTEN + 1))}
    assert frames_to_fetch(replica) <= before + 1, "as after the first push, and what the last one changed"
    reader = reader_of(replica, place / "reader")
    hydrate(reader)
    assert content(reader.snapshot()) == content(replica.snapshot())
    verify(reader)
    assert content(snapshot_at(reader, 9)) == content(snapshot_at(replica, 9))
    leave(reader)
    leave(replica)


def test_frames_that_are_of_use_stay(place, store):
    replica = volume(place, store)
    write(replica, [page for page in range(1, WRITTEN + 1) if page % 8 > 2], 16)
    assert len(pages_by_object(replica)[0]) == PAGES - WRITTEN * 5 // 8, "three of eight are live"
    leave(replica)


def test_only_long_spans_clean(place, store):
    replica = volume(place, store)
    write(replica, but_for_every(8), 12)
    assert len(pages_by_object(replica)[0]) == PAGES - WRITTEN * 7 // 8
    leave(replica)


def test_what_was_carried_is_cleaned_in_its_turn(place, store):
    replica = volume(place, store)
    for last, first in ((16, 0), (32, 3)):
        write(replica, but_for_every(8, first), last - 1)
        write(replica, [1], last)
    assert list(pages_by_object(replica)) == [0, 32]
    leave(replica)


def test_a_reader_that_keeps_up_fetches_none_of_them(place, store):
    replica = volume(place, store)
    reader = reader_of(replica, place / "reader")
    hydrate(reader)
    write(replica, but_for_every(8), 15)
    pull(reader)
    hydrate(reader)
    write(replica, [1], 16)
    pull(reader)
    before = store.snapshot()
    assert content(reader.snapshot()) == content(replica.snapshot())
    assert (store.snapshot() - before).requests == 0
    leave(reader)
    leave(replica)


@pytest.mark.parametrize("seen", [1, 4, 7, 8])
def test_a_reader_does_not_take_what_it_had_for_what_came_since(place, store, seen):
    """The live pages to clean were written by a large push, into a segment of its own."""
    replica = volume(place, store)
    reader = reader_of(replica, place / "reader")
    for last in range(2, 8):
        commit(replica, range(last, WRITTEN, 20), last)
        push(replica)
        if last <= seen:
            pull(reader)
    hydrate(reader)
    commit(replica, range(1, WRITTEN + 1), "large")
    push(replica)
    assert replica.view().state.chain[0].commit.inline_length == 0
    if seen == 8:
        pull(reader)
        hydrate(reader)
    write(replica, but_for_every(8), 15)
    write(replica, [1], 16)
    assert list(pages_by_object(replica)) == [0, 16]
    pull(reader)
    assert content(reader.snapshot()) == content(replica.snapshot())
    verify(reader)
    leave(reader)
    leave(replica)


def test_no_more_than_may_be_carried(place, store):
    most = WRITTEN * 7 // 8 + 10
    replica = volume(place, store, consolidation_bytes_max=most * 512)
    write(replica, but_for_every(8), 15)
    write(replica, [1], 16)
    assert len(pages_by_object(replica)[16]) == most
    assert pages_by_object(replica)[0] == [*range(88, WRITTEN + 1, 8), *range(WRITTEN + 1, PAGES + 1)]
    leave(replica)


def test_bodies_that_are_not_here_are_not_fetched(place, store):
    replica = volume(place, store)
    other = reader_of(replica, place / "other")
    write(other, but_for_every(8), 15)
    before = store.snapshot()
    write(other, [1], 16)
    assert (store.snapshot() - before).requests == 1
    assert set(range(8, PAGES + 1, 8)) <= set(pages_by_object(other)[0])
    leave(other)
    leave(replica)


def test_what_was_cut_off_is_not_cleaned(place, store):
    replica = volume(place, store)
    write(replica, but_for_every(8), 14)
    commit(replica, [], "cut", page_count=100)
    push(replica)
    commit(replica, [PAGES], "grown")
    push(replica)
    reader = reader_of(replica, place / "reader")
    assert list(pages_by_object(replica)) == [0, 16]
    assert content(reader.snapshot()) == content(replica.snapshot())
    assert not any(bytes(reader.snapshot().read(104)))
    leave(reader)
    leave(replica)
