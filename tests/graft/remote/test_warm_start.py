"""A warm start: what a new replica's first reader needs is requested before the replica is made."""

import threading

import pytest

from graft.errors import NoSuchVolume, RemoteUnavailable
from graft.remote.warm_start import WarmStart, first_frame
from graft.sync.clone import clone
from graft.sync.push import push
from pagestore.errors import StoreUnavailable
from pagestore.segments.fetch_plan import RangeRead
from pagestore.stores.metered import MeteredStore
from testbed.patience import PATIENCE_S
from tests.graft.support import body, commit, content, fast_directory, fresh_store, leave, new_replica, small_settings

PAGES = 40


class Held:
    """Reads of segment objects wait until they may go on, and fail if told to."""

    parallelism = 4

    def __init__(self, inner):
        self.inner = inner
        self.holds = False
        self.fails = False
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.closed = 0

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def get_range(self, key, start, length):
        if key.startswith("segments/"):
            self.begun.set()
            if self.fails:
                raise StoreUnavailable(f"{key} does not come")
            if self.holds:
                assert self.go_on.wait(PATIENCE_S)
        return self.inner.get_range(key, start, length)

    def close(self):
        self.closed += 1


@pytest.fixture
def store():
    return Held(fresh_store())


@pytest.fixture
def place(store):
    """A directory, and a writer of a volume in one segment object."""
    with fast_directory() as path:
        writer = new_replica(path / "w", store, inline_bytes_max=600)  # a small push's pages are in its commit
        commit(writer, range(1, PAGES + 1), "first")
        push(writer)
        yield path, writer
        store.go_on.set()
        leave(writer)


def cloned(path, store, **chosen):
    return clone(path / "r", f"{store.url}#vol", settings=small_settings(), store=store, **chosen)


def test_a_replica_that_is_made_to_read_does_not_wait_for_what_is_read_first(place, store):
    path, _ = place
    store.holds = True
    reader = cloned(path, store, to_read=True)
    assert store.begun.wait(PATIENCE_S)
    reading = threading.Thread(target=lambda: bytes(reader.snapshot().read(1)))
    reading.start()
    assert reading.is_alive(), "the first reader waits for it"
    store.go_on.set()
    reading.join(PATIENCE_S)
    assert reader.snapshot().read(1) == body(512, 1, "first")
    leave(reader)


@pytest.mark.parametrize("to_read", [True, False])
def test_it_costs_no_request_more(place, store, to_read):
    path, _ = place
    metered = MeteredStore(store)
    reader = cloned(path, metered, to_read=to_read)
    assert content(reader.snapshot())[:512] == body(512, 1, "first")
    frames = -(-PAGES * 512 // 4096)
    assert metered.snapshot().requests <= 4 + frames
    counts = reader.counts.snapshot()
    assert (counts.fetched_frames, counts.fetches) == (frames, frames)
    assert 0 < counts.fetched_bytes + counts.gap_bytes <= metered.snapshot().bytes_down
    leave(reader)


def test_without_a_reader_no_page_is_read(place, store):
    path, _ = place
    metered = MeteredStore(store)
    leave(cloned(path, metered))
    assert metered.snapshot().requests == 4  # name, head, commit, and none above it
    assert not store.begun.is_set()


def test_after_a_small_push_it_is_where_page_1_was_before(place, store):
    path, writer = place
    commit(writer, [1], "second")
    push(writer)
    metered = MeteredStore(store)
    reader = cloned(path, metered, to_read=True)
    assert reader.snapshot().read(1) == body(512, 1, "second")
    assert reader.snapshot().read(2) == body(512, 2, "first")
    assert metered.snapshot().requests <= 6  # name, head, two commits, none above them, one frame
    leave(reader)


@pytest.mark.parametrize("stays", [True, False])
def test_a_reader_requests_what_the_warm_start_failed_to_fetch(place, store, stays):
    path, _ = place
    store.fails = True
    reader = cloned(path, store, to_read=True)
    assert store.begun.wait(PATIENCE_S)
    if stays:
        with pytest.raises(RemoteUnavailable, match="does not come"):
            reader.snapshot().read(1)
    store.fails = False
    assert reader.snapshot().read(1) == body(512, 1, "first")
    leave(reader)


def test_a_volume_without_pages_has_nothing_to_begin_with(store):
    with fast_directory() as path:
        writer = new_replica(path / "w", store)
        reader = cloned(path, store, to_read=True)
        assert first_frame(reader.view().state.chain) is None
        assert content(reader.snapshot()) == b""
        leave(reader)
        leave(writer)


def test_a_frame_is_handed_out_once_with_the_reads_that_brought_it():
    told, read = [], RangeRead("segments/s", 0, 10, ())
    head_start = WarmStart("key", lambda: ("frame", [read]))
    assert head_start.take(["other"], told.append) == []
    assert head_start.take(["other", "key"], told.append) == [("key", "frame")]
    assert told == [read]
    assert head_start.take(["key"], told.append) == []


def test_the_remote_that_a_replica_was_made_with_is_closed_with_it(tmp_path, store, monkeypatch):
    monkeypatch.setattr("graft.remote.remote.open_store", lambda url, **_: store)
    writer = new_replica(tmp_path / "w", store)
    commit(writer, [1], "first")
    push(writer)
    assert store.closed == 0
    with pytest.raises(NoSuchVolume):
        clone(tmp_path / "x", f"{store.url}#other", settings=small_settings())
    assert store.closed == 1
    reader = clone(tmp_path / "r", f"{store.url}#vol", settings=small_settings())
    assert store.closed == 1, "it is in use"
    assert reader.snapshot().read(1) == body(512, 1, "first")
    leave(reader)
    assert store.closed == 2
    leave(writer)
    assert store.closed == 2, "a store that was passed in stays open"
