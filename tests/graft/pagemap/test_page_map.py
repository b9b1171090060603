"""The page map against the naive model of a volume: composed cold, pulled on, or kept up by the writer."""

import itertools
import random
import threading
from typing import NamedTuple

import numpy as np
import pytest

from graft.errors import Corrupt
from graft.pagemap import chunks as mapchunks
from graft.pagemap.chunks import MapChunk
from graft.pagemap.frame_table import FrameTable
from graft.pagemap.locations import FRAME_TAG, JOURNAL_TAG, SLOT_MASK, frame_of, in_journal
from graft.pagemap.page_map import PageMap, compose
from metastore import index as metastore_index
from metastore.errors import CommitMissing
from metastore.index import CommitIndex, load_chunks, read_chain
from metastore.lsn import LSN
from metastore.placement import OwnObject, SegmentRef
from metastore.testing import CountingCommitLog, MemoryCommitLog
from pagestore.ids import SegmentId
from pagestore.parallel import Parallel
from tests.metastore.volume_model import (
    CHUNK,
    CUTS,
    LOG,
    PAGE_POOL,
    SIZE_POOL,
    ModelVolume,
    Place,
    Push,
    Step,
    cut_and_regrown,
    growing_push,
    random_push,
    written_volume,
)

SERIAL = Parallel(1)
MAKERS = [(random_push, 11), (random_push, 12), (growing_push, 13)]


@pytest.fixture(scope="module", params=MAKERS, ids=["cutting", "cutting too", "growing"])
def volume(request):
    make, seed = request.param
    return written_volume(MemoryCommitLog(), SERIAL, seed, 100, make=make)


@pytest.fixture
def head_read_bytes(monkeypatch):
    """So few bytes that a head arrives whole with the second request, and no chunk does."""
    monkeypatch.setattr(metastore_index, "HEAD_READ_BYTES", 180)


def loader(commits):
    return lambda wanted: load_chunks(commits, SERIAL, wanted)


def composed(volume, lsn, *, table=None, previous=None, commits=None):
    commits = commits or volume.commits
    sources = read_chain(commits, SERIAL, LOG, lsn)
    return compose(table or FrameTable(), sources, loader(commits), previous)


def place_at(page_map, page):
    location = page_map.location(page)
    if location == 0:
        return None
    assert location & FRAME_TAG
    assert not location & JOURNAL_TAG
    key = page_map.table.key(frame_of(location))
    return Place(key.ref.segment, key.offset, location & SLOT_MASK)


