"""Frames that several readers want at once."""

import threading

import pytest

from graft.operations.hydrate import hydrate
from graft.reading import body_loader, write_behind
from graft.replica.opening import open_replica
from graft.sync.clone import clone
from graft.sync.push import push
from pagestore.errors import StoreUnavailable
from pagestore.stores.memory import MemoryStore
from testbed.patience import PATIENCE_S
from tests.graft.support import body, commit, fast_directory, fresh_store, leave, new_replica, small_settings

PAGES = 64


class StuckStore:
    """Reads of one object wait, or fail, as told."""

    parallelism = 4

    def __init__(self, inner: MemoryStore) -> None:
        self.inner = inner
        self.slow_key = None
        self.fails = False
        self.begun = threading.Event()
        self.release = threading.Event()

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def get_range(self, key, start, length):
        if key == self.slow_key:
            self.begun.set()
            if self.fails:
                raise StoreUnavailable(f"{key} does not come")
            self.release.wait()
        return self.inner.get_range(key, start, length)


@pytest.fixture
def world():
    """A reader of a volume in two segments, and its store."""
    with fast_directory() as path:
        store = StuckStore(fresh_store())
        settings = {"inline_bytes_max": 0, "frame_bytes": 2048, "cache_bytes_max": 1 << 24, "cache_file_bytes": 1 << 20}
        writer = new_replica(path / "w", store, **settings)
        commit(writer, range(1, PAGES + 1), "first")
        push(writer)
        commit(writer, range(1, 9), "second")
        push(writer)
        [slow, _] = sorted((info for info in store.list("segments/")), key=lambda info: -info.size)
        reader = clone(path / "r", f"{store.url}#vol", settings=small_settings(**settings), store=store)
        store.slow_key = slow.key
        yield reader, store
        store.release.set()
        leave(reader)
        leave(writer)


def test_a_slow_object_keeps_nobody_from_another_one(world, monkeypatch):
    monkeypatch.setattr(body_loader, "_PATIENCE_S", 0.001)
    reader, store = world
    hydrating = threading.Thread(target=hydrate, args=(reader,))
    hydrating.start()
    assert store.begun.wait(PATIENCE_S)
    for page in range(1, 9):
        assert reader.snapshot().read(page) == body(512, page, "second")
    store.release.set()
    hydrating.join(PATIENCE_S)
    assert reader.snapshot().read(PAGES) == body(512, PAGES, "first")


def test_a_failing_object_keeps_nobody_from_another_one(world):
    reader, store = world
    store.fails = True
    with pytest.raises(Exception, match="does not come"):
        hydrate(reader)
    assert reader.snapshot().read(3) == body(512, 3, "second")
    store.fails, store.slow_key = False, None
    assert reader.snapshot().read(PAGES) == body(512, PAGES, "first")


def test_what_is_fetched_ahead_is_attached_by_its_first_reader(world):
    reader, store = world
    store.slow_key = None
    reader.snapshot().read(9)
    before = reader.counts.snapshot()
    assert (before.fetches, before.fetched_frames) == (1, 1)
    numbers = sorted({reader.snapshot().missing_frame(page) for page in range(9, PAGES + 1)} - {None})
    reader.bodies.attach(numbers, numbers[1:])
    counts = reader.counts.snapshot()
    assert (counts.fetches, counts.fetched_frames, counts.ahead_frames) == (2, 1 + len(numbers), len(numbers) - 1)
    assert counts.ahead_used_bytes == 0
    assert reader.snapshot().missing_frame(PAGES) is None
    assert bytes(reader.snapshot().peek(PAGES)) == body(512, PAGES, "first")
    assert reader.counts.snapshot().ahead_used_frames == 0, "to look is not to ask"
    for page in range(9, PAGES + 1):
        assert reader.snapshot().read(page) == body(512, page, "first")
    counts = reader.counts.snapshot()
    assert (counts.fetches, counts.ahead_used_frames) == (2, len(numbers) - 1)
    assert counts.wasted_bytes == counts.gap_bytes
    assert not reader.table.ahead


def read_each(reader, pages):
    for page in pages:
        assert reader.snapshot().read(page) == body(512, page, "first")


def files_of(reader):
    return {body.file for body in reader.table.bodies if body is not None}


