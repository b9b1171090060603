"""Maintenance: compaction where it pays, and a collection; afterwards the bucket is about as large as what it keeps."""

import random
from contextlib import closing

import pytest

from graft.errors import BadRequest
from graft.failpoints import FAILPOINTS
from graft.operations.verify import verify
from graft.retention.maintain import Condition, maintain, work_for
from graft.retention.usage import storage_use
from graft.settings import Settings
from graft.sync.clone import clone, init
from graft.sync.push import push
from tests.graft.retention.support import keys, reader, reads, write
from tests.graft.support import commit, content, failpoint_hook, new_replica, noisy_body, small_settings


def maintained(store, name=None, settings=None, **options):
    address = f"{store.url}#{name}" if name else store.url
    options.setdefault("grace_s", 0)
    return maintain(address, store=store, settings=settings or small_settings(), **options)


@pytest.mark.parametrize(
    ("change", "work"),
    [
        ({}, "leave"),
        ({"frames": 301}, "compact"),
        ({"frames": 15, "frames_needed": 2}, "leave"),
        ({"live_bytes": 700_000}, "compact"),
        ({"live_bytes": 7_000, "stored_bytes": 10_000}, "leave"),
        ({"segments": 65, "scattered": True}, "consolidate"),
        ({"segments": 65}, "leave"),
        ({"frames": 0, "frames_needed": 0, "stored_bytes": 0, "live_bytes": 0}, "leave"),
    ],
)
def test_what_is_worth_it(change, work):
    usual = {
        "frames": 100, "frames_needed": 100, "segments": 5, "scattered": False, "stored_bytes": 1_000_000,
        "live_bytes": 1_000_000,
    }  # fmt: skip
    assert work_for(Condition(**{**usual, **change})) == work


def rewritten(tmp_path, store, clock, *, pushes=60, pages=400, changed=60):
    """A volume of which every page was written several times: return its path and content."""
    chance = random.Random(pushes)
    settings = Settings()
    path = tmp_path / "vol"
    with closing(init(path, f"{store.url}#vol", store=store, settings=settings)) as replica:
        for step in range(pushes):
            clock.now_s += 3600
            with replica.begin(replica.snapshot()) as transaction:
                for page in range(1, pages + 1) if step == 0 else chance.sample(range(1, pages + 1), changed):
                    transaction.write(page, noisy_body(4096, page * 1000 + step, step))
                transaction.commit()
            push(replica)
        return path, content(replica.snapshot())


@pytest.mark.parametrize(("keep_last", "part_max"), [(1, 1.3), (5, 1.3)])
def test_afterwards_the_bucket_is_about_as_large_as_what_it_keeps(tmp_path, store, clock, keep_last, part_max):
    path, wanted = rewritten(tmp_path, store, clock)
    before = sum(keys(store).values())
    first = maintained(store, settings=Settings(), keep_last=keep_last)
    assert first.volumes[0].work == "compact"
    for step in range(keep_last - 1):  # what the compaction replaced leaves the window
        with closing(clone(tmp_path / f"w{step}", f"{store.url}#vol", store=store)) as writer:
            commit(writer, [1], step)
            push(writer)
            wanted = content(writer.snapshot())
    second = maintained(store, settings=Settings(), keep_last=keep_last)
    assert second.volumes[0].work == "leave", "once is enough"
    after = sum(keys(store).values())
    with closing(clone(tmp_path / "cold", f"{store.url}#vol", store=store)) as cold:
        assert content(cold.snapshot()) == wanted
        assert verify(cold).problems == ()
        distinct = {cold.snapshot().read(page) for page in range(1, cold.snapshot().page_count + 1)}
    assert after <= part_max * sum(map(len, distinct)) < before
    assert path


def test_a_dry_run_tells_and_changes_nothing(tmp_path, store, clock):
    rewritten(tmp_path, store, clock, pushes=20)
    before = keys(store)
    told = maintained(store, settings=Settings(), keep_last=1, dry_run=True)
    assert keys(store) == before
    assert (told.dry_run, told.volumes[0].work, told.volumes[0].done) == (True, "compact", None)
    assert told.collected.commits > 0


def test_a_push_during_the_compaction_wins_and_the_next_run_tries_again(tmp_path, store, clock):
    path, _ = rewritten(tmp_path, store, clock, pushes=20)
    settings = Settings()

    def somebody(point):
        if point == "compact: after check":
            with closing(clone(tmp_path / "busy", f"{store.url}#vol", store=store, settings=settings)) as busy:
                commit(busy, [1], "busy")
                with failpoint_hook(None):
                    push(busy)

    assert "compact: after check" in FAILPOINTS
    with failpoint_hook(somebody):
        lost = maintained(store, settings=settings, keep_last=1)
    assert "somebody pushed meanwhile" in lost.volumes[0].problem
    assert maintained(store, settings=settings, keep_last=1).volumes[0].done is not None
    assert path


def test_one_volume_or_all(tmp_path, store, clock):
    with closing(new_replica(tmp_path / "vol", store)) as replica:
        model = {lsn: write(replica, clock, lsn) for lsn in range(1, 6)}
    with closing(
        init(tmp_path / "b", f"{store.url}#b", page_size=512, store=store, settings=small_settings())
    ) as other:
        theirs = {lsn: write(other, clock, lsn) for lsn in range(1, 6)}
    done = maintained(store, "b", keep_last=1)
    assert [volume.name for volume in done.volumes] == ["b"]
    assert reads(tmp_path, store, model) == model
    assert reads(tmp_path, store, [5], "b") == {5: theirs[5]}
    assert [volume.name for volume in maintained(store, keep_last=1).volumes] == ["b", "vol"]
    with pytest.raises(BadRequest, match="no volume named c"):
        maintained(store, "c")


def test_usage_tells_what_maintenance_would_free(tmp_path, store, clock):
    rewritten(tmp_path, store, clock, pushes=12)
    maintain(store.url, store=store, keep_last=1, grace_s=0)
    found = storage_use(store.url, store=store)
    assert found.unneeded_bytes < 0.1 * found.bytes
    with reader(tmp_path, store) as cold:
        assert verify(cold).problems == ()
