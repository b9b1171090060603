"""What a replica takes on the disk, once what is of no use has gone; and that nothing else has."""

import contextlib
import gc
import random

import numpy as np
import pytest

from graft import periodic as housekeeper
from graft.disk.locks import _BRIEF_POLL_S
from graft.journal import journal as journal_module
from graft.operations.hydrate import hydrate
from graft.operations.status import status
from graft.replica import reclaim as reclaim_module
from graft.replica.liveness import live_in
from graft.replica.reclaim import reclaim
from graft.settings import Durability
from graft.sync.clone import clone
from graft.sync.pull import pull
from graft.sync.push import push
from graft.sync.time_travel import snapshot_at
from pagestore.runtime import Runtime
from tests.graft import support
from tests.graft.support import (
    Killed,
    as_other_process,
    begin,
    content,
    dying_at,
    fast_directory,
    fresh_store,
    kill,
    leave,
    new_replica,
)

PAGE = 4096
PAGES = 3000
CHOSEN = {
    "page_size": PAGE, "cache_bytes_max": 64 << 20, "cache_file_bytes": 1 << 20, "frame_bytes": 64 << 10,
    "inline_bytes_max": 32 << 10, "journal_file_bytes": 16 << 20, "spill_bytes": 4 << 20, "codec": "raw",
}  # fmt: skip
OPENED = {name: value for name, value in CHOSEN.items() if name != "page_size"}
POINTS = ["cache: after file", "cache: after frame", "cleaning: after index", "evict: after unlink",
          "evict: after index", "cleaning: after file"]  # fmt: skip


@pytest.fixture
def path():
    with fast_directory() as directory:
        yield directory


@pytest.fixture(autouse=True)
def _no_housekeeping(monkeypatch):
    """Tests say themselves when nothing happens."""
    monkeypatch.setattr(housekeeper, "_EVERY_S", 3600)


def disk_bytes(path):
    return support.disk_bytes(file for file in path.rglob("*") if file.is_file())


def ratio(replica):
    return disk_bytes(replica.path) / (replica.view().remote_map.live_pages * PAGE)


class Volume:
    """A volume, a replica of it that knows every page, and what is in it."""

    def __init__(self, path, *, pages=PAGES, **settings):
        self.store, self.chance = fresh_store(), random.Random(1)
        self.replica = new_replica(path / "a", self.store, **{**CHOSEN, **settings})
        self.path, self.count = path / "a", pages
        self.write(range(1, pages + 1))
        push(self.replica)

    def write(self, pages, *, replica=None, durability=Durability.RELAXED):
        with begin(replica or self.replica) as transaction:
            for page in pages:
                transaction.write(page, self.chance.randbytes(PAGE))
            transaction.commit(durability)

    def end(self, how):
        """Let the process end; what it mapped is mapped no more. Return the path."""
        how(self.replica)
        path, self.replica = self.replica.path, None
        gc.collect()
        return path

    def reopen(self):
        self.replica = as_other_process(self.path, self.store, **OPENED)
        return self.replica

    def scatter(self, pushes, pages=3):
        for _ in range(pushes):
            self.write(self.chance.sample(range(1, self.count + 1), pages))
            push(self.replica)


@pytest.fixture
def volume(path):
    made = []

    def make(**given):
        made.append(Volume(path, **given))
        return made[-1]

    yield make
    for each in made:
        leave(each.replica)


def test_a_settled_replica_takes_little_more_than_its_pages(volume):
    volume = volume()
    replica = volume.replica
    volume.scatter(100)
    shown = content(replica.snapshot())
    assert reclaim(replica)
    assert ratio(replica) <= 1.1
    assert not list((replica.path / "journal").iterdir())
    assert content(replica.snapshot()) == shown
    assert replica.counts.snapshot().fetches == 0, "a page was lost"
    volume.scatter(1)
    assert ratio(replica) <= 1.2


def test_what_a_process_that_died_left_is_settled_by_the_next_one_that_closes(volume):
    volume = volume()
    volume.scatter(100)
    live = volume.replica.view().remote_map.live_pages
    path = volume.end(kill)
    (path / "state.db-wal").touch()  # which is there as long as nobody closes the database, as `kill` does
    assert disk_bytes(path) > 1.1 * live * PAGE
    shown = content(volume.reopen().snapshot())
    path = volume.end(leave)
    assert disk_bytes(path) <= 1.1 * live * PAGE
    assert content(volume.reopen().snapshot()) == shown


def test_who_changed_nothing_has_nothing_to_settle(volume, monkeypatch):
    volume = volume()
    volume.scatter(1)
    volume.end(leave)
    reclaimed = []
    monkeypatch.setattr(reclaim_module, "reclaim", reclaimed.append)
    volume.reopen().snapshot().read(1)
    volume.end(leave)
    assert not reclaimed
    volume.reopen()
    volume.write([1])
    volume.end(leave)
    assert len(reclaimed) == 1
    volume.reopen()


