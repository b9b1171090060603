"""Volumes as things that one manages: details, usage, removal, renaming."""

from contextlib import closing

import pytest

from graft.errors import BadRequest, Corrupt, HistoryLost, NoSuchVolume, VolumeExists
from graft.retention.policy import DAY_S
from graft.retention.remove import remove_volume, rename_volume
from graft.retention.usage import storage_use, volume_details
from graft.sync.clone import clone, init
from graft.sync.fork import fork
from graft.sync.pull import pull
from graft.sync.push import push
from graft.sync.set_remote import set_remote
from metastore.volumes import list_volumes
from pagestore.testing import FaultyStore, preceded_by
from tests.graft.retention.support import collected, keys, reader, reads, write
from tests.graft.support import Killed, commit, dying_at, new_replica, small_settings


def details(store):
    return {info.name: info for info in volume_details(store.url, store=store, settings=small_settings())}


def removed(store, name="vol"):
    return remove_volume(f"{store.url}#{name}", store=store, settings=small_settings())


@pytest.fixture
def other(tmp_path, store, clock):
    """A second volume in the same remote: its versions."""
    with closing(init(tmp_path / "b", f"{store.url}#b", page_size=512, store=store, settings=small_settings())) as b:
        return {lsn: write(b, clock, f"b{lsn}") for lsn in range(1, 4)}


def test_details(store, clock, replica, other):
    for lsn in range(1, 6):
        write(replica, clock, lsn)
    fork(replica, "child", at=3)
    collected(store, "vol", keep_last=2)
    found = details(store)
    assert list(found) == ["b", "child", "vol"]
    vol, child = found["vol"], found["child"]
    assert (vol.head, vol.byte_size, vol.state, vol.forks) == (5, replica.snapshot().byte_size, "ok", ("child",))
    assert vol.changed_us == replica.view().state.chain[0].commit.timestamp_us
    assert vol.versions == 3, "two, and the one at which the branch begins"
    assert (child.parent, child.head, child.state) == ("vol@3", 3, "ok")
    assert found["b"].versions == 3


def test_usage_adds_up(tmp_path, store, clock, other):
    with closing(new_replica(tmp_path / "vol", store, inline_bytes_max=0)) as replica:
        for lsn in range(1, 8):
            write(replica, clock, lsn, pages=30, changed=20)
        fork(replica, "child")
        with reader(tmp_path, store, "child") as child:
            write(child, clock, "child", pages=30, changed=3)
    store.put("segments/s-" + "0" * 32, b"orphan")
    found = storage_use(store.url, store=store, settings=small_settings())
    assert found.bytes == sum(keys(store).values())
    assert found.unneeded_bytes == len(b"orphan")
    by_name = {volume.name: volume for volume in found.volumes}
    assert by_name["b"].exclusive_bytes == by_name["b"].bytes
    assert by_name["child"].exclusive_bytes < by_name["child"].bytes
    assert by_name["vol"].newest_bytes + by_name["vol"].history_bytes == by_name["vol"].bytes
    assert by_name["vol"].versions == 7
    (alone,) = storage_use(f"{store.url}#b", store=store, settings=small_settings()).volumes
    assert alone == by_name["b"]
    with pytest.raises(BadRequest, match="no volume named c"):
        storage_use(f"{store.url}#c", store=store, settings=small_settings())


def test_removing_a_volume_leaves_the_others(tmp_path, store, clock, replica, other):
    for lsn in range(1, 10):
        write(replica, clock, lsn)
    before = sum(keys(store).values())
    done = removed(store)
    assert (done.versions, done.commits) == (9, 9)
    assert sum(keys(store).values()) < before
    assert list_volumes(store) == ["b"]
    assert reads(tmp_path, store, other, "b") == other
    with pytest.raises(NoSuchVolume, match="no volume named vol"):
        removed(store)
    clock.now_s += 2 * DAY_S
    collected(store)
    assert not [key for key in keys(store) if str(replica.log) in key], "nothing is left after a day"
    with closing(new_replica(tmp_path / "again", store)) as again:
        write(again, clock, "again")


def test_replicas_of_a_removed_volume_cannot_push(tmp_path, store, clock, replica):
    write(replica, clock, 1)
    commit(replica, [1], "late")
    removed(store)
    for _ in range(2):
        with pytest.raises((NoSuchVolume, HistoryLost)):
            push(replica)
        assert replica.view().pending
        clock.now_s += 2 * DAY_S
        collected(store)
        replica.remote.proof = None
    with pytest.raises((NoSuchVolume, HistoryLost)):
        pull(replica, policy="discard")


