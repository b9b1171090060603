"""The entry frame of a bulk load is in its commit; readers, later pushes and older replicas work with that."""

import pytest

from graft.building import segment_builder as segment_out
from graft.building.segment_builder import ReadingOrder
from graft.errors import Corrupt, Diverged
from graft.failpoints import FAILPOINTS
from graft.operations.compact import compact
from graft.operations.hydrate import hydrate
from graft.operations.verify import verify
from graft.pagemap.locations import frame_of
from graft.remote.carried import decode_carried
from graft.remote.entry_frame import LAID_OUT_AT, entry_frame, laid_out_at
from graft.remote.warm_start import first_frame
from graft.sync.clone import clone
from graft.sync.fork import fork
from graft.sync.pull import pull
from graft.sync.push import push
from graft.sync.time_travel import snapshot_at
from metastore import index as index_module
from metastore.placement import InCommit, OwnObject, commit_key
from pagestore.stores.metered import MeteredStore
from tests.graft.building.consolidating import consolidate_early
from tests.graft.support import (
    Killed,
    as_other_process,
    body,
    commit,
    commit_keys,
    content,
    dying_at,
    failpoint_hook,
    fast_directory,
    fresh_store,
    kill,
    leave,
    new_replica,
    segment_keys,
    small_settings,
)

PAGES = 400
INTERIOR = [1, 300, 3, 9, 200, 7]
COLLECTED = 1
"""Requests for the record of what was collected, sent beside those for an older version's chain."""
SETTINGS = {"cache_bytes_max": 1 << 22, "cache_file_bytes": 1 << 20, "fetch_gap_bytes_max": 0}


def layout(_):
    return ReadingOrder(INTERIOR, [*range(PAGES, 0, -1)])


class Stage:
    """A volume after one bulk load, and readers whose requests are counted."""

    def __init__(self, path):
        self.path = path
        self.store = fresh_store()
        self.metered = MeteredStore(self.store)
        self.writer = new_replica(path / "writer", self.store, **SETTINGS)
        self.open = [self.writer]

    def load(self, tag="first"):
        commit(self.writer, range(1, PAGES + 1), tag, page_count=PAGES)
        return push(self.writer, layout=layout)

    def push(self, pages, tag="later"):
        commit(self.writer, pages, tag)
        return push(self.writer)

    def another(self, name, **chosen):
        made = clone(
            self.path / name, f"{self.store.url}#vol", settings=small_settings(**SETTINGS), store=self.metered, **chosen
        )
        self.open.append(made)
        return made

    def spent(self, action):
        before = self.metered.snapshot()
        action()
        return (self.metered.snapshot() - before).requests

    def key_of(self, page, replica=None):
        page_map = (replica or self.writer).view().remote_map
        return page_map.table.key(frame_of(page_map.location(page)))

    def damage(self, lsn, distance_from_end):
        """Flip a bit of a commit object."""
        key = commit_key(self.writer.log, lsn)
        data = bytearray(self.store.get(key))
        data[-distance_from_end] ^= 1
        self.store.delete(key)
        self.store.put(key, bytes(data))


@pytest.fixture
def stage():
    with fast_directory() as path:
        made = Stage(path)
        yield made
        for replica in made.open:
            leave(replica)


def read_all(replica, pages):
    return [bytes(replica.snapshot().read(page)) for page in pages]


def test_a_bulk_load_is_an_object_and_a_commit_that_holds_the_entry_frame(stage):
    done = stage.load()
    assert (done.pages, done.inline) == (PAGES, False)
    (index,) = stage.writer.view().state.chain
    assert {type(ref.home) for ref in index.commit.segments} == {OwnObject, InCommit}
    assert 0 < index.commit.inline_length < 2 * stage.writer.settings.inline_bytes_max
    assert index.commit.changed_pages == PAGES
    (segment,) = segment_keys(stage.store)
    assert done.bytes == index.commit.inline_length + len(stage.store.get(segment))
    assert {stage.key_of(page) for page in INTERIOR} == {entry_frame([index])}
    assert all(isinstance(stage.key_of(page).ref.home, OwnObject) for page in (2, 8, PAGES))
    assert not verify(stage.writer).problems


