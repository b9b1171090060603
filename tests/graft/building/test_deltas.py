"""Pushes of scattered changes whose commit holds deltas, and the readers of such commits."""

import random
import shutil

import pytest

from graft.building.segment_builder import ReadingOrder
from graft.errors import Corrupt
from graft.failpoints import FAILPOINTS
from graft.operations.compact import compact
from graft.operations.hydrate import hydrate
from graft.operations.status import audit, status
from graft.operations.verify import verify
from graft.replica.reclaim import reclaim
from graft.sync.clone import clone
from graft.sync.fork import fork
from graft.sync.history import made_safe
from graft.sync.pull import pull
from graft.sync.push import push
from graft.sync.time_travel import snapshot_at
from metastore import index as index_module
from metastore.placement import InCommit, OwnObject
from pagestore.stores.metered import MeteredStore
from pagestore.testing import FaultyStore
from tests.graft.support import (
    Killed,
    as_other_process,
    begin,
    commit_keys,
    content,
    dying_at,
    fast_directory,
    fresh_store,
    kill,
    leave,
    new_replica,
    noisy_body,
    segment_keys,
    small_settings,
)

PAGES = 320
FRAME_PAGES = 8
SIZE = 512
CHOSEN = {
    "codec": "zstd", "frame_bytes": FRAME_PAGES * SIZE, "inline_bytes_max": 4096, "one_frame_bytes_max": 65536,
    "cache_bytes_max": 1 << 24, "cache_file_bytes": 1 << 20, "fetch_gap_bytes_max": 0,
}  # fmt: skip
SCATTERED = [1, *range(3, PAGES, 10)]
"""33 pages in 32 frames: 16 KB as they are."""


def noisy(page, tag):
    return noisy_body(SIZE, page, tag)


def write(replica, pages, tag):
    with begin(replica) as transaction:
        for page in pages:
            transaction.write(page, noisy(page, tag))
        return transaction.commit()


def expected(**tags):
    """The content after the first version, pages of ``SCATTERED`` or others as tagged."""
    return b"".join(noisy(page, tags.get(f"p{page}", "first")) for page in range(1, PAGES + 1))


class Stage:
    """A volume in a segment of its own, with its writer and readers."""

    def __init__(self, path, **settings):
        self.path, self.settings = path, CHOSEN | settings
        self.inner = FaultyStore(fresh_store())
        self.store = MeteredStore(self.inner)
        self.replica = new_replica(path / "writer", self.store, **self.settings)
        self._open = []
        write(self.replica, range(1, PAGES + 1), "first")
        push(self.replica)
        assert len(segment_keys(self.store)) == 1
        self._before = self.store.snapshot()

    def spent(self):
        now = self.store.snapshot()
        since, self._before = now - self._before, now
        return since

    def push(self, pages=SCATTERED, tag="second"):
        write(self.replica, pages, tag)
        self.spent()
        return push(self.replica)

    def clone(self, name="reader", **settings):
        made = clone(
            self.path / name, f"{self.store.url}#vol", store=self.store,
            settings=small_settings(**self.settings | settings),
        )  # fmt: skip
        self._open.append(made)
        return made

    def opened(self, name):
        made = as_other_process(self.path / name, self.store, **self.settings)
        self._open.append(made)
        return made

    def close(self):
        for replica in (*self._open, self.replica):
            leave(replica)


@pytest.fixture
def place():
    with fast_directory() as path:
        yield path


@pytest.fixture
def stage(place):
    made = Stage(place)
    yield made
    made.close()


SECOND = expected(**{f"p{page}": "second" for page in SCATTERED})


def homes(replica):
    """Where the newest version's pages are."""
    page_map = replica.view().remote_map
    table = page_map.table
    return {
        page: table.key((page_map.location(page) >> 16) & (2**46 - 1)).ref.home
        for page in range(1, page_map.page_count + 1)
    }


def in_commits(replica):
    return [page for page, home in homes(replica).items() if isinstance(home, InCommit)]


# what a push makes of it


def test_many_scattered_changes_are_one_small_request(stage):
    result = stage.push()
    spent = stage.spent()
    assert (spent.conditional_puts, spent.requests) == (1, 1)
    assert result.inline
    assert result.bytes <= 4096 < len(SCATTERED) * SIZE
    assert in_commits(stage.replica) == SCATTERED
    assert content(stage.replica.snapshot()) == SECOND
    assert stage.spent().requests == 0
    assert len(segment_keys(stage.store)) == 1
    (newest, _) = commit_keys(stage.store)
    assert b"graftseg\x03\x00" in stage.store.get(newest)


