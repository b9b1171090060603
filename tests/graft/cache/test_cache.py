"""The cache under load: it stays within its budget on the disk, with many readers and with files deleted under it."""

import contextlib
import os
import random
import shutil
import struct
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from graft import periodic as housekeeper
from graft.cache.cache import Cache
from graft.cache.cleaning_plan import BLOCK, fitting
from graft.errors import Corrupt
from graft.pagemap.frame_table import FrameKey
from graft.periodic import Housekeeper
from graft.settings import Settings
from graft.sync.clone import clone
from graft.sync.push import push
from metastore.placement import OwnObject, SegmentRef
from pagestore.ids import SegmentId
from pagestore.runtime import SYSTEM
from pagestore.segments.format import DecodedFrame
from testbed.patience import PATIENCE_S
from tests.graft.support import (
    as_other_process,
    body,
    commit,
    content,
    disk_bytes,
    fast_directory,
    fresh_store,
    leave,
    new_replica,
    small_settings,
)

PAGE = 4096
FRAME = 4 * PAGE
BUDGET = 20 * FRAME + PAGE
"""Four files of five frames each, and no frame more."""
CHOSEN = {
    "cache_bytes_max": BUDGET, "cache_file_bytes": 5 * FRAME, "frame_bytes": 4 * PAGE, "page_size": PAGE,
    "inline_bytes_max": 0, "journal_file_bytes": 1 << 20, "spill_bytes": 1 << 20,
}  # fmt: skip
OPENED = {name: value for name, value in CHOSEN.items() if name != "page_size"}
PAGES = range(1, 161)


@pytest.fixture
def tmp_path():
    with fast_directory() as path:
        yield path


@pytest.fixture(autouse=True)
def _no_housekeeping(monkeypatch):
    """Tests say themselves when a process looks what it should let go of."""
    monkeypatch.setattr(housekeeper, "_EVERY_S", 3600)


@pytest.fixture
def volume(tmp_path):
    """A volume of 40 frames; the cache of a reader holds half of them."""
    store = fresh_store()
    writer = new_replica(tmp_path / "writer", store, **CHOSEN)
    commit(writer, PAGES, "first")
    push(writer)
    leave(writer)
    return store


class Readers:
    """Several processes on one directory."""

    def __init__(self, path, store, count):
        self.path = path
        first = clone(path, f"{store.url}#vol", settings=small_settings(**OPENED), store=store)
        self.all = [first, *(as_other_process(path, store, **OPENED) for _ in range(count - 1))]

    def read(self, index, pages, *, measured=True):
        snapshot = self.all[index].snapshot()
        for page in pages:
            assert snapshot.read(page) == body(PAGE, page, "first")
            self.all[index].bodies.flush()
            assert page % 4 or not measured or self.disk_bytes() <= BUDGET

    def disk_bytes(self):
        """What the cache's files take, those included that have no name any more and that somebody still maps."""
        names = {line.split(maxsplit=5)[-1].strip() for line in Path("/proc/self/maps").read_text().splitlines()}
        assert not [name for name in names if name.startswith(str(self.path)) and name.endswith("(deleted)")]
        return disk_bytes((self.path / "cache").glob("*.frames"))

    def close(self):
        for replica in self.all:
            leave(replica)


@pytest.fixture
def readers(tmp_path, volume):
    made = []

    def make(count):
        made.append(Readers(tmp_path / "reader", volume, count))
        return made[0]

    yield make
    made[0].close()


def test_the_budget_holds_with_any_number_of_readers(readers):
    readers = readers(3)
    chance = random.Random(1)
    for _ in range(40):
        readers.read(chance.randrange(3), chance.choices(PAGES, k=20))


