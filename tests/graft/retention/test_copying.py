"""`graft cp`: the newest version or the whole history, resumable and verified."""

import itertools
from contextlib import closing

import pytest

from graft.errors import BadRequest, Corrupt, RemoteUnavailable, VersionCollected, VolumeExists
from graft.operations.verify import verify
from graft.retention.copying import copy_volume
from graft.retention.remove import remove_volume
from graft.sync.clone import clone, init
from graft.sync.fork import fork
from graft.sync.set_remote import set_remote
from metastore.tags import TagRecord, create_tag, list_tags
from metastore.volumes import list_volumes
from pagestore.errors import StoreRefused
from pagestore.stores.memory import MemoryStore
from pagestore.testing import FaultyStore, lost_before
from pagestore.urls import open_store
from tests.graft.retention.support import collected, keys, reader, reads, write
from tests.graft.support import Killed, commit, content, dying_at, new_replica, small_settings

_names = itertools.count(1)


@pytest.fixture
def there():
    return MemoryStore(f"copy-{next(_names)}")


@pytest.fixture
def history(tmp_path, store, clock):
    """Twelve versions, in segments and inside commits."""
    with closing(new_replica(tmp_path / "vol", store, inline_bytes_max=512)) as replica:
        model = {lsn: write(replica, clock, lsn, changed=6 if lsn % 3 else 40) for lsn in range(1, 12)}
        return model | {12: write(replica, clock, 12, changed=3)}


def copied(store, there, name="vol", new="vol", **options):
    return copy_volume(
        f"{store.url}#{name}", f"{there.url}#{new}", source_store=store, target_store=there,
        settings=small_settings(), **options,
    )  # fmt: skip


def test_the_newest_version_becomes_a_volume_of_its_own(tmp_path, store, there, clock, history):
    done = copied(store, there, new="copy")
    assert (done.versions, done.verified_pages) == (1, 40)
    with reader(tmp_path, there, "copy") as copy:
        assert content(copy.snapshot()) == history[12]
        assert verify(copy).problems == ()
        write(copy, clock, "more")
        wanted = content(copy.snapshot())
    collected(there, keep_last=1)
    with reader(tmp_path, there, "copy") as copy:
        assert content(copy.snapshot()) == wanted
    assert reads(tmp_path, store, history) == history
    assert not [key for key in keys(store) if key.startswith("pins/")]


def test_the_whole_history_keeps_its_identity(tmp_path, store, there, clock, history):
    with reader(tmp_path, store) as replica:
        found = replica.remote.chain(replica.log, 5)[0].commit
        tag = TagRecord(
            volume=replica.volume, log=replica.log, lsn=5, commit=found.hash.hex(), created_us=1, author="a"
        )
        create_tag(store, "five", tag)
        volume = replica.volume
    done = copied(store, there, history=True)
    assert done.versions == 12
    assert reads(tmp_path, there, history) == history
    assert list_tags(there, volume) == ["five"]
    path = tmp_path / "moves"
    with closing(clone(path, f"{store.url}#vol", store=store, settings=small_settings())) as replica:
        commit(replica, [1], "mine")
    set_remote(path, f"{there.url}#vol", store=there)


def test_copying_a_history_again_sends_what_is_new(tmp_path, store, there, clock, history):
    first = copied(store, there, history=True)
    assert copied(store, there, history=True).sent_bytes == 0
    with reader(tmp_path, store) as replica:
        history[13] = write(replica, clock, 13)
    again = copied(store, there, history=True)
    assert 0 < again.sent_bytes < first.sent_bytes / 3
    assert reads(tmp_path, there, history) == history


def test_a_history_after_a_collection_has_what_remains(tmp_path, store, there, clock, history):
    collected(store, keep_last=4)
    copied(store, there, history=True)
    assert reads(tmp_path, there, range(9, 13)) == {lsn: history[lsn] for lsn in range(9, 13)}
    with pytest.raises(VersionCollected, match="LSN 9"):
        reads(tmp_path, there, [8])
    with reader(tmp_path, there) as copy:
        assert verify(copy).problems == ()


def test_a_branch_is_copied_with_what_it_began_on(tmp_path, store, there, clock, history):
    with reader(tmp_path, store) as replica:
        fork(replica, "branch", at=8)
    with reader(tmp_path, store, "branch") as branch:
        wanted = write(branch, clock, "branch")
    copied(store, there, "branch", "branch", history=True)
    assert reads(tmp_path, there, [7, 8, 9], "branch") == {7: history[7], 8: history[8], 9: wanted}
    copied(store, there, "branch", "alone")
    with reader(tmp_path, there, "alone") as alone:
        assert content(alone.snapshot()) == wanted


