"""Compaction: the same content in fewer frames for cold readers; other readers notice nothing."""

import random

import numpy as np
import pytest

from graft.building.fragmentation import fragmentation
from graft.building.segment_builder import ReadingOrder
from graft.errors import BadRequest, Corrupt, Diverged, RemoteUnavailable
from graft.failpoints import FAILPOINTS
from graft.operations.compact import compact
from graft.operations.hydrate import hydrate
from graft.operations.log import log_entries
from graft.operations.status import audit, status
from graft.operations.verify import verify
from graft.sync.clone import clone
from graft.sync.pull import pull
from graft.sync.push import push
from graft.sync.time_travel import snapshot_at
from pagestore.stores.metered import MeteredStore
from pagestore.testing import FaultyStore, lost_after, lost_before
from tests.graft.support import (
    Killed,
    as_other_process,
    body,
    commit,
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
PUSH_POINTS = FAILPOINTS[FAILPOINTS.index("push: after intent") : FAILPOINTS.index("push: after journal deletion") + 1]
# Nothing is carried: what a thousand pushes leave, sixty do here.
SETTINGS = {
    "cache_bytes_max": 1 << 22,
    "cache_file_bytes": 1 << 20,
    "fetch_gap_bytes_max": 0,
    "consolidation_bytes_max": 0,
}


@pytest.fixture
def tmp_path():
    with fast_directory() as path:
        yield path


class Stage:
    """A volume that sixty pushes of scattered pages took apart, and two replicas of it."""

    def __init__(self, path):
        self.path = path
        self.store = FaultyStore(fresh_store())
        self.metered = MeteredStore(self.store)
        self.writer = new_replica(path / "writer", self.store, **SETTINGS)
        chance = random.Random(3)
        commit(self.writer, range(1, PAGES + 1), "first", page_count=PAGES)
        push(self.writer)
        for number in range(60):
            commit(self.writer, chance.sample(range(1, PAGES + 1), 4), number)
            push(self.writer)
        self.lsn = self.writer.snapshot().lsn
        self.before = content(self.writer.snapshot())
        self.open = [self.writer]
        self.reader = self.another("reader")

    def another(self, name, **chosen):
        replica = clone(
            self.path / name, f"{self.store.url}#vol", settings=small_settings(**SETTINGS | chosen), store=self.metered
        )
        self.open.append(replica)
        return replica

    def spent(self, action):
        """Return what an action asked of the store through the replicas that `another` made."""
        before = self.metered.snapshot()
        action()
        return self.metered.snapshot() - before


@pytest.fixture
def stage(tmp_path):
    made = Stage(tmp_path)
    yield made
    for replica in made.open:
        leave(replica)


def test_the_content_is_the_same_in_few_frames(stage):
    done = compact(stage.writer)
    assert (done.before, done.after, done.pages) == (stage.lsn, stage.lsn + 1, PAGES)
    assert done.frames_before > 100
    assert done.segments_before > 30
    assert done.frames_after == -(-PAGES // 8)
    assert done.segments_after == 1
    assert content(stage.writer.snapshot()) == stage.before
    assert not verify(stage.writer).problems
    assert status(stage.writer).segments == 1
    newest = next(log_entries(stage.writer))
    assert (newest.kind, newest.base, newest.changed_pages) == ("compact", True, PAGES)


def test_a_cold_reader_needs_a_few_requests(stage):
    scattered = stage.spent(lambda: content(stage.another("before").snapshot())).requests
    compact(stage.writer)
    reader = stage.another("after")
    spent = stage.spent(lambda: hydrate(reader))
    assert (spent.requests, content(reader.snapshot())) == (1, stage.before)
    assert scattered > 100


def test_twice_is_once(stage):
    compact(stage.writer)
    again = compact(stage.writer)
    assert (again.before, again.after, again.pages) == (stage.lsn + 1, stage.lsn + 1, 0)
    commit(stage.writer, [7], "seventh")
    push(stage.writer)
    assert compact(stage.writer).after == stage.lsn + 3


def test_only_what_is_scattered(stage):
    before = audit(stage.writer)
    assert before.frames > 2 * before.frames_needed
    done = compact(stage.writer, scattered_only=True)
    assert 0 < done.pages < PAGES
    assert done.frames_after < 0.7 * done.frames_before
    assert content(stage.writer.snapshot()) == stage.before
    again = compact(stage.writer, scattered_only=True)
    assert again.after == done.after
    assert content(stage.another("cold").snapshot()) == stage.before


def test_old_versions_stay(stage):
    past = {lsn: content(snapshot_at(stage.writer, lsn)) for lsn in (1, 7, 30, stage.lsn)}
    compact(stage.writer)
    cold = stage.another("cold")
    for lsn, was in past.items():
        assert content(snapshot_at(stage.writer, lsn)) == was
        assert content(snapshot_at(cold, lsn)) == was
    assert content(snapshot_at(cold, stage.lsn + 1)) == stage.before


def test_the_order_is_kept(stage):
    interior, leaves = [9, 3, 300], [*range(PAGES, 0, -1)]
    compact(stage.writer, layout=lambda _: ReadingOrder(interior, leaves))
    newest = {ref.segment for ref in stage.writer.view().state.chain[0].commit.segments}
    page_map = stage.writer.view().remote_map
    table = page_map.table

    def place(page):
        key = table.key((page_map.location(page) >> 16) & ((1 << 46) - 1))
        assert key.ref.segment in newest
        return key.ref.segment, key.offset

    assert len({place(page) for page in interior}) == 1
    (above, _), (below, last), (_, middle), (_, first) = map(place, (9, 1, 200, PAGES))
    assert newest == {above, below}, "the entry frame is in the commit"
    assert first < middle < last
    assert content(stage.writer.snapshot()) == stage.before


def test_a_raw_volume_whose_size_is_no_whole_number_of_pages(tmp_path):
    store = fresh_store()
    replica = new_replica(tmp_path / "raw", store, **SETTINGS)
    for number in range(20):
        with replica.begin(replica.snapshot()) as transaction:
            transaction.write(number + 1, body(512, number + 1, number))
            transaction.resize(number * 512 + 100)
            transaction.commit()
        push(replica)
    was, size = content(replica.snapshot()), replica.snapshot().byte_size
    assert size % 512
    assert compact(replica).frames_after == 3
    assert (content(replica.snapshot()), replica.snapshot().byte_size) == (was, size)
    leave(replica)


def test_pages_that_were_never_written_stay_without_a_body(tmp_path):
    store = fresh_store()
    replica = new_replica(tmp_path / "sparse", store, **SETTINGS)
    for page in (3, 5000, 9000):
        commit(replica, [page], page)
        push(replica)
    done = compact(replica)
    assert (done.pages, done.frames_after) == (3, 1)
    assert audit(replica).live_pages == 3
    assert replica.snapshot().read(5000) == body(512, 5000, 5000)
    assert replica.snapshot().read(4999) == bytes(512)
    leave(replica)


def test_nothing_to_compact(tmp_path):
    replica = new_replica(tmp_path / "new", fresh_store(), **SETTINGS)
    assert compact(replica).after == 0
    commit(replica, [1], "first")
    push(replica)
    assert compact(replica).after == 1
    leave(replica)


def test_local_commits_must_be_pushed_first(stage):
    commit(stage.writer, [3], "mine")
    with pytest.raises(BadRequest, match="push them first"):
        compact(stage.writer)
    push(stage.writer)
    assert compact(stage.writer).after == stage.lsn + 2


def test_a_replica_that_is_behind_must_pull_first(stage):
    commit(stage.writer, [3], "theirs")
    push(stage.writer)
    with pytest.raises(BadRequest, match="pull first"):
        compact(stage.reader)
    pull(stage.reader)
    assert compact(stage.reader).after == stage.lsn + 2


def test_who_loses_to_a_push_has_lost_nothing(stage):
    def push_theirs(name):
        if name == "compact: after check":
            commit(stage.reader, [3], "theirs")
            push(stage.reader)

    segments = len(segment_keys(stage.store))
    with failpoint_hook(push_theirs), pytest.raises(Diverged, match="pull, and compact again"):
        compact(stage.writer)
    assert content(stage.writer.snapshot()) == stage.before
    assert not status(stage.writer).push_open
    assert len(segment_keys(stage.store)) == segments, "what was uploaded is deleted"
    pull(stage.writer)
    assert compact(stage.writer).after == stage.lsn + 2
    assert stage.writer.snapshot().read(3) == body(512, 3, "theirs")


def test_local_commits_that_are_made_meanwhile_go_on_top(stage):
    def write(name):
        if name == "compact: after check":
            commit(stage.writer, [3, PAGES + 1], "meanwhile")

    with failpoint_hook(write):
        compact(stage.writer)
    snapshot = stage.writer.snapshot()
    assert snapshot.local_commits == 1
    assert snapshot.read(3) == body(512, 3, "meanwhile")
    push(stage.writer)
    assert content(stage.another("cold").snapshot()) == content(stage.writer.snapshot())


def test_an_open_snapshot_and_transaction_go_on(stage):
    old = stage.writer.snapshot()
    version = old.content_version
    with stage.writer.begin(old) as transaction:
        transaction.write(5, body(512, 5, "open"))
        compact(stage.writer)
        assert content(old) == stage.before
        assert stage.writer.snapshot().content_version == version, "connections keep their page caches"
        transaction.commit()
    assert stage.writer.snapshot().read(5) == body(512, 5, "open")


class TestReadersKeepWhatTheyCached:
    def test_at_the_version_that_was_compacted(self, stage):
        hydrate(stage.reader)
        compact(stage.writer)
        spent = stage.spent(lambda: pull(stage.reader))
        assert spent.requests <= 3, "head, commit, and none above it, since the listing may be old"
        assert stage.spent(lambda: content(stage.reader.snapshot())).requests == 0
        assert content(stage.reader.snapshot()) == stage.before

    def test_from_behind(self, stage):
        hydrate(stage.reader)
        commit(stage.writer, [8], "eighth")
        push(stage.writer)
        compact(stage.writer)
        commit(stage.writer, [16], "sixteenth")
        push(stage.writer)
        pull(stage.reader)
        spent = stage.spent(lambda: content(stage.reader.snapshot()))
        assert spent.requests <= 1, "the frame of page 8; page 16 came with its commit"
        assert content(stage.reader.snapshot()) == content(stage.writer.snapshot())

    def test_what_is_not_here_is_fetched(self, stage):
        stage.reader.snapshot().prefetch(range(1, 100))
        compact(stage.writer)
        pull(stage.reader)
        assert content(stage.reader.snapshot()) == stage.before

    def test_after_opening_again(self, stage):
        hydrate(stage.reader)
        stage.open.remove(stage.reader)
        leave(stage.reader)
        compact(stage.writer)
        again = as_other_process(stage.path / "reader", stage.metered, **SETTINGS)
        stage.open.append(again)
        pull(again)
        assert stage.spent(lambda: content(again.snapshot())).requests == 0
        assert content(again.snapshot()) == stage.before

    def test_only_the_scattered_part(self, stage):
        hydrate(stage.reader)
        compact(stage.writer, scattered_only=True)
        pull(stage.reader)
        assert stage.spent(lambda: content(stage.reader.snapshot())).requests == 0
        assert content(stage.reader.snapshot()) == stage.before

    def test_an_empty_cache_costs_nothing(self, stage):
        cold = clone(
            stage.path / "cold", f"{stage.store.url}#vol", settings=small_settings(**SETTINGS), store=stage.store
        )
        stage.open.append(cold)
        compact(stage.writer)
        pull(cold)
        assert content(cold.snapshot()) == stage.before


class TestWhatComesBackIsCompared:
    def damaged(self, stage, change):
        """Change the segment after it was uploaded, and compact."""

        def hook(name):
            if name == "compact: after segment":
                key = max(segment_keys(stage.store))
                data = bytearray(stage.store.inner.get(key))
                stage.store.inner.delete(key)
                stage.store.inner.put(key, change(data))

        with failpoint_hook(hook):
            compact(stage.writer)

    def test_a_flipped_bit(self, stage):
        stage.writer.settings = small_settings(**SETTINGS, inline_bytes_max=0)

        def flipped(data):
            data[200] ^= 1
            return bytes(data)

        with pytest.raises(Corrupt):
            self.damaged(stage, flipped)
        assert stage.writer.snapshot().lsn == stage.lsn
        assert content(stage.another("cold").snapshot()) == stage.before

    def test_a_page_that_was_not_there_when_it_was_read(self, stage, monkeypatch):
        stage.writer.settings = small_settings(**SETTINGS, inline_bytes_max=0)
        from graft.building import segment_builder as segment_out

        honest = segment_out.encode_frame

        def wrong(segment, page_size, pages, bodies, codec, **options):
            return honest(segment, page_size, pages, [bytes(page_size) for _ in bodies], codec, **options)

        monkeypatch.setattr(segment_out, "encode_frame", wrong)
        with pytest.raises(Corrupt, match="as something else"):
            compact(stage.writer)
        assert stage.writer.snapshot().lsn == stage.lsn


def test_a_lost_reply_is_settled(stage):
    stage.store.fail_next("put_if_absent", lost_after)
    assert compact(stage.writer).after == stage.lsn + 1
    stage.store.fail_next("put_if_absent", lost_after, key_part="commits")
    stage.store.fail_next("get_range", lost_before, key_part="commits")
    commit(stage.writer, [3], "third")
    with pytest.raises(RemoteUnavailable):
        push(stage.writer)
    assert compact(stage.writer).after == stage.lsn + 3, "the push that was open is settled first"


@pytest.mark.parametrize(
    "point", [point for point in FAILPOINTS if point.startswith("compact") or point in PUSH_POINTS]
)
@pytest.mark.parametrize("overtaken", [False, True])
def test_death_in_a_compaction(stage, point, overtaken):
    with dying_at(point), pytest.raises(Killed):
        compact(stage.writer)
    kill(stage.writer)
    stage.open.remove(stage.writer)
    landed = next(log_entries(stage.reader)).kind == "compact"
    theirs = stage.before
    if overtaken:
        pull(stage.reader)
        commit(stage.reader, [3], "theirs")
        push(stage.reader)
        theirs = content(stage.reader.snapshot())
    again = as_other_process(stage.path / "writer", stage.store, **SETTINGS)
    stage.open.append(again)
    assert content(again.snapshot()) == stage.before
    pull(again)
    assert not status(again).push_open
    assert content(again.snapshot()) == theirs
    done = compact(again)
    assert content(again.snapshot()) == theirs
    kinds = [entry.kind for entry in log_entries(again)]
    assert kinds.count("compact") == 1 + (landed and overtaken)
    assert done.after == len(kinds)
    assert not verify(again).problems


def test_progress_goes_from_nothing_to_all(stage):
    told = []
    stage.writer.settings = small_settings(**SETTINGS, inline_bytes_max=0)
    compact(stage.writer, progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1] == (2 * PAGES, 2 * PAGES)


def test_memory_does_not_follow_the_volume(tmp_path):
    """A cache that holds a fraction of the volume is enough."""
    store = fresh_store()
    replica = new_replica(tmp_path / "a", store, page_size=4096, inline_bytes_max=0)
    noise = np.random.default_rng(1)
    for start in range(1, 800, 40):
        with replica.begin(replica.snapshot()) as transaction:
            for page in range(start, start + 40):
                transaction.write(page, noise.bytes(4096))
            transaction.commit()
        push(replica)
    was = content(replica.snapshot())
    assert replica.settings.cache_bytes_max < len(was) / 50
    done = compact(replica)
    assert done.pages == 800
    assert content(replica.snapshot()) == was
    assert replica.cache.use().bytes <= replica.settings.cache_bytes_max
    assert fragmentation(replica.snapshot(), replica.settings.frame_bytes).segments == 1
    leave(replica)
