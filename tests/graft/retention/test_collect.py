"""Garbage collection: what a window, tags, branches, pins and deltas need stays readable, all else goes."""

import random
from contextlib import closing

import pytest

from graft.errors import BadRequest, NoSuchVolume, RemoteRefused, VersionCollected
from graft.operations.compact import compact
from graft.operations.log import log_entries
from graft.operations.verify import verify
from graft.retention.pinning import pin
from graft.retention.policy import DAY_S
from graft.settings import Settings
from graft.sync.clone import clone, init
from graft.sync.fork import fork
from graft.sync.push import push
from graft.sync.time_travel import snapshot_at
from metastore.collected import read_remaining
from metastore.tags import TagRecord, create_tag
from pagestore.errors import StoreRefused
from pagestore.testing import FaultyStore
from pagestore.urls import open_store
from tests.graft.retention.support import collected, keys, reader, reads, write
from tests.graft.support import commit, content, new_replica, noisy_body


def test_a_window_by_count_stays_and_all_else_goes(tmp_path, store, clock, replica):
    model = {lsn: write(replica, clock, lsn) for lsn in range(1, 31)}
    before = sum(keys(store).values())
    done = collected(store, keep_last=5)
    assert reads(tmp_path, store, range(26, 31)) == {lsn: model[lsn] for lsn in range(26, 31)}
    record_bytes = sum(size for key, size in keys(store).items() if "/collected/" in key)
    assert before - sum(keys(store).values()) == done.freed_bytes - record_bytes > 0
    for lsn in range(1, 26):
        with pytest.raises(VersionCollected, match="LSN 26 and all newer"):
            reads(tmp_path, store, [lsn])


def test_a_window_by_age_goes_by_the_clock_of_the_store(tmp_path, store, clock, replica):
    model = {lsn: write(replica, clock, lsn) for lsn in range(1, 31)}
    collected(store, keep_for_s=3 * 3600 + 60)
    # LSN 26 was still the newest three hours and a minute ago, though it was written four hours ago.
    assert read_remaining(store, replica.log).floor == 26
    assert reads(tmp_path, store, range(26, 31)) == {lsn: model[lsn] for lsn in range(26, 31)}
    clock.now_s += 100 * DAY_S
    collected(store, keep_for_s=3 * 3600)
    assert reads(tmp_path, store, [30]) == {30: model[30]}
    assert read_remaining(store, replica.log).floor == 30


def test_either_rule_keeps_a_version(store, clock, replica):
    for lsn in range(1, 11):
        write(replica, clock, lsn)
    collected(store, keep_last=2, keep_for_s=4 * 3600 + 60)
    assert read_remaining(store, replica.log).floor == 5
    collected(store, keep_last=8, keep_for_s=0)
    assert read_remaining(store, replica.log).floor == 5, "what was collected does not come back"
    collected(store, keep_last=3, keep_for_s=0)
    assert read_remaining(store, replica.log).floor == 8


@pytest.mark.parametrize("seed", range(10))
def test_every_version_of_the_window_equals_the_model(tmp_path, store, clock, seed):
    chance = random.Random(seed)
    model = {}
    inline_bytes_max = chance.choice([0, 512, 2048, 32768])
    with closing(new_replica(tmp_path / "vol", store, inline_bytes_max=inline_bytes_max)) as replica:
        for step in range(chance.randrange(20, 60)):
            pages = chance.choice([3, 40, 40, 90])
            truncate = chance.choice([None] * 9 + [chance.randrange(1, 20)])
            lsn = max(model, default=0) + 1
            model[lsn] = write(
                replica, clock, f"{seed}/{step}", pages=pages, changed=chance.randrange(1, 30), truncate=truncate
            )
            if chance.random() < 0.1:
                done = compact(replica, scattered_only=chance.random() < 0.5)
                model[done.after] = model[lsn]
            if chance.random() < 0.25:
                collected(store, keep_last=chance.randrange(1, 12), grace_s=chance.choice([0, DAY_S]))
                clock.now_s += chance.choice([0, 2 * DAY_S])
        floor = read_remaining(store, replica.log).floor
        window = [lsn for lsn in model if lsn >= floor]
        assert reads(tmp_path, store, window) == {lsn: model[lsn] for lsn in window}
        with reader(tmp_path, store) as other:
            assert verify(other).problems == ()
            assert [entry.lsn for entry in log_entries(other)] == sorted(window, reverse=True)
            for lsn in range(1, floor):
                with pytest.raises(VersionCollected):
                    snapshot_at(other, lsn)
        model[max(model) + 1] = write(replica, clock, "last")
        assert reads(tmp_path, store, [max(model)]) == {max(model): model[max(model)]}