def test_a_copy_in_the_same_remote_sends_no_segments_and_needs_nobody(tmp_path, store, clock, history):
    done = copied(store, store, new="copy")
    assert done.sent_bytes < 8192
    remove_volume(f"{store.url}#vol", store=store, settings=small_settings())
    collected(store, keep_last=1)
    with reader(tmp_path, store, "copy") as copy:
        assert content(copy.snapshot()) == history[12]


@pytest.mark.parametrize("with_history", [False, True])
@pytest.mark.parametrize("point", ["cp: between segments", "cp: before commit", "cp: before name"])
def test_an_interrupted_copy_goes_on(tmp_path, store, there, history, point, with_history):
    with dying_at(point), pytest.raises(Killed):
        copied(store, there, history=with_history)
    assert list_volumes(there) == []
    arrived = {key for key in keys(there) if key.startswith("segments/")}
    assert arrived
    before = there.list("segments/")
    times = {info.key: info.modified_s for info in before}
    copied(store, there, history=with_history)
    after = {info.key: info.modified_s for info in there.list("segments/")}
    assert all(after[key] == times[key] for key in arrived), "what arrived is not sent again"
    assert content_of(tmp_path, there) == history[12]


def content_of(tmp_path, store):
    with reader(tmp_path, store) as replica:
        return content(replica.snapshot())


def test_a_remote_that_goes_away_is_told(store, there, history):
    faulty = FaultyStore(there)
    faulty.fail_next("put_stream", lost_before, key_part="segments/")
    with pytest.raises(RemoteUnavailable):
        copied(store, faulty)
    assert list_volumes(there) == []


def test_a_damaged_segment_is_not_copied(store, there, history):
    damaged = [key for key in keys(store) if key.startswith("segments/")]
    for key in damaged:
        data = bytearray(store.get(key))
        data[len(data) // 2] ^= 1
        store.put(key, bytes(data))
    with pytest.raises(Corrupt, match="does not match its checksum"):
        copied(store, there)
    assert not [key for key in keys(there) if key.startswith("segments/")]
    assert list_volumes(there) == []


def test_a_source_that_may_only_be_read_can_be_copied(tmp_path, store, there, history):
    def refused(method, *arguments):
        raise StoreRefused("may only be read")

    only_read = FaultyStore(store)
    for method in ("put", "put_if_absent", "put_stream", "delete", "delete_many"):
        for _ in range(9):
            only_read.fail_next(method, refused)
    copied(only_read, there)
    assert content_of(tmp_path, there) == history[12]


def test_what_cannot_be_copied(store, there, clock, tmp_path, history):
    with pytest.raises(BadRequest, match="graft fork"):
        copied(store, store, new="copy", history=True)
    with pytest.raises(BadRequest):
        copied(store, store)
    with closing(init(tmp_path / "taken", f"{there.url}#vol", page_size=512, store=there)):
        pass
    for with_history in (False, True):
        with pytest.raises(VolumeExists):
            copied(store, there, history=with_history)
    with pytest.raises(BadRequest, match="no volume named"):
        copied(store, there, "absent", "new")
    with pytest.raises(BadRequest, match="names no volume"):
        copy_volume(store.url, there.url)


def test_a_copy_that_was_pushed_to_is_not_overwritten(tmp_path, store, there, clock, history):
    copied(store, there, history=True)
    with reader(tmp_path, there) as copy:
        wanted = write(copy, clock, "there")
    with reader(tmp_path, store) as replica:
        write(replica, clock, "here")
    with pytest.raises(Corrupt, match="was pushed to"):
        copied(store, there, history=True)
    assert content_of(tmp_path, there) == wanted


def test_an_empty_volume(tmp_path, store, there):
    with closing(init(tmp_path / "empty", f"{store.url}#empty", page_size=512, store=store)):
        pass
    copied(store, there, "empty", "one")
    copied(store, there, "empty", "two", history=True)
    assert list_volumes(there) == ["one", "two"]


def test_to_real_stores(tmp_path, request, store, history, clock):
    bucket = request.getfixturevalue("seaweedfs_url")
    with closing(open_store(bucket)) as remote, closing(open_store(str(tmp_path / "directory"))) as directory:
        copied(store, remote)
        copied(remote, directory, history=True)
        assert content_of(tmp_path, directory) == history[12]