def test_what_fits_whole_goes_whole(stage):
    stage.push([3, 13, 23])
    newest = stage.store.get(commit_keys(stage.store)[0])
    assert b"graftseg\x01\x00" in newest
    assert all(noisy(page, "")[-100:] in newest for page in (3, 13, 23))


def test_page_1_and_pages_that_are_new_go_whole(stage):
    reader = stage.clone()
    assert stage.push([*SCATTERED[:24], PAGES + 1]).inline
    pull(reader)
    stage.spent()
    for page in (1, PAGES + 1):
        assert reader.snapshot().read(page) == noisy(page, "second")
    assert stage.spent().requests == 0, "they came with the commit"
    assert reader.snapshot().read(3) == noisy(3, "second")
    assert stage.spent().requests == 2


def test_pages_of_one_frame_share_one(stage):
    pages = [page for page in range(2, PAGES // 2) if page % FRAME_PAGES < 3]
    result = stage.push(pages)
    assert result.inline
    assert content(stage.clone().snapshot()) == expected(**{f"p{page}": "second" for page in pages})


def test_what_does_not_fit_with_differences_either_goes_as_ever(stage):
    with begin(stage.replica) as transaction:
        for page in SCATTERED:
            transaction.write(page, random.Random(-page).randbytes(SIZE))
        transaction.commit()
    stage.spent()
    assert not push(stage.replica).inline
    assert stage.spent().requests == 2
    assert len(segment_keys(stage.store)) == 2


@pytest.mark.parametrize("codec", ["raw", "lz4"])
def test_other_codecs_make_no_differences(place, codec):
    stage = Stage(place, codec=codec)
    assert not stage.push().inline
    stage.close()


def test_pages_that_are_not_here_are_not_fetched_for_it(place):
    stage = Stage(place)
    writer = stage.clone("other")
    made_safe(writer)  # else its first push asks whether conditions are honoured
    stage.spent()
    write(writer, SCATTERED, "second")
    assert not push(writer).inline
    assert (stage.spent().range_gets, len(segment_keys(stage.store))) == (0, 2)
    stage.close()


def test_no_difference_is_made_to_a_difference(stage):
    stage.push()
    assert not stage.push(tag="third").inline, "these pages lie in a commit now"
    assert set(homes(stage.replica).values()) == {OwnObject()}
    assert stage.push(tag="fourth").inline, "and again in a segment of their own"
    tags = {f"p{page}": "fourth" for page in SCATTERED}
    assert content(stage.replica.snapshot()) == expected(**tags)
    assert content(stage.clone().snapshot()) == expected(**tags)


def test_a_larger_push_that_fits_whole_goes_whole(place):
    stage = Stage(place, one_frame_bytes_max=0)
    with begin(stage.replica) as transaction:
        for page in SCATTERED:
            transaction.write(page, f"{page}".encode().ljust(SIZE, b"."))
        transaction.commit()
    assert push(stage.replica).inline
    assert b"graftseg\x01\x00" in stage.store.get(commit_keys(stage.store)[0])
    assert stage.push(range(4, PAGES, 10)).inline
    assert b"graftseg\x03\x00" in stage.store.get(commit_keys(stage.store)[0])
    stage.close()


def test_carrying_takes_them_whole(stage):
    pages = SCATTERED[1:]
    stage.push(pages)
    tags = {f"p{page}": "second" for page in pages}
    for lsn in range(3, 18):
        stage.push([2], f"t{lsn}")
    assert stage.replica.view().state.lsn == 17
    tags["p2"] = "t17"
    reader = stage.clone()
    assert {home.lsn for home in homes(reader).values() if isinstance(home, InCommit)} == {16, 17}
    assert content(reader.snapshot()) == content(stage.replica.snapshot()) == expected(**tags)


# who reads it


@pytest.fixture(params=["at once", "in part"])
def arrival(request, monkeypatch):
    """Whether the whole commit comes with the first request for it."""
    if request.param == "in part":
        monkeypatch.setattr(index_module, "HEAD_READ_BYTES", 3000)
    return request.param


def test_a_follower_that_has_the_pages_sees_the_changes_for_nothing(stage, arrival):
    reader = stage.clone()
    hydrate(reader)
    stage.push()
    stage.spent()
    pull(reader)
    assert stage.spent().requests == 3, "head, commit, and none above it, since this listing may be old"
    came = SCATTERED if arrival == "at once" else SCATTERED[:8]
    for page in came:
        assert reader.snapshot().read(page) == noisy(page, "second")
    assert stage.spent().requests == 0
    assert content(reader.snapshot()) == SECOND


def test_a_follower_that_lacks_them_fetches_them_when_it_reads(stage, arrival):
    reader = stage.clone()
    stage.push()
    stage.spent()
    pull(reader)
    assert stage.spent().requests == 3, "head, commit, and none above it, since this listing may be old"
    assert reader.snapshot().read(1) == noisy(1, "second")
    assert stage.spent().requests == 0, "the first page came whole"
    for _ in range(2):
        assert reader.snapshot().read(13) == noisy(13, "second")
    spent = stage.spent()
    assert (spent.range_gets, spent.requests) == (2, 2)
    for page in range(9, 17):
        reader.snapshot().read(page)
    assert stage.spent().requests == 0, "its neighbours came along"
    assert content(reader.snapshot()) == SECOND


def test_a_cold_reader(stage, arrival):
    stage.push()
    reader = stage.clone()
    stage.spent()
    reader.snapshot().read(43)
    assert stage.spent().requests == 2
    reader.snapshot().prefetch(SCATTERED)
    assert stage.spent().requests <= len(SCATTERED) + 1
    assert content(reader.snapshot()) == SECOND
    assert audit(reader).missing_pages == 0


def test_hydrating_reads_nothing_twice(stage):
    stage.push()
    reader = stage.clone()
    read = []
    honest = stage.store.get_range
    reader.remote.store.get_range = lambda key, start, length: (
        read.append((key, start, length)) or honest(key, start, length)
    )
    try:
        hydrate(reader)
    finally:
        del reader.remote.store.get_range
    reached = {}
    for key, start, length in sorted(read):
        assert start >= reached.get(key, 0)
        reached[key] = start + length
    stage.spent()
    assert content(reader.snapshot()) == SECOND
    assert stage.spent().requests == 0


def test_a_second_process_and_a_deleted_cache(stage):
    stage.push()
    reader = stage.clone()
    assert content(reader.snapshot()) == SECOND
    reader.bodies.flush()
    other = stage.opened("reader")
    stage.spent()
    assert content(other.snapshot()) == SECOND
    assert stage.spent().requests == 0
    shutil.rmtree(stage.path / "reader" / "cache")
    assert content(stage.opened("reader").snapshot()) == SECOND
    assert stage.spent().requests > 0


@pytest.mark.parametrize("cache", [8 * 1024, 64 * 1024])
def test_a_cache_too_small_for_the_bases(stage, cache):
    stage.push()
    reader = stage.clone(cache_bytes_max=cache, cache_file_bytes=4096)
    for _ in range(2):
        assert content(reader.snapshot()) == SECOND
    write(reader, [5], "mine")
    assert reader.snapshot().read(13) == noisy(13, "second")


def test_a_base_without_the_page_is_as_good_as_none(stage):
    """Both versions of the changed pages are let go of, the others of their frames stay."""
    stage.push()
    reader = stage.clone()
    hydrate(reader)
    stage.push(tag="third")
    pull(reader)
    hydrate(reader)
    assert reclaim(reader)
    assert reader.cache.use().pages < PAGES + len(SCATTERED)
    past = snapshot_at(reader, 2)
    stage.spent()
    assert content(past) == SECOND
    assert stage.spent().requests > 0
    assert content(reader.snapshot()) == expected(**{f"p{page}": "third" for page in SCATTERED})


def test_time_travel(stage):
    stage.push()
    stage.push(tag="third")
    reader = stage.clone()
    for lsn, tag in ((2, "second"), (1, "first"), (3, "third")):
        assert content(snapshot_at(reader, lsn)) == expected(**{f"p{page}": tag for page in SCATTERED})


def test_a_fork_of_it_and_a_fork_that_is_made_with_it(stage):
    stage.push()
    fork(stage.replica, "copy")
    others = [page + 1 for page in SCATTERED]
    write(stage.replica, others, "local")
    fork(stage.replica, "with-local")
    third = {f"p{page}": "second" for page in SCATTERED} | {f"p{page}": "local" for page in others}
    for name, wanted in (("copy", SECOND), ("with-local", expected(**third))):
        with clone(
            stage.path / name, f"{stage.store.url}#{name}", settings=small_settings(**CHOSEN), store=stage.store
        ) as forked:
            assert content(forked.snapshot()) == wanted
            assert not verify(forked).problems
    assert len(segment_keys(stage.store)) == 1


def test_a_compaction_makes_whole_pages_of_it(stage):
    stage.push()
    reader = stage.clone()
    hydrate(reader)
    compact(stage.replica, layout=lambda _: ReadingOrder())
    assert in_commits(stage.replica) == []
    pull(reader)
    stage.spent()
    assert content(reader.snapshot()) == content(stage.clone("cold").snapshot()) == SECOND
    assert stage.push(tag="third").inline
    pull(reader)
    assert content(reader.snapshot()) == expected(**{f"p{page}": "third" for page in SCATTERED})


def test_compacting_what_is_scattered(stage):
    stage.push()
    compact(stage.replica, scattered_only=True)
    assert set(homes(stage.replica).values()) == {OwnObject()}
    assert content(stage.clone().snapshot()) == SECOND


# what goes wrong


def damaged(stage, key, at):
    data = bytearray(stage.store.get(key))
    data[at] ^= 1
    stage.inner.inner.delete(key)
    stage.inner.inner.put(key, bytes(data))


def test_verify_reads_the_bases_from_the_remote(stage):
    stage.push()
    assert not verify(stage.replica).problems
    (key,) = segment_keys(stage.store)
    page = stage.store.get(key).index(noisy(14, "first")[-100:])
    damaged(stage, key, page + 50)
    problems = verify(stage.replica).problems
    (newest, _) = commit_keys(stage.store)
    assert len(problems) == 2, "the frame itself and the one of differences to it"
    assert all(key in problem for problem in problems)
    assert [newest in problem for problem in problems].count(True) == 1
    reader = stage.clone()
    with pytest.raises(Corrupt, match=key):
        reader.snapshot().read(13)
    assert reader.snapshot().read(23) == noisy(23, "second")


def test_verify_finds_damaged_differences(stage, monkeypatch):
    monkeypatch.setattr(index_module, "HEAD_READ_BYTES", 2000)  # else the commit is found to be damaged
    stage.push()
    (newest, _) = commit_keys(stage.store)
    at = stage.store.get(newest).index(b"43/second")
    reader = stage.clone()
    damaged(stage, newest, at)
    for replica in (stage.replica, reader):
        (problem,) = verify(replica).problems
        assert newest in problem
        assert segment_keys(stage.store)[0] in problem
    with pytest.raises(Corrupt, match=newest):
        reader.snapshot().read(43)
    assert reader.snapshot().read(53) == noisy(53, "second")


def test_a_base_that_is_gone(stage):
    stage.push()
    (key,) = segment_keys(stage.store)
    (newest, _) = commit_keys(stage.store)
    reader = stage.clone()
    stage.store.delete(key)
    with pytest.raises(Corrupt, match=f"{key} does not exist.*{newest}"):
        reader.snapshot().read(13)
    assert any(newest in problem for problem in verify(reader).problems)
    assert content(stage.replica.snapshot()) == SECOND, "who has it all misses nothing"


@pytest.mark.parametrize("point", [point for point in FAILPOINTS if point.startswith(("push", "cache"))])
def test_dying_in_such_a_push(stage, point):
    write(stage.replica, SCATTERED, "second")
    with dying_at(point):
        try:
            push(stage.replica)
            died = False
        except Killed:
            died = True
    kill(stage.replica)
    stage.replica = as_other_process(stage.path / "writer", stage.store, **CHOSEN)
    assert content(stage.replica.snapshot()) == SECOND
    push(stage.replica)
    assert not status(stage.replica).push_open
    assert content(stage.clone().snapshot()) == content(stage.replica.snapshot()) == SECOND
    assert stage.replica.view().state.lsn == 2
    assert died or point.startswith("cache")


def test_a_push_that_lost_leaves_nothing(stage):
    other = stage.clone("other")
    hydrate(other)
    stage.push()
    write(other, SCATTERED, "theirs")
    pull(other, policy="fork", fork_name="theirs")
    assert content(other.snapshot()) == SECOND
    assert len(segment_keys(stage.store)) == 1
    with clone(
        stage.path / "theirs", f"{stage.store.url}#theirs", settings=small_settings(**CHOSEN), store=stage.store
    ) as forked:
        assert content(forked.snapshot()) == expected(**{f"p{page}": "theirs" for page in SCATTERED})


def test_who_comes_to_a_commit_again_reads_all_of_its_differences(stage):
    sets = [range(first, PAGES, 12) for first in (2, 4, 6, 8)]
    for pages in sets:
        assert stage.push(pages).inline
    reader = stage.clone()
    stage.spent()
    for page in sorted(page for pages in sets for page in pages):
        assert reader.snapshot().read(page) == noisy(page, "second")
    assert stage.spent().requests <= 2 * len(sets) + PAGES // FRAME_PAGES