def test_a_cold_reader_has_it_with_the_commit(stage):
    stage.load()
    for to_read in (True, False):
        reader = stage.another(f"reader-{to_read}", to_read=to_read)
        assert stage.spent(lambda: read_all(reader, INTERIOR)) == 0  # noqa: B023 - called at once
        assert read_all(reader, INTERIOR) == [body(512, page, "first") for page in INTERIOR]
        assert stage.spent(lambda: reader.snapshot().read(2)) == 1  # noqa: B023
        assert content(reader.snapshot()) == content(stage.writer.snapshot())


def test_who_wrote_it_has_it_too(stage):
    stage.load()
    again = as_other_process(stage.path / "writer", stage.metered, **SETTINGS)
    stage.open.append(again)
    assert stage.spent(lambda: content(again.snapshot())) == 0


@pytest.mark.parametrize("order", [None, ReadingOrder(), ReadingOrder([], range(1, PAGES + 1))])
def test_without_an_entry_frame_all_is_one_segment(stage, order):
    commit(stage.writer, range(1, PAGES + 1), "first")
    push(stage.writer, layout=(lambda _: order) if order else None)
    (index,) = stage.writer.view().state.chain
    assert (len(index.commit.segments), index.commit.inline_length) == (1, 0)
    assert LAID_OUT_AT not in index.commit.attributes


def test_what_fits_into_the_commit_goes_there_as_one_segment(stage):
    stage.writer.settings = small_settings(**SETTINGS | {"inline_bytes_max": 1 << 20})
    assert stage.load().inline
    (index,) = stage.writer.view().state.chain
    assert len(index.commit.segments) == 1
    assert segment_keys(stage.store) == []


@pytest.mark.parametrize("reason", ["nothing goes inline", "it is too long", "the index is too long"])
def test_what_would_not_come_along_stays_in_the_segment(stage, reason, monkeypatch):
    if reason == "nothing goes inline":
        stage.writer.settings = small_settings(**SETTINGS | {"inline_bytes_max": 0})
    elif reason == "it is too long":
        stage.writer.settings = small_settings(**SETTINGS | {"inline_bytes_max": 50})
    else:
        monkeypatch.setattr(segment_out, "_INDEX_CHUNK_BYTES", 1 << 17)
    stage.load()
    (index,) = stage.writer.view().state.chain
    assert (len(index.commit.segments), index.commit.inline_length) == (1, 0)
    reader = stage.another("reader", to_read=True)
    assert content(reader.snapshot()) == content(stage.writer.snapshot())


def test_volumes_of_earlier_releases_are_read_and_written_on(stage, monkeypatch):
    """Their segment has the interior pages, and nothing says where."""
    with monkeypatch.context() as earlier:
        earlier.setattr(segment_out, "_ENTRY_INLINES", 0)
        stage.load()
    reader = stage.another("reader", to_read=True)
    assert first_frame(reader.view().state.chain).key == stage.key_of(1, reader)
    assert content(reader.snapshot()) == content(stage.writer.snapshot())
    stage.push([5])
    stage.load("second")
    pull(reader)
    assert stage.spent(lambda: read_all(reader, INTERIOR)) == 0
    assert content(reader.snapshot()) == content(stage.writer.snapshot())
    assert content(snapshot_at(stage.another("cold"), 2)) == content(snapshot_at(stage.writer, 2))


def test_small_pushes_after_it_are_as_small_as_ever(stage):
    stage.load()
    before = {}
    for lsn in range(2, 40):
        stage.push([PAGES - lsn], lsn)
        newest = stage.writer.view().state.chain[0].commit
        before[lsn] = newest.inline_length
        assert laid_out_at(newest) == 1
    assert max(size for lsn, size in before.items() if lsn % 16) < 200
    carried = [decode_carried(index.commit).pages.tolist() for index in stage.writer.view().state.chain]
    assert not {page for pages in carried for page in pages} & set(INTERIOR)


def test_it_is_not_carried_however_long_the_span(stage, monkeypatch):
    consolidate_early(monkeypatch)
    stage.load()
    for lsn in range(2, 17):
        stage.push([PAGES - lsn], lsn)
        carried = decode_carried(stage.writer.view().state.chain[0].commit).pages.tolist()
        assert not set(carried) & set(INTERIOR)
        assert (len(carried) > 0) == (lsn % 4 == 0)
    assert {stage.key_of(page).ref.home.lsn for page in INTERIOR} == {1}
    assert content(stage.another("cold").snapshot()) == content(stage.writer.snapshot())