def test_a_closed_replica_takes_little_more_than_its_pages(volume):
    volume = volume()
    volume.scatter(100)
    live = volume.replica.view().remote_map.live_pages
    shown = content(volume.replica.snapshot())
    volume.end(leave)
    assert disk_bytes(volume.path) <= 1.1 * live * PAGE
    again = volume.reopen()
    assert content(again.snapshot()) == shown
    assert again.counts.snapshot().fetches == 0, "a page was lost"


def test_while_pushes_go_on_a_bounded_part_is_of_no_use(volume):
    volume = volume()
    for _ in range(6):
        volume.scatter(20)
        cache = disk_bytes(volume.replica.path / "cache")
        assert cache <= 1.5 * PAGES * PAGE
        assert disk_bytes(volume.replica.path / "journal") <= 6 << 20


def test_a_small_cache_keeps_its_budget_and_settles(volume):
    volume = volume(cache_bytes_max=4 << 20)
    volume.scatter(30)
    replica = volume.replica
    shown = content(replica.snapshot())
    assert reclaim(replica)
    assert disk_bytes(replica.path / "cache") <= (4 << 20) + (256 << 10)
    assert disk_bytes(replica.path) <= 1.1 * PAGES * PAGE
    assert content(replica.snapshot()) == shown


def test_one_that_opens_a_replica_anew_throws_nothing_away(volume):
    """It has read no page map yet when it settles; and the next one finds nothing to do."""
    volume = volume()
    volume.scatter(30)
    shown = content(volume.replica.snapshot())
    volume.end(kill)
    reclaim(volume.reopen())
    assert ratio(volume.replica) <= 1.1
    volume.end(kill)
    files = {file: file.stat().st_mtime_ns for file in (volume.path / "cache").glob("*.frames")}
    again = volume.reopen()
    assert reclaim(again)
    assert content(again.snapshot()) == shown
    assert again.counts.snapshot().fetches == 0, "a page was lost"
    assert files == {file: file.stat().st_mtime_ns for file in (volume.path / "cache").glob("*.frames")}


def test_what_is_in_index_chunks_that_were_never_read_stays(volume, path):
    """Whoever does not know where pages are must not say that they are of no use, nor ask the remote for it."""
    volume = volume(pages=5000, consolidation_bytes_max=0)
    volume.scatter(3)
    reader = clone(path / "b", f"{volume.store.url}#vol", settings=volume.replica.settings, store=volume.store)
    for page in range(1, 4000, 3):
        reader.snapshot().read(page)
    before = reader.cache.use().pages
    fresh = as_other_process(path / "b", volume.store, **OPENED)
    chunks = fresh.view().remote_map.chunks
    assert not any(chunk.built for chunk in chunks)
    view = fresh.view()
    fresh.cache.clean(lambda frames: live_in(fresh.table, view, frames), live_bytes=0, slack=20, bytes_max=1 << 30)
    assert fresh.cache.use().pages >= before - 9
    assert fresh.counts.snapshot().fetches == 0
    leave(fresh)
    leave(reader)


def test_what_was_deleted_leaves_the_disk(volume):
    """A volume that shrinks puts nothing into the cache, and yet most of it is of no use."""
    volume = volume()
    with begin(volume.replica) as transaction:
        transaction.truncate(300)
        transaction.commit()
    push(volume.replica)
    assert reclaim(volume.replica)
    assert volume.replica.snapshot().page_count == 300
    assert ratio(volume.replica) <= 1.2
    assert volume.replica.counts.snapshot().fetches == 0


def test_older_versions_stay_readable(volume):
    """In this process and in another one that holds a snapshot: what the cache lets go of is fetched again."""
    volume = volume(pages=600)
    other = as_other_process(volume.replica.path, volume.store, **OPENED)
    old, theirs = volume.replica.snapshot(), other.snapshot()
    lsn, shown = old.lsn, content(old)
    assert content(theirs) == shown
    volume.scatter(20, pages=60)
    reclaim(volume.replica)
    held = [old.read(page) for page in range(1, 601)]
    assert b"".join(held) == shown
    other.bodies.evict()
    reclaim(volume.replica)
    assert ratio(volume.replica) <= 1.2
    assert content(theirs) == shown
    assert content(snapshot_at(volume.replica, lsn)) == shown
    assert b"".join(held) == shown, "what somebody held has changed"
    assert other.counts.snapshot().fetches + volume.replica.counts.snapshot().fetches > 0
    leave(other)


def test_pulling_readers_settle(volume, path):
    volume = volume(pages=1000)
    reader = clone(path / "b", f"{volume.store.url}#vol", settings=volume.replica.settings, store=volume.store)
    hydrate(reader)
    for _ in range(6):
        volume.scatter(4, pages=40)
        pull(reader)
        hydrate(reader)
    reclaim(reader)
    assert ratio(reader) <= 1.1
    fetches = reader.counts.snapshot().fetches
    assert content(reader.snapshot()) == content(volume.replica.snapshot())
    assert reader.counts.snapshot().fetches == fetches
    leave(reader)