def test_forks_keep_a_volume_from_being_removed(tmp_path, store, clock, replica):
    model = {lsn: write(replica, clock, lsn) for lsn in range(1, 6)}
    fork(replica, "child", at=4)
    before = keys(store)
    with pytest.raises(BadRequest, match="its forks child read pages of it"):
        removed(store)
    assert keys(store) == before
    removed(store, "child")
    removed(store)
    assert list_volumes(store) == []
    assert model


def test_a_fork_that_is_made_meanwhile_stops_the_removal(tmp_path, store, clock, replica):
    write(replica, clock, 1)
    faulty = FaultyStore(store)
    faulty.fail_next("put_if_absent", preceded_by(lambda: fork(replica, "child")), key_part="/commits/")
    with pytest.raises(BadRequest, match="child"):
        removed(faulty)
    wanted = write(replica, clock, 2)
    assert reads(tmp_path, store, [2]) == {2: wanted}, "the volume goes on"


@pytest.mark.parametrize("goes_on", [removed, collected], ids=["rm", "gc"])
@pytest.mark.parametrize(
    "point", ["rm: after closing", "rm: after name", "gc: after segments", "gc: between tombstones"]
)
def test_a_removal_that_dies_is_finished(tmp_path, store, clock, replica, other, point, goes_on):
    for lsn in range(1, 6):
        write(replica, clock, lsn)
    with dying_at(point), pytest.raises(Killed):
        removed(store)
    if "vol" in list_volumes(store):
        assert "graft rm or graft gc goes on" in details(store)["vol"].state
        with pytest.raises(NoSuchVolume, match="was removed"):
            clone(tmp_path / "half", f"{store.url}#vol", store=store)
        goes_on(store)
    else:
        collected(store)
    assert list_volumes(store) == ["b"]
    assert not [
        key for key, size in keys(store).items() if str(replica.log) in key and "/commits/" in key and size > 100
    ]
    assert reads(tmp_path, store, other, "b") == other


def test_renaming(tmp_path, store, clock, replica, other):
    wanted = write(replica, clock, 1)
    assert str(rename_volume(f"{store.url}#vol", "new", store=store)) == f"{store.url}#new"
    assert list_volumes(store) == ["b", "new"]
    assert reads(tmp_path, store, [1], "new") == {1: wanted}
    replica.close()
    set_remote(replica.path, f"{store.url}#new", store=store)
    for bad, error in (("b", VolumeExists), ("new", BadRequest), ("no/name", BadRequest)):
        with pytest.raises(error):
            rename_volume(f"{store.url}#new", bad, store=store)
    with pytest.raises(NoSuchVolume):
        rename_volume(f"{store.url}#vol", "other", store=store)
    assert list_volumes(store) == ["b", "new"]


def test_a_renaming_that_dies_leaves_both_names_and_is_finished(tmp_path, store, clock, replica):
    wanted = write(replica, clock, 1)
    with dying_at("mv: after new name"), pytest.raises(Killed):
        rename_volume(f"{store.url}#vol", "new", store=store)
    assert list_volumes(store) == ["new", "vol"]
    collected(store, keep_last=1)
    assert reads(tmp_path, store, [1], "vol") == reads(tmp_path, store, [1], "new") == {1: wanted}
    rename_volume(f"{store.url}#vol", "new", store=store)
    assert list_volumes(store) == ["new"]
    assert reads(tmp_path, store, [1], "new") == {1: wanted}


def test_removing_one_of_two_names_leaves_the_volume(tmp_path, store, clock, replica):
    wanted = write(replica, clock, 1)
    with dying_at("mv: after new name"), pytest.raises(Killed):
        rename_volume(f"{store.url}#vol", "new", store=store)
    assert removed(store, "vol").only_name
    assert reads(tmp_path, store, [1], "new") == {1: wanted}


def test_a_damaged_volume_is_told_and_can_be_removed(tmp_path, store, clock, replica, other):
    for lsn in range(1, 4):
        write(replica, clock, lsn)
    newest = min(key for key in keys(store) if str(replica.log) in key)
    store.put(newest, store.get(newest)[:-1] + b"x")
    assert details(store)["vol"].state.startswith("damaged")
    before = keys(store)
    with pytest.raises(Corrupt, match="volume vol lacks what its versions need"):
        collected(store, "b", keep_last=1)
    assert {key for key in before if "/collected/" not in key} <= set(keys(store)), "nothing was deleted"
    removed(store)
    assert list_volumes(store) == ["b"]
    assert reads(tmp_path, store, [3], "b") == {3: other[3]}