def test_a_reader_that_comes_later_begins_with_it(stage):
    stage.load()
    stage.push([1, 5])
    stage.push([1])
    reader = stage.another("reader", to_read=True)
    assert [index.commit.lsn for index in reader.view().state.chain] == [3, 2]
    assert first_frame(reader.view().state.chain).key == stage.key_of(3, reader)
    spent = stage.spent(lambda: read_all(reader, INTERIOR))
    assert spent <= 1, "none if the warm start asked before the count began"
    assert stage.spent(lambda: read_all(reader, INTERIOR)) == 0
    assert read_all(reader, (1, 3, 5)) == [body(512, 1, "later"), body(512, 3, "first"), body(512, 5, "later")]


def test_once_nothing_of_it_is_left_a_reader_begins_with_page_1(stage, monkeypatch):
    stage.load()
    monkeypatch.setattr(segment_out, "_ENTRY_INLINES", 0)
    stage.load("second")
    reader = stage.another("reader", to_read=True)
    assert laid_out_at(reader.view().state.chain[0].commit) == 1
    assert first_frame(reader.view().state.chain).key == stage.key_of(1, reader)
    assert content(reader.snapshot()) == content(stage.writer.snapshot())


@pytest.mark.parametrize("lsn", [1, 2, 3, 5])
def test_the_past_has_it_without_a_round_trip_more(stage, lsn):
    stage.load()
    for number in range(2, 8):
        stage.push([number * 10], number)
    reader = stage.another("reader")

    def look():
        past = snapshot_at(reader, lsn)
        assert past.read(3) == body(512, 3, "first")

    fetches = reader.counts.snapshot().fetches
    to_read = {1: {1}, 2: {2}, 3: {3, 2}, 5: {5}}[lsn]  # LSN 4 is in the chain of the newest one
    assert stage.spent(look) == len(to_read | {1}) + COLLECTED
    assert reader.counts.snapshot().fetches - fetches == (lsn > 1)
    assert stage.spent(look) == len(to_read) + COLLECTED, "it is in the cache"
    assert content(snapshot_at(reader, lsn)) == content(snapshot_at(stage.writer, lsn))


def test_before_it_there_is_nothing_to_begin_with(stage):
    stage.push([1], "small")
    stage.load()
    stage.push([1])
    reader = stage.another("reader")
    assert stage.spent(lambda: snapshot_at(reader, 1).read(1)) == 1 + COLLECTED
    assert snapshot_at(reader, 1).read(1) == body(512, 1, "small")


class TestCompaction:
    def test_lays_out_the_same_way(self, stage):
        stage.load()
        for number in range(2, 20):
            stage.push([number, 300], number)
        was = content(stage.writer.snapshot())
        done = compact(stage.writer, layout=layout)
        assert (done.pages, done.segments_after) == (PAGES, 2)
        assert laid_out_at(stage.writer.view().state.chain[0].commit) == done.after
        reader = stage.another("cold", to_read=True)
        assert stage.spent(lambda: read_all(reader, INTERIOR)) == 0
        assert content(reader.snapshot()) == was == content(stage.writer.snapshot())
        assert compact(stage.writer, layout=layout).pages == 0, "it is compact already"
        assert not verify(stage.writer).problems

    @pytest.mark.parametrize("later", [0, 1, 2, 5])
    def test_who_pulls_over_it_has_it(self, stage, later):
        stage.load()
        reader = stage.another("reader")
        stage.push([300])
        compact(stage.writer, layout=layout)
        for number in range(later):
            stage.push([PAGES], number)
        pull(reader)
        assert stage.spent(lambda: read_all(reader, INTERIOR)) == 0
        assert content(reader.snapshot()) == content(stage.writer.snapshot())

    def test_who_has_everything_keeps_it(self, stage):
        stage.load()
        reader = stage.another("reader")
        hydrate(reader)
        stage.push([300])
        compact(stage.writer, layout=layout)
        pull(reader)
        assert stage.spent(lambda: content(reader.snapshot())) == 0
        assert content(reader.snapshot()) == content(stage.writer.snapshot())

    def test_what_is_to_go_inline_is_compared_too(self, stage, monkeypatch):
        stage.load()
        stage.push([300])
        honest = segment_out.encode_frame

        def wrong(segment, page_size, pages, bodies, *rest, **options):
            changed = [
                bytes(page_size) if page in INTERIOR else found for page, found in zip(pages, bodies, strict=True)
            ]
            return honest(segment, page_size, pages, changed, *rest, **options)

        monkeypatch.setattr(segment_out, "encode_frame", wrong)
        with pytest.raises(Corrupt, match="as something else"):
            compact(stage.writer, layout=layout)
        assert stage.writer.snapshot().lsn == 2