def test_what_an_idle_process_maps_is_not_deleted_under_it_but_given_back(readers):
    readers = readers(2)
    readers.read(0, PAGES[:76])
    idle, busy = readers.all
    assert len(idle.cache._files.mapped()) == 4
    readers.read(1, PAGES[80:120])
    assert len(idle.cache._files.mapped()) == 4
    assert busy.bodies._behind._in_memory, "there was room"
    idle.bodies.evict()  # what its housekeeper does every second
    readers.read(1, PAGES[120:140])
    assert max(busy.cache._files.listed()) > 4
    assert content(busy.snapshot()) == content(idle.snapshot())


def test_a_busy_process_keeps_what_it_maps_when_it_can_evict_nothing(readers):
    readers = readers(2)
    readers.read(0, PAGES[:76])
    readers.read(1, PAGES[:76])
    readers.read(1, PAGES[80:84])
    assert len(readers.all[1].cache._files.mapped()) >= 3


def test_a_housekeeper(monkeypatch):
    class Worker:
        def __init__(self):
            self.worked = threading.Event()

        def work(self):
            self.worked.set()

    monkeypatch.setattr(housekeeper, "_EVERY_S", 0.001)
    worker = Worker()
    keeper = Housekeeper(worker.work)
    assert not worker.worked.is_set()
    keeper.begin()
    keeper.begin()
    assert worker.worked.wait(PATIENCE_S)
    thread = keeper._thread
    keeper.close()
    assert not thread.is_alive()
    keeper.begin()
    assert keeper._thread is None
    forgotten = Housekeeper(Worker().work)
    forgotten.begin()
    forgotten._thread.join(PATIENCE_S)
    assert not forgotten._thread.is_alive()


def test_the_directory_is_deleted_while_it_is_open(readers, volume):
    """The one who had it open earlier must not write into the files of the one who made it anew."""
    readers = readers(1)
    readers.read(0, PAGES[:30])
    shutil.rmtree(readers.path / "cache")
    readers.all.append(as_other_process(readers.path, volume, **OPENED))
    chance = random.Random(2)
    for _ in range(30):
        readers.read(chance.randrange(2), chance.choices(PAGES, k=10), measured=False)
    assert readers.all[0].cache.use() == readers.all[1].cache.use()


def test_files_are_deleted_while_they_are_open(readers):
    readers = readers(2)
    chance = random.Random(3)
    for _ in range(30):
        readers.read(chance.randrange(2), chance.choices(PAGES, k=10), measured=False)
        for path in (readers.path / "cache").glob("*.frames"):
            if chance.random() < 0.2:
                path.write_bytes(b"") if not path.stat().st_size else path.rename(path.with_suffix(".gone"))
    files = {path.name for path in (readers.path / "cache").glob("*.frames")}
    index = {f"{use.file:08d}.frames" for use in readers.all[0].cache._frames.index.files()}
    readers.all[0].cache._frames.tidy()
    assert files - index == set(), "files that nobody knows of"


def test_what_a_crash_left_is_removed(readers):
    readers = readers(1)
    readers.read(0, PAGES[:8])
    orphan = readers.path / "cache" / "00000077.frames"
    orphan.write_bytes(bytes(BUDGET))
    shutil.copy(orphan, orphan.with_name("00000001.frames.part"))
    replica = readers.all[0]
    for page in PAGES:
        assert replica.snapshot().read(page) == body(PAGE, page, "first")
    assert not orphan.exists()
    assert readers.disk_bytes() <= BUDGET


def keyed(page, data):
    key = FrameKey(SegmentRef(SegmentId.new(SYSTEM), OwnObject()), 64, 100)
    return key, DecodedFrame([page], data)


def wait_for_a_tick(directory):
    """Return when files that are written now have a later time than those written before."""
    file = directory / "tick"
    file.write_bytes(b"")
    before = file.stat().st_mtime_ns
    while file.stat().st_mtime_ns == before:
        file.write_bytes(b"x")


def small_cache(path, file_bytes=1 << 20):
    return Cache(
        path / "cache", PAGE, bytes_max=10 * PAGE, file_bytes=file_bytes, alone=True, on_release=lambda file: None
    )


@pytest.fixture
def cache(tmp_path):
    made = small_cache(tmp_path)
    yield made
    made.close()