def test_bases_of_deltas_stay(tmp_path, store, clock):
    """Pages that changed a little are deltas to an old segment in which nothing else may be live any more."""
    path, model = tmp_path / "vol", {}
    with closing(init(path, f"{store.url}#vol", store=store)) as replica:

        def change(tag, pages):
            clock.now_s += 3600
            with replica.begin(replica.snapshot()) as transaction:
                for page in pages:
                    transaction.write(page, noisy_body(replica.page_size, page, tag))
                transaction.commit()
            push(replica)
            model[replica.view().state.lsn] = content(replica.snapshot())

        change("import", range(1, 60))
        imported = {key for key in keys(store) if key.startswith("segments/")}
        change("deltas", range(2, 60))
        assert {key for key in keys(store) if key.startswith("segments/")} == imported, "this push went as deltas"
        change("one page", [1])
        done = collected(store, keep_last=1)
        assert {key for key in keys(store) if key.startswith("segments/")} == imported
        assert any("base of a delta" in item.why for item in done.kept)
    with closing(clone(tmp_path / "cold", f"{store.url}#vol", store=store)) as cold:
        assert content(cold.snapshot()) == model[3]


def test_a_tag_keeps_its_version(tmp_path, store, clock, replica):
    model = {lsn: write(replica, clock, lsn) for lsn in range(1, 21)}
    with reader(tmp_path, store) as other:
        tagged = replica.remote.chain(replica.log, 7)[0].commit
        record = TagRecord(
            volume=other.volume, log=other.log, lsn=7, commit=tagged.hash.hex(), created_us=1, author="ann"
        )
    create_tag(store, "seven", record)
    done = collected(store, keep_last=2)
    assert done.volumes[0].older == (7,)
    assert any("tag seven of vol" in item.why for item in done.kept)
    assert reads(tmp_path, store, [7, 19, 20]) == {lsn: model[lsn] for lsn in (7, 19, 20)}
    with pytest.raises(VersionCollected, match="LSN 19 and all newer ones, and 7"):
        reads(tmp_path, store, [8])


def test_a_pinned_reader_survives_and_another_is_told(tmp_path, store, clock):
    with closing(new_replica(tmp_path / "vol", store, inline_bytes_max=0)) as replica:
        model = {lsn: write(replica, clock, lsn, changed=30) for lsn in range(1, 21)}
    with reader(tmp_path, store) as pinned, reader(tmp_path, store) as unpinned:
        with pin(pinned, at=5, ttl_s=6 * 3600):
            old, lost = snapshot_at(pinned, 5), snapshot_at(unpinned, 4)
            collected(store, keep_last=1)
            assert content(old) == model[5]
            with pytest.raises(VersionCollected, match="LSN 20 and all newer ones, and 5"):
                content(lost)
        done = collected(store, keep_last=1)
        assert done.volumes[0].older == ()
        with pytest.raises(VersionCollected):
            pin(unpinned, at=5)
        assert not [key for key in keys(store) if key.startswith("pins/")]


def test_a_pin_expires_by_the_clock_of_the_store(store, clock, replica):
    for lsn in range(1, 6):
        write(replica, clock, lsn)
    held = pin(replica, at=2, ttl_s=7200)
    clock.now_s += 7000
    held.renew()
    clock.now_s += 7000
    assert collected(store, keep_last=1).volumes[0].older == (2,)
    clock.now_s += 300
    assert collected(store, keep_last=1).volumes[0].older == ()


def test_a_fork_keeps_what_it_needs_of_its_parent(tmp_path, store, clock, replica):
    model = {lsn: write(replica, clock, lsn) for lsn in range(1, 13)}
    fork(replica, "child", at=6)
    collected(store, "vol", keep_last=1)
    with reader(tmp_path, store, "child") as child:
        assert content(child.snapshot()) == model[6]
        write(child, clock, "child")
        child_content = content(child.snapshot())
    collected(store, keep_last=1)
    with reader(tmp_path, store, "child") as child:
        assert content(child.snapshot()) == child_content
    assert reads(tmp_path, store, [12]) == {12: model[12]}


def test_rules_for_one_volume_leave_the_others_alone(tmp_path, store, clock, replica):
    model = {lsn: write(replica, clock, lsn) for lsn in range(1, 6)}
    with closing(init(tmp_path / "b", f"{store.url}#b", page_size=512, store=store)) as other:
        theirs = {lsn: write(other, clock, lsn) for lsn in range(1, 6)}
    collected(store, "b", keep_last=1)
    assert reads(tmp_path, store, model) == model
    assert reads(tmp_path, store, [5], "b") == {5: theirs[5]}
    with pytest.raises(VersionCollected):
        reads(tmp_path, store, [4], "b")
    with pytest.raises(NoSuchVolume, match="no volume named c"):
        collected(store, "c", keep_last=1)