class TestDamage:
    def test_in_a_commit_that_is_read_whole(self, stage):
        stage.load()
        stage.damage(1, 60)
        with pytest.raises(Corrupt, match="commit 1 of log"):
            stage.another("reader", to_read=True)

    @pytest.mark.parametrize("to_read", [True, False])
    def test_in_an_older_commit(self, stage, to_read):
        stage.load()
        stage.push([8])
        key = stage.key_of(3)
        (lsn, offset), length = (key.ref.home.lsn, key.ref.home.offset + key.offset), key.length
        size = len(stage.store.get(commit_key(stage.writer.log, lsn)))
        stage.damage(lsn, size - offset - length + 1)  # its last byte
        reader = stage.another("reader", to_read=to_read)
        with pytest.raises(Corrupt, match="page 3"):
            reader.snapshot().read(3)
        assert reader.snapshot().read(8) == body(512, 8, "later")
        assert reader.snapshot().read(2) == body(512, 2, "first")
        assert any("object logs/" in problem for problem in verify(reader).problems)


def test_a_fork_reads_it_where_it_is(stage):
    stage.load()
    stage.push([8])
    fork(stage.writer, "forked")
    forked = clone(
        stage.path / "forked", f"{stage.store.url}#forked", settings=small_settings(**SETTINGS), store=stage.store
    )
    stage.open.append(forked)
    assert content(forked.snapshot()) == content(stage.writer.snapshot())
    commit(forked, [9], "of the fork")
    push(forked)
    assert LAID_OUT_AT not in forked.view().state.chain[0].commit.attributes


def test_who_loses_leaves_no_object(stage):
    stage.load()
    other = stage.another("other")
    commit(stage.writer, range(1, PAGES + 1), "mine")

    def push_theirs(name):
        if name == "push: after segment":
            commit(other, [3], "theirs")
            with failpoint_hook(None):
                push(other)

    with failpoint_hook(push_theirs), pytest.raises(Diverged):
        push(stage.writer, layout=layout)
    assert len(segment_keys(stage.store)) == 1
    pull(stage.writer, policy="discard")
    assert stage.writer.snapshot().read(3) == body(512, 3, "theirs")


@pytest.mark.parametrize("point", [point for point in FAILPOINTS if point.startswith("push: ")])
def test_death_in_a_bulk_load(stage, point):
    commit(stage.writer, range(1, PAGES + 1), "first")
    was = content(stage.writer.snapshot())
    with dying_at(point), pytest.raises(Killed):
        push(stage.writer, layout=layout)
    kill(stage.writer)
    stage.open.remove(stage.writer)
    again = as_other_process(stage.path / "writer", stage.store, **SETTINGS)
    stage.open.append(again)
    push(again, layout=layout)
    assert len(commit_keys(stage.store)) == 1
    assert content(again.snapshot()) == was == content(stage.another("cold").snapshot())
    assert not verify(again).problems


def test_what_did_not_come_along_is_fetched_from_the_commit(stage, monkeypatch):
    """The index took more of the first read than was thought."""
    stage.load()
    newest = stage.writer.view().state.chain[0].commit
    monkeypatch.setattr(index_module, "HEAD_READ_BYTES", newest.inline_offset + 20)
    for to_read in (True, False):
        reader = stage.another(f"reader-{to_read}", to_read=to_read)
        assert first_frame(reader.view().state.chain).key == stage.key_of(1, reader)
        assert read_all(reader, INTERIOR) == [body(512, page, "first") for page in INTERIOR]
        assert reader.counts.snapshot().fetches == 1
        assert content(reader.snapshot()) == content(stage.writer.snapshot())