def test_missing_frames_are_known_without_waiting_for_a_writer(tmp_path, cache, monkeypatch):
    asked = []
    usual = cache._frames.index.offsets
    monkeypatch.setattr(cache._frames.index, "offsets", lambda *args: (asked.append(args), usual(*args))[1])
    first, second = keyed(7, b"a" * PAGE), keyed(8, b"b" * PAGE)
    assert cache.lacks(first[0])
    assert cache.lacks(replace(first[0], offset=500))
    assert len(asked) == 1
    cache.put([first])
    assert not cache.lacks(first[0])
    assert cache.lacks(replace(first[0], offset=500))
    assert cache.lacks(second[0])
    wait_for_a_tick(tmp_path)
    other = small_cache(tmp_path)
    other.put([second])
    other.close()
    assert not cache.lacks(second[0])
    assert bytes(cache.get(second[0]).data) == b"b" * PAGE


def test_many_frames_are_not_known_by_heart(cache, monkeypatch):
    monkeypatch.setattr("graft.cache.cache._NAMED_MAX", 1)
    one, _ = keyed(7, b"a" * PAGE)
    cache.put([(replace(one, offset=100 * n), DecodedFrame([n], bytes(PAGE))) for n in (1, 2)])
    assert not cache.lacks(replace(one, offset=300)), "so the index is asked"
    assert cache.get(replace(one, offset=300)) is None


def test_a_row_that_names_the_bytes_of_another_frame_is_no_hit(cache):
    """As an index may after a power cut, whose pages are of several ages."""
    old, new = keyed(7, b"o" * PAGE), keyed(7, b"n" * PAGE)
    cache.put([old, new])
    cache._frames.index._database.execute(
        "UPDATE frames SET (file, position, pages, digest) = (SELECT file, position, pages, digest FROM frames "
        "WHERE segment = ?) WHERE segment = ?",
        (old[0].ref.segment.raw, new[0].ref.segment.raw),
    )
    assert cache.get(new[0]) is None
    assert bytes(cache.get(old[0]).data) == b"o" * PAGE


def test_what_is_read_is_not_written_over(cache):
    """Though a power cut may leave a row that names a frame, and an older one that says how far its file is used."""
    old, new = keyed(7, b"o" * PAGE), keyed(8, b"n" * PAGE)
    cache.put([old])
    cache._frames.index._database.execute("UPDATE files SET used = 0")
    found = cache.get(old[0])
    cache.put([new])
    assert bytes(cache.get(new[0]).data) == b"n" * PAGE
    assert found is None or bytes(found.data) == b"o" * PAGE


def test_a_search_that_ends_at_another_frame_is_no_hit(tmp_path, cache):
    """As in a torn page of the index whose rows are out of order: SQLite finds one equal, and returns its neighbour."""
    frames = sorted([keyed(page, bytes([page]) * PAGE) for page in (1, 2, 3)], key=lambda frame: frame[0].ref.segment)
    cache.put(frames)
    torn = turned_round(cache, tmp_path, "frames")
    with contextlib.suppress(Corrupt):
        assert torn.get(frames[1][0]) is None
    torn.close()


def test_a_file_that_a_search_does_not_find_is_not_written_over(tmp_path):
    cache = small_cache(tmp_path, file_bytes=PAGE)
    cache.put([keyed(page, bytes([page]) * PAGE) for page in (1, 2, 3)])
    cache._frames.index._database.executescript("UPDATE files SET used = 0; DELETE FROM frames")
    torn = turned_round(cache, tmp_path, "files")
    with contextlib.suppress(Corrupt):
        bodies = [torn.put([keyed(page, bytes([page]) * PAGE)])[0] for page in (4, 5)]
        assert [bytes(body.data) for body in bodies] == [bytes([4]) * PAGE, bytes([5]) * PAGE]
    torn.close()