def assert_same(page_map, version):
    assert page_map.page_count == version.page_count
    assert (page_map.live_pages, page_map.fingerprint) == (version.live_pages, version.fingerprint)
    assert len(page_map.chunks) == -(-version.page_count // CHUNK)
    for page in PAGE_POOL:
        assert place_at(page_map, page) == version.places.get(page), f"page {page}"
    for number, chunk in enumerate(page_map.chunks):
        lows = {page - number * CHUNK - 1 for page in version.places if (page - 1) // CHUNK == number}
        assert set(np.flatnonzero(chunk.locations()).tolist()) == lows, "no page that the model does not have"
        assert page_map.chunk_fingerprint(number) == version.chunk_fingerprint(number)


def test_every_lsn_composes_to_what_it_was(volume):
    for lsn in range(1, volume.head + 1):
        assert_same(composed(volume, LSN(lsn)), volume.versions[lsn])


@pytest.mark.parametrize("regrown", [True, False])
@pytest.mark.parametrize("cut", CUTS)
def test_a_cut_at_any_place_composes(cut, regrown):
    volume = cut_and_regrown(MemoryCommitLog(), SERIAL, cut, regrown=regrown)
    for lsn in range(1, volume.head + 1):
        assert_same(composed(volume, LSN(lsn)), volume.versions[lsn])


def test_a_pull_from_any_lsn_to_any_gives_the_same_map(volume):
    table = FrameTable()
    lsns = range(1, volume.head + 1)
    pairs = random.Random(3).sample(list(itertools.combinations(lsns, 2)), 150)
    for older, newer in [*pairs, *itertools.pairwise(lsns)]:
        previous = composed(volume, LSN(older), table=table)
        for number in range(0, len(previous.chunks), 2):
            previous.chunks[number].locations()
        assert_same(composed(volume, LSN(newer), table=table, previous=previous), volume.versions[newer])
        assert_same(composed(volume, LSN(older), table=table, previous=previous), volume.versions[older])


def test_a_pull_keeps_the_chunks_that_did_not_change(volume):
    table = FrameTable()
    previous = composed(volume, LSN(1), table=table)
    kept = 0
    for lsn in range(2, volume.head + 1):
        for chunk in previous.chunks:
            chunk.locations()
        page_map = composed(volume, LSN(lsn), table=table, previous=previous)
        before, after = volume.versions[lsn - 1], volume.versions[lsn]
        for number, (old, new) in enumerate(zip(previous.chunks, page_map.chunks, strict=False)):
            if after.chunk_fingerprint(number) and after.chunk_fingerprint(number) == before.chunk_fingerprint(number):
                assert new is old
                kept += 1
        previous = page_map
    assert kept > 20


@pytest.mark.parametrize(("make", "seed"), MAKERS)
def test_the_writers_own_map_equals_the_composed_one(make, seed):
    table = FrameTable()
    maps = [PageMap.empty(table)]

    def follow(new, changes, version):
        segments = [segment.provisional for segment in changes.segments]
        grown = maps[-1].with_placements(changes.placements, segments, changes.page_count, changes.min_page_count)
        assert_same(grown, version)
        maps.append(grown)

    volume = written_volume(MemoryCommitLog(), SERIAL, seed, 80, make=make, check=follow)
    for lsn in range(1, volume.head + 1):
        assert_same(maps[lsn], volume.versions[lsn])  # later maps share chunks, and change none
        assert composed(volume, LSN(lsn)).fingerprint == maps[lsn].fingerprint


def test_a_writer_can_go_on_from_a_pulled_map(volume):
    for lsn in range(1, volume.head + 1, 7):
        for size in SIZE_POOL:
            pulled = composed(volume, LSN(lsn))
            kept = min(size, 20)
            resized = pulled.with_placements({}, [], size, kept)
            expected = {page: place for page, place in volume.versions[lsn].places.items() if page <= kept}
            assert {page: place_at(resized, page) for page in PAGE_POOL if place_at(resized, page)} == expected
            assert resized.live_pages == len(expected)


class Change(NamedTuple):
    pages: np.ndarray
    locations: np.ndarray
    page_count: int
    min_page_count: int

    @property
    def slot_count(self):
        return len(self.pages)

    def places(self):
        return zip(self.pages.tolist(), self.locations.tolist(), strict=True)


def change(places, page_count, min_page_count):
    pages, locations = np.array(list(places), np.int64), np.array(list(places.values()), np.uint64)
    return Change(pages, locations, page_count, min_page_count)


class TestLocalCommits:
    def test_pages_are_placed_and_cut(self, volume):
        remote = composed(volume, volume.head)
        version = volume.versions[-1]
        pages = np.array([2, 4096, 4097, 8193], np.int64)
        locations = np.array([in_journal(1, 100 * page) for page in pages.tolist()], np.uint64)
        local = remote.with_change(Change(pages, locations, 8200, 8200))
        for page in PAGE_POOL:
            if page in pages:
                assert local.location(page) == in_journal(1, 100 * page)
            else:
                assert place_at(local, page) == version.places.get(page)
        cut = local.with_change(change({5000: 7}, 9000, 4096))
        assert cut.location(4096) == local.location(4096)
        assert [cut.location(page) for page in (4097, 8193, 8200, 9000, 9001)] == [0] * 5
        assert cut.location(5000) == 7
        assert remote.location(5000) == 0, "the older map stays as it was"

    def test_many_pages_at_once(self, volume):
        remote = composed(volume, volume.head)
        pages = np.arange(2, 8190, 7, np.int64)
        local = remote.with_change(Change(pages, (pages * 10).astype(np.uint64), 9000, 9000))
        for page in (*pages.tolist(), 9000):
            assert local.location(page) == (10 * page if page != 9000 else 0)
        for page in set(PAGE_POOL) - set(pages.tolist()):
            assert place_at(local, page) == volume.versions[-1].places.get(page)

    def test_nothing_is_anywhere_in_an_empty_map_or_beyond_the_end(self):
        empty = PageMap.empty(FrameTable())
        assert [empty.location(page) for page in (0, 1, 4096, 2**32 - 2)] == [0] * 4
        grown = empty.with_change(change({3: 9}, 3, 0))
        assert [grown.location(page) for page in (0, 2, 3, 4, 5000)] == [0, 0, 9, 0, 0]

    def test_changing_two_maps_made_from_one_leaves_each_alone(self):
        base = PageMap.empty(FrameTable()).with_change(change({1: 1}, 5, 0))
        left = base.with_change(change({2: 2}, 5, 5))
        right = base.with_change(change({3: 3}, 5, 5))
        seen = [[each.location(page) for page in (1, 2, 3)] for each in (base, left, right)]
        assert seen == [[1, 0, 0], [1, 2, 0], [1, 0, 3]]

    @pytest.mark.parametrize("seed", range(8))
    def test_it_does_not_matter_who_is_read_when(self, seed):
        """Long runs of commits, cuts and branches among them, read in any order, some never."""
        luck = random.Random(seed)
        made = [(PageMap.empty(FrameTable()), 0, {})]
        for at in range(1, 400):
            old, old_count, old_places = made[-1] if luck.random() < 0.95 else luck.choice(made)
            count = luck.choice((old_count, old_count, old_count + luck.randrange(3000), luck.randrange(9000)))
            kept = luck.choice((old_count, old_count, min(old_count, count), luck.randrange(old_count + 1)))
            pages = luck.sample(range(1, count + 1), min(count, luck.choice((1, 2, 2, 30))))
            places = {page: place for page, place in old_places.items() if page <= min(kept, count)}
            places.update((page, at << 16 | page) for page in pages)
            placed = {page: places[page] for page in pages}
            made.append((old.with_change(change(placed, count, kept)), count, places))
            if luck.random() < 0.05:
                assert_places(*luck.choice(made))
        for version in luck.sample(made, 60):
            assert_places(*version)

    def test_a_run_of_commits_that_nobody_reads_copies_few_chunks(self, monkeypatch):
        copies = []
        monkeypatch.setattr(mapchunks, "copied", lambda locations: copies.append(1) or locations.copy())
        version = PageMap.empty(FrameTable())
        for at in range(1, 641):
            version = version.with_change(change({1: at, 5000: at}, 5000, 5000))
        assert version.location(5000) == 640
        assert len(copies) <= 2 * 640 // 64 + 2


def assert_places(page_map, count, places):
    assert len(page_map.chunks) == -(-count // CHUNK)
    found = {
        number * CHUNK + index + 1: location
        for number, chunk in enumerate(page_map.chunks)
        for index, location in enumerate(chunk.locations().tolist())
        if location
    }
    assert found == places


class TestLargeIndexes:
    """An index that does not come with the head is read chunk by chunk, when a page is asked for."""

    @pytest.fixture
    def log(self, volume, head_read_bytes):
        return CountingCommitLog(volume.commits)

    def test_composes_the_same(self, volume, log):
        for lsn in range(1, volume.head + 1):
            assert_same(composed(volume, LSN(lsn), commits=log), volume.versions[lsn])

    def test_opening_reads_heads_alone_and_a_page_reads_its_chunk_alone(self, volume, log):
        for lsn in range(1, volume.head + 1):
            sources = read_chain(log, SERIAL, LOG, LSN(lsn))
            assert not any(source.chunks for source in sources)
            log.taken()
            page_map = compose(FrameTable(), sources, loader(log), None)
            assert log.taken() == []
            for page in (1, 4097, 8193):
                number = (page - 1) // CHUNK
                expected = [source.commit.lsn for source in sources if source.mentions(number)]
                assert place_at(page_map, page) == volume.versions[lsn].places.get(page)
                read = [asked for asked, _, _ in log.taken()]
                assert read == (expected if page_map.page_count > number * CHUNK else [])
                page_map.location(page)
                assert log.taken() == []

    def test_chunks_side_by_side_are_read_together(self, volume, log):
        for lsn in range(1, volume.head + 1):
            source = read_chain(log, SERIAL, LOG, LSN(lsn))[-1]
            if not source.commit.directory:
                continue
            log.taken()
            load_chunks(log, SERIAL, [(source, entry.number) for entry in source.commit.directory] * 2)
            first, last = source.commit.directory[0], source.commit.directory[-1]
            base = source.commit.lsn
            assert log.taken() == [(base, first.offset, last.offset + last.length - first.offset)]
            load_chunks(log, SERIAL, [(source, entry.number) for entry in source.commit.directory])
            assert log.taken() == []

    def test_chunks_apart_are_read_apart(self, volume, log):
        (source,) = read_chain(log, SERIAL, LOG, LSN(1))
        first, _, last = source.commit.directory
        log.taken()
        load_chunks(log, SERIAL, [(source, 2), (source, 0), (source, 99)])
        assert log.taken() == [(1, first.offset, first.length), (1, last.offset, last.length)]

    def test_a_writer_reads_what_its_roll_up_needs(self, volume, log):
        copy = ModelVolume(CountingCommitLog(MemoryCommitLog(dict(volume.commits.objects))), SERIAL, seed=99)
        copy.versions = list(volume.versions)
        for number in range(20):
            copy.push(Push((Step(8200, frozenset({number + 1})),)))
            assert_same(composed(copy, copy.head), copy.versions[-1])

    def test_a_changed_chunk_is_refused(self, volume, log):
        sources = read_chain(log, SERIAL, LOG, LSN(1))
        entry = sources[0].commit.directory[0]
        data = bytearray(volume.commits.objects[LOG, LSN(1)])
        data[entry.offset + 9] ^= 1
        tampered = MemoryCommitLog({(LOG, LSN(1)): bytes(data)})
        page_map = compose(FrameTable(), sources, loader(tampered), None)
        with pytest.raises(metastore_index.CorruptCommit, match="chunk 0 does not match its digest"):
            page_map.location(1)
        sources[0].add_chunk(0, volume.commits.objects[LOG, LSN(1)][entry.offset : entry.offset + entry.length])
        assert place_at(page_map, 1) == volume.versions[1].places[1], "the failure is not for ever"


class TestRewrittenHistory:
    """A commit object is replaced by another one that is valid in itself."""

    def volume(self, seed, odd=frozenset({2})):
        volume = ModelVolume(MemoryCommitLog(), SERIAL, seed)
        volume.push(Push((Step(8200, frozenset(PAGE_POOL)),)))
        for number in range(2, 13):
            volume.push(Push((Step(8200, odd if number == 10 else frozenset({number, 4100})),)))
        return volume

    @pytest.mark.parametrize("lsn", [8, 10, 12])
    def test_is_found_out(self, lsn):
        mine, other = self.volume(1), self.volume(2)
        mine.push(Push((Step(8200, frozenset({20})),)))
        mine.commits.objects[LOG, LSN(lsn)] = other.commits.objects[LOG, LSN(lsn)]
        if lsn == 10:  # rolled up by now: nobody reads it on the way to the head
            assert_same(composed(mine, LSN(13)), mine.versions[13])
            return
        with pytest.raises((Corrupt, metastore_index.CorruptCommit)):
            for number in range(3):
                composed(mine, LSN(13)).location(number * CHUNK + 1)

    def test_fails_the_sum_of_the_chunks(self):
        mine, other = self.volume(1), self.volume(2)
        mine.push(Push((Step(8200, frozenset({20})),)))
        mine.push(Push((Step(8200, frozenset({20})),)))
        mine.push(Push((Step(8200, frozenset({20})),)))
        mine.commits.objects[LOG, LSN(8)] = other.commits.objects[LOG, LSN(8)]
        with pytest.raises(Corrupt, match=r"indexes of commits \[15, 14, 12, 8\] do not add up .* commit 15 claims"):
            composed(mine, LSN(15))

    def test_fails_the_chunks_own_fingerprint(self):
        # All three chunks are mentioned above the rewritten commit, so that the sum alone is right.
        touching = Push((Step(8200, frozenset({1, 4097, 8193})),))
        volumes = [self.volume(1), self.volume(2)]
        for volume in volumes:
            for _ in range(3):
                volume.push(touching)
        mine, other = volumes
        mine.commits.objects[LOG, LSN(8)] = other.commits.objects[LOG, LSN(8)]
        page_map = composed(mine, LSN(15))
        with pytest.raises(Corrupt, match="chunk 0 of the page map of commit 15 fails its fingerprint"):
            page_map.location(5)

    def test_a_missing_commit_is_told(self, volume):
        copy = MemoryCommitLog(dict(volume.commits.objects))
        lsn = read_chain(copy, SERIAL, LOG, LSN(99))[-1].commit.lsn
        del copy.objects[LOG, lsn]
        with pytest.raises(CommitMissing, match=f"commit {lsn} "):
            composed(volume, LSN(99), commits=copy)


class TestMapChunk:
    def test_is_built_once_by_many_threads(self):
        calls, gate = [], threading.Barrier(8)

        def build():
            calls.append(1)
            return np.arange(CHUNK, dtype=np.uint64)

        page_map = PageMap(FrameTable(), CHUNK, [MapChunk(0, build=build)], 0, 0)
        seen = []

        def read():
            gate.wait()
            seen.append(page_map.location(8))

        threads = [threading.Thread(target=read) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == [7] * 8
        assert len(calls) == 1

    def test_a_chunk_with_locations_always_has_its_view(self, monkeypatch):
        """Another thread sees the locations the moment they are set; the view must be there by then."""
        published = []

        class Watched(MapChunk):
            __slots__ = ()

            def __setattr__(self, name, value):
                if name == "_locations" and value is not None:
                    published.append(self.view is not None)
                super().__setattr__(name, value)

        Watched(0, build=lambda: np.zeros(CHUNK, np.uint64)).locations()
        assert published == [True]

    def test_tries_again_after_a_failure(self):
        answers = iter([OSError("no network"), np.full(CHUNK, 5, np.uint64)])

        def build():
            answer = next(answers)
            if isinstance(answer, Exception):
                raise answer
            return answer

        chunk = MapChunk(0, build=build)
        with pytest.raises(OSError, match="no network"):
            chunk.locations()
        assert not chunk.built
        assert chunk.locations()[17] == 5
        assert chunk.built

    def test_locations_cannot_be_written_to(self):
        chunk = MapChunk(0, locations=np.zeros(CHUNK, np.uint64))
        with pytest.raises(ValueError, match="read-only"):
            chunk.locations()[0] = 1
        assert chunk.view is not None
        assert chunk.view.readonly
        assert (chunk.view.format, chunk.view.nbytes) == ("Q", CHUNK * 8)


class TestFrameTable:
    def test_numbers_stay_while_the_table_grows(self):
        table = FrameTable()
        segments = [SegmentRef(SegmentId(bytes([number]) * 16), OwnObject()) for number in range(3)]
        version = ModelVolume(MemoryCommitLog(), SERIAL)
        new = version.push(Push((Step(8200, frozenset(range(1, 4001))),), frame_pages=1))
        source = CommitIndex.decode(new.data, LOG, new.lsn)
        numbers = table.number_all(source.placement(0), source.commit.segments)
        seeds = table.seeds(numbers).tolist()
        assert numbers.tolist() == list(range(4000))
        more = version.push(Push((Step(8200, frozenset(range(1, 3001))),), frame_pages=1))
        other = CommitIndex.decode(more.data, LOG, more.lsn)
        table.number_all(other.placement(0), other.commit.segments)
        assert table.number_all(source.placement(0), source.commit.segments).tolist() == numbers.tolist()
        assert table.seeds(numbers).tolist() == seeds
        assert len(set(seeds)) == 4000
        assert segments[0].locate(5, 7).offset == 5


def test_the_shift_fits_the_chunk():
    assert 1 << mapchunks.CHUNK_SHIFT == CHUNK