def test_hydrating_brings_back_what_is_of_use_again(volume):
    """As it is for who goes back to an older version; here a part of each frame is let go of by force."""
    volume = volume(pages=400)
    replica = volume.replica
    shown = content(replica.snapshot())

    def every_second(frames):
        return [np.arange(len(frame.pages) // 4) % 2 == 0 for frame in frames]

    while replica.cache.clean(every_second, live_bytes=0, slack=20, bytes_max=1 << 30):
        pass
    assert replica.cache.use().pages == 200
    hydrate(replica)
    fetches = replica.counts.snapshot().fetches
    assert fetches
    assert content(replica.snapshot()) == shown
    assert replica.counts.snapshot().fetches == fetches


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("times", [1, 3])
def test_death_while_settling(volume, point, times):
    volume = volume(pages=800)
    volume.scatter(10, pages=40)
    shown = content(volume.replica.snapshot())
    with dying_at(point, times=times), contextlib.suppress(Killed):
        reclaim(volume.replica)
    volume.end(kill)
    again = volume.reopen()
    assert content(again.snapshot()) == shown
    assert again.counts.snapshot().fetches == 0, "a page was lost"
    reclaim(again)
    volume.scatter(1)
    reclaim(again)
    assert ratio(again) <= 1.15


def test_a_writer_beside_one_that_settles_is_never_busy(volume):
    volume = volume(pages=300)
    writer = as_other_process(volume.replica.path, volume.store, **OPENED)
    for number in range(30):
        volume.write([number + 1], replica=writer, durability=Durability.LOCAL)
        push(volume.replica)
        reclaim(volume.replica)
        assert not list((writer.path / "journal").iterdir())
    assert status(writer).local_commits == 0
    assert content(writer.snapshot()) == content(volume.replica.snapshot())
    leave(writer)


def test_what_is_not_pushed_stays(volume):
    volume = volume(pages=300)
    volume.write([1, 2])
    shown = content(volume.replica.snapshot())
    reclaim(volume.replica)
    volume.end(kill)
    again = volume.reopen()
    assert content(again.snapshot()) == shown
    assert status(again).local_commits == 1


def test_settling_waits_for_no_writer(volume):
    volume = volume(pages=300)
    volume.scatter(1)
    with begin(volume.replica) as transaction:
        transaction.write(1, bytes(PAGE))
        reclaim(volume.replica)
        assert list((volume.replica.path / "journal").iterdir()), "a writer may be appending to it"
        transaction.commit()
    assert status(volume.replica).local_commits == 1


def test_a_push_keeps_settling_away(volume):
    volume = volume(pages=300)
    volume.scatter(20, pages=30)
    other = as_other_process(volume.replica.path, volume.store, **OPENED)
    with other.sync_lock.held(0):
        assert not reclaim(volume.replica)
    assert reclaim(volume.replica)
    leave(other)


def test_a_push_gets_in_between_two_steps_of_settling(volume, monkeypatch):
    """However long all of them take: who looked for the lock in vain must find it free for a while."""
    monkeypatch.setattr(reclaim_module, "_STEP_BYTES", 16 * PAGE)
    volume = volume(pages=300)
    volume.scatter(20, pages=30)
    other = as_other_process(volume.replica.path, volume.store, **OPENED)
    pushed = []

    def pause(seconds):
        assert seconds >= 4 * _BRIEF_POLL_S
        volume.write([1], replica=other)
        pushed.append(push(other))

    volume.replica.runtime = Runtime(sleep_s=pause)
    reclaim(volume.replica)
    assert len(pushed) > 1
    assert content(other.snapshot()) == content(volume.replica.snapshot())
    leave(other)


def test_a_pushed_file_that_grew_long_is_followed_by_another(volume, monkeypatch):
    """So that pushes beside a writer that never pauses delete it."""
    monkeypatch.setattr(journal_module, "_PUSHED_BYTES_MAX", 8 * PAGE)
    volume = volume(pages=300)
    for number in range(40):
        volume.write([number + 1])
        transaction = begin(volume.replica)
        push(volume.replica)
        with transaction:
            transaction.write(1, bytes([number]) * PAGE)
            transaction.commit(Durability.RELAXED)
        assert len(list((volume.replica.path / "journal").iterdir())) <= 2
    assert volume.replica.snapshot().read(1) == bytes([39]) * PAGE


def test_a_replica_that_does_nothing_settles_by_itself(volume):
    volume = volume(pages=600)
    volume.scatter(20, pages=30)
    replica = volume.replica
    before = disk_bytes(replica.path)
    replica.keep_house()
    assert disk_bytes(replica.path) == before, "something happened since one last looked"
    replica.keep_house()
    assert disk_bytes(replica.path) < before
    assert ratio(replica) <= 1.15