def turned_round(cache, path, table):
    """Open a cache again whose index has the three rows of a table the wrong way round, as a torn page may."""
    (root,) = cache._frames.index._database.execute(
        "SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)
    ).fetchone()
    cache.close()
    with (path / "cache" / "index.db").open("r+b") as index:
        index.seek((root - 1) * 4096 + 3)  # in the page's header: how many rows; behind it: where they are
        assert index.read(2) == b"\0\3"
        index.seek(3, os.SEEK_CUR)
        rows = struct.unpack(">3H", index.read(6))
        index.seek(-6, os.SEEK_CUR)
        index.write(struct.pack(">3H", *reversed(rows)))
    return small_cache(path)


@pytest.mark.parametrize(
    "damage",
    ["frames SET pages = zeroblob(7)", "frames SET digest = 5", "frames SET position = -4096", "files SET taken = 'x'",
     "files SET used = -1"],
)  # fmt: skip
def test_rows_that_only_damage_makes(tmp_path, cache, damage):
    """What they say is not believed, and the next one who is alone begins anew."""
    frame = keyed(7, b"x" * PAGE)
    cache.put([frame])
    cache._frames.index._database.execute(f"UPDATE {damage}")
    for use in (lambda: cache.get(frame[0]), cache.use, lambda: cache.put([frame]), cache.evict):
        with contextlib.suppress(Corrupt):
            use()
    assert (tmp_path / "cache" / "damaged").exists()
    again = Cache(
        tmp_path / "cache", PAGE, bytes_max=1 << 20, file_bytes=1 << 20, alone=True, on_release=lambda _: None
    )
    assert again.use().frames == 0
    again.close()


def test_a_put_larger_than_the_cache(cache):
    frames = [keyed(page, bytes([page]) * PAGE) for page in range(1, 30)]
    cache.put(frames)
    assert cache.use().bytes <= 10 * PAGE
    assert bytes(cache.get(frames[-1][0]).data) == bytes([29]) * PAGE


def test_a_put_that_goes_into_several_files(tmp_path):
    chance = random.Random(4)
    frames = []
    for number in range(1, 700):
        pages = list(range(8 * number, 8 * number + chance.randrange(1, 5)))
        frames.append((keyed(1, b"")[0], DecodedFrame(pages, bytes([number % 256]) * PAGE * len(pages))))
    large = Cache(tmp_path / "c", PAGE, bytes_max=1 << 26, file_bytes=1 << 20, alone=True, on_release=lambda file: None)
    bodies = large.put(frames)
    assert [bytes(body.data) for body in bodies] == [frame.body for _, frame in frames]
    assert [body.pages.tolist() for body in bodies] == [frame.pages for _, frame in frames]
    assert len(large._files.mapped()) > 3
    keys = {key for key, _ in frames}
    assert large.has([*keys, keyed(1, b"")[0]]) == keys
    assert all(large.get(key).data == frame.body for key, frame in frames)
    assert large.use().frames == len(frames)
    large.close()


def test_what_fits():
    assert fitting([5, 5, 5], room=15, blocks_max=3 * BLOCK) == 3
    assert fitting([5, 5, 5], room=14, blocks_max=3 * BLOCK) == 2
    assert fitting([5, 5, 5], room=99, blocks_max=2 * BLOCK) == 2
    assert fitting([BLOCK + 1], room=2 * BLOCK, blocks_max=BLOCK) == 0


def test_there_are_not_too_many_files(tmp_path):
    small = Cache(tmp_path / "c", PAGE, bytes_max=1 << 30, file_bytes=1, alone=True, on_release=lambda file: None)
    assert small.batch_bytes == 1 << 22
    small.close()


def test_readahead_does_not_flush_a_small_cache():
    assert Settings(cache_bytes_max=1 << 20, frame_bytes=64 << 10).readahead_frames_max == 4
    assert Settings(cache_bytes_max=1 << 20, frame_bytes=64 << 10).piggyback_frames_max == 4
    assert Settings().readahead_frames_max == 64
    assert Settings().piggyback_frames_max == 128
    assert Settings(readahead_bytes_max=0).readahead_frames_max == 0