def test_what_no_commit_names_stays_for_the_grace_period(store, clock, replica):
    for lsn in range(1, 4):
        write(replica, clock, lsn)
    store.put("segments/s-" + "0" * 32, b"an orphan of a push that failed")
    assert collected(store, keep_last=3, grace_s=DAY_S).segments == 0
    clock.now_s += DAY_S + 1
    done = collected(store, keep_last=3, grace_s=DAY_S)
    assert [item.why for item in done.going] == ["no commit names it"]
    assert not [key for key in keys(store) if key.endswith("0" * 32)]


def test_segments_of_collected_versions_need_no_grace(tmp_path, store, clock):
    with closing(new_replica(tmp_path / "vol", store, inline_bytes_max=0)) as replica:
        for lsn in range(1, 9):
            write(replica, clock, lsn, pages=10, changed=10)
    assert collected(store, keep_last=1, grace_s=30 * DAY_S).segments == 7


def test_a_dry_run_changes_nothing_and_says_all(store, clock, replica):
    for lsn in range(1, 21):
        write(replica, clock, lsn)
    before = keys(store)
    told = collected(store, keep_last=3, dry_run=True)
    assert keys(store) == before
    done = collected(store, keep_last=3)
    assert (told.dry_run, done.dry_run) == (True, False)
    assert {item.key for item in told.going} == {item.key for item in done.going}
    assert (told.commits, told.segments, told.freed_bytes) == (done.commits, done.segments, done.freed_bytes)
    there = {key for key in before if key.startswith(("logs/", "segments/"))}
    assert {item.key for item in told.going} | {item.key for item in told.kept} == there
    assert all(item.why for item in told.kept)
    assert sum(kept.objects for kept in told.kept_for) == told.kept_objects


def test_one_who_may_not_delete_is_told_and_the_next_goes_on(tmp_path, store, clock):
    faulty = FaultyStore(store)

    def refused(method, *arguments):
        raise StoreRefused("bucket x refuses these credentials; let them read, write, list and delete")

    with closing(new_replica(tmp_path / "vol", store, inline_bytes_max=0)) as replica:
        model = {lsn: write(replica, clock, lsn, pages=10, changed=10) for lsn in range(1, 11)}
    faulty.fail_next("delete_many", refused, key_part="segments/")
    with pytest.raises(RemoteRefused, match="let them read, write, list and delete"):
        collected(faulty, keep_last=2)
    assert reads(tmp_path, store, [9, 10]) == {lsn: model[lsn] for lsn in (9, 10)}
    with pytest.raises(VersionCollected):
        reads(tmp_path, store, [3])
    assert collected(store, keep_last=2).segments > 0
    assert reads(tmp_path, store, [9, 10]) == {lsn: model[lsn] for lsn in (9, 10)}


@pytest.mark.parametrize("bad", [{"keep_last": 0}, {"keep_for_s": -1}, {"keep_last": 1, "grace_s": -1}])
def test_rules_that_cannot_be_are_refused(store, replica, bad):
    with pytest.raises(BadRequest):
        collected(store, **bad)


def test_the_rules_of_the_settings_are_the_default(store, clock, replica):
    for lsn in range(1, 6):
        write(replica, clock, lsn)
    collected(store)
    assert read_remaining(store, replica.log).is_whole, "30 days and 100 versions"
    assert Settings().keep_last == 100


def test_stored_bytes_are_close_to_those_of_the_retained_pages(tmp_path, store, clock):
    """After a compaction and the collection of what it replaced: at most 1.3 times the distinct pages, compressed."""
    chance = random.Random(1)
    with closing(new_replica(tmp_path / "vol", store, frame_bytes=16 * 512)) as replica:
        for step in range(60):
            clock.now_s += 3600
            with replica.begin(replica.snapshot()) as transaction:
                for page in chance.sample(range(1, 401), 60):
                    transaction.write(page, noisy_body(512, page, step))
                transaction.commit()
            push(replica)
        compact(replica)
        collected(store, keep_last=1)
        pages = {replica.snapshot().read(page) for page in range(1, replica.snapshot().page_count + 1)}
    assert sum(keys(store).values()) <= 1.3 * sum(map(len, pages))


@pytest.mark.parametrize("place", ["directory", "seaweedfs"])
def test_on_real_stores(tmp_path, request, place, clock):
    url = str(tmp_path / "remote") if place == "directory" else request.getfixturevalue("seaweedfs_url")
    with closing(open_store(url)) as store, closing(new_replica(tmp_path / "vol", store)) as replica:
        model = {lsn: write(replica, clock, lsn) for lsn in range(1, 25)}
        done = collected(store, keep_last=4)
        assert done.commits > 0
        assert reads(tmp_path, store, range(21, 25)) == {lsn: model[lsn] for lsn in range(21, 25)}
        with pytest.raises(VersionCollected, match="LSN 21"):
            reads(tmp_path, store, [20])
        commit(replica, [1], "more")
        push(replica)
        assert collected(store, keep_last=1).volumes[0].floor == 25