def test_what_is_fetched_frame_by_frame_is_in_memory_until_the_cache_takes_it_at_once(world):
    reader, store = world
    store.slow_key = None
    read_each(reader, range(9, PAGES + 1))
    assert not reader.cache.use().frames
    assert all(file < 0 for file in files_of(reader))
    reader.bodies.evict()  # what its housekeeper does every second
    assert reader.cache.use().frames == reader.counts.snapshot().fetched_frames > 8
    assert all(file > 0 for file in files_of(reader))
    assert not reader.bodies._behind._in_memory
    assert reader.bodies._behind._memory_bytes == 0
    read_each(reader, range(9, PAGES + 1))


def test_no_more_than_a_batch_is_in_memory(world, monkeypatch):
    monkeypatch.setattr(write_behind, "_LATE_BYTES_MAX", 4 * 2048)
    reader, store = world
    store.slow_key = None
    for page in range(9, PAGES + 1):
        read_each(reader, [page])
        assert reader.bodies._behind._memory_bytes < 4 * 2048
    assert reader.cache.use().frames > 8


def test_a_replica_that_is_opened_again_has_what_was_fetched_frame_by_frame(world):
    reader, store = world
    store.slow_key = None
    read_each(reader, [9, 33, PAGES])
    path, settings = reader.path, reader.settings
    reader.close()
    requests = []
    store.inner.get_range = lambda *range_: requests.append(range_)
    with open_replica(path, store=store, settings=settings) as again:
        read_each(again, [9, 33, PAGES])
    assert not requests


def test_the_parent_of_a_fork_keeps_what_was_fetched_frame_by_frame(world):
    reader, store = world
    store.slow_key = None
    read_each(reader, [9])
    reader.bodies.disown()  # as the child does
    assert not reader.bodies._behind._late
    read_each(reader, [9])


def test_a_reader_waits_for_what_is_fetched_in_the_background(world):
    reader, store = world
    reader.snapshot().read(1)
    number, told = reader.snapshot().missing_frame(PAGES), threading.Event()
    assert reader.bodies.attach_later([number], told.set)
    assert store.begun.wait(PATIENCE_S)
    assert reader.snapshot().missing_frame(PAGES) is None, "on its way"
    assert reader.snapshot().peek(PAGES) is None, "but not here"
    assert reader.table.is_ahead(number)
    threading.Timer(0.01, store.release.set).start()
    assert reader.snapshot().read(PAGES) == body(512, PAGES, "first")
    reader.bodies.wait_for_background()
    assert told.is_set()
    assert not reader.table.coming
    counts = reader.counts.snapshot()
    assert (counts.ahead_frames, counts.ahead_used_frames, counts.ahead_late) == (1, 1, 1)


def test_what_could_not_be_fetched_in_the_background_is_asked_for_again(world):
    reader, store = world
    reader.snapshot().read(1)
    store.fails = True
    number, told = reader.snapshot().missing_frame(PAGES), threading.Event()
    assert reader.bodies.attach_later([number], told.set)
    reader.bodies.wait_for_background()
    assert not told.is_set()
    assert reader.snapshot().missing_frame(PAGES) == number
    with pytest.raises(Exception, match="does not come"):
        reader.snapshot().read(PAGES)
    store.fails = False
    store.release.set()
    assert reader.snapshot().read(PAGES) == body(512, PAGES, "first")


def test_closing_waits_for_what_is_being_fetched_and_begins_nothing_more(world):
    reader, store = world
    reader.snapshot().read(1)
    number = reader.snapshot().missing_frame(PAGES)
    assert reader.bodies.attach_later([number], lambda: None)
    assert store.begun.wait(PATIENCE_S)
    threading.Timer(0.01, store.release.set).start()
    reader.bodies.close()
    assert reader.table.ahead
    assert not reader.bodies.attach_later([number + 1], lambda: None)
    assert not reader.table.coming


def test_a_forked_process_fetches_nothing_in_the_background(world):
    reader, store = world
    reader.snapshot().read(1)
    number = reader.snapshot().missing_frame(PAGES)
    assert reader.bodies.attach_later([number], lambda: None)
    assert store.begun.wait(PATIENCE_S)
    reader.bodies.disown()  # as the child does, in which the thread that fetches is not
    assert not reader.table.coming
    assert not reader.bodies.attach_later([number + 1], lambda: None)
    reader.bodies.wait_for_background()
    reader.bodies.close()
