"""Tags: names of versions."""

import json
import uuid

import pytest

from metastore.errors import CorruptCommit, NoSuchTag, TagExists, UnsupportedCommit
from metastore.ids import LogId, VolumeId
from metastore.lsn import LSN
from metastore.tags import (
    TagRecord,
    all_tags,
    check_tag,
    create_tag,
    delete_tag,
    encode_tag,
    list_tags,
    read_tag,
    replace_tag,
    tag_key,
    tags_of,
)
from pagestore.parallel import Parallel
from pagestore.stores.memory import MemoryStore
from pagestore.stores.metered import MeteredStore
from tests.metastore.sample_commit import GOLDEN

VOLUME = VolumeId(bytes(range(16)))
OTHER = VolumeId(bytes(range(1, 17)))
RECORD = TagRecord(
    volume=VOLUME, log=LogId(bytes(range(2, 18))), lsn=LSN(7), commit="00112233445566778899aabbccddeeff",
    created_us=1_700_000_000_000_000, author="ann@laptop", message="before the move",
)  # fmt: skip
LATER = RECORD.model_copy(update={"lsn": LSN(9), "commit": "ff" * 16, "message": None})


@pytest.fixture
def store():
    return MeteredStore(MemoryStore(uuid.uuid4().hex))


@pytest.fixture
def parallel():
    with Parallel(4) as threads:
        yield threads


@pytest.mark.parametrize("name", ["v1", "v1.2.3", "before-the-move", "2x", "at-2026-01-01", "x" * 128])
def test_names(name):
    assert check_tag(name) == name
    assert tag_key(VOLUME, name) == f"tags/{VOLUME}/{name}"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("7", "is an LSN"),
        ("2026-01-01", "is a time"),
        ("2026-W07-1", "is a time"),
        ("head", "newest version"),
        ("HEAD", "newest version"),
        ("", "letters, digits"),
        ("a/b", "letters, digits"),
        ("app@v1", "letters, digits"),
        (".hidden", "letters, digits"),
        ("x" * 129, "letters, digits"),
    ],
)
def test_names_that_mean_something_else(store, name, why):
    for call in (lambda: create_tag(store, name, RECORD), lambda: read_tag(store, VOLUME, name)):
        with pytest.raises(ValueError, match=why):
            call()
    assert store.snapshot().requests == 0


def test_a_tag_is_created_and_found_with_one_request_each(store):
    create_tag(store, "v1", RECORD)
    assert store.snapshot().requests == 1
    assert read_tag(store, VOLUME, "v1") == RECORD
    assert store.snapshot().requests == 2


def test_a_tag_does_not_move_unless_it_is_replaced(store):
    create_tag(store, "v1", RECORD)
    with pytest.raises(TagExists, match="there is a tag v1 already, of LSN 7"):
        create_tag(store, "v1", LATER)
    assert read_tag(store, VOLUME, "v1") == RECORD
    replace_tag(store, "v1", LATER)
    assert read_tag(store, VOLUME, "v1") == LATER


def test_a_retry_after_a_lost_reply_finds_its_own_tag(store):
    create_tag(store, "v1", RECORD)
    create_tag(store, "v1", RECORD.model_copy(update={"created_us": RECORD.created_us + 1}))
    assert read_tag(store, VOLUME, "v1") == RECORD


def test_deleting(store):
    create_tag(store, "v1", RECORD)
    delete_tag(store, VOLUME, "v1")
    delete_tag(store, VOLUME, "v1")
    with pytest.raises(NoSuchTag, match="no tag v1"):
        read_tag(store, VOLUME, "v1")


def test_each_volume_has_its_own(store, parallel):
    create_tag(store, "v1", RECORD)
    create_tag(store, "b", LATER)
    theirs = LATER.model_copy(update={"volume": OTHER})
    create_tag(store, "v1", theirs)
    store.put(f"tags/{VOLUME}/.DS_Store", b"")
    store.put(f"tags/{VOLUME}/folder/v1", b"")
    store.put("tags/stray", b"")
    assert list_tags(store, VOLUME) == ["b", "v1"]
    assert tags_of(store, parallel, VOLUME) == {"b": LATER, "v1": RECORD}
    assert tags_of(store, parallel, VolumeId(bytes(16))) == {}
    before = store.snapshot()
    assert all_tags(store, parallel) == {(VOLUME, "b"): LATER, (VOLUME, "v1"): RECORD, (OTHER, "v1"): theirs}
    assert (store.snapshot() - before).requests == 1 + 3


def test_the_golden_object(store):
    golden = (GOLDEN / "tag_v1.golden").read_bytes()
    assert encode_tag(RECORD) == golden
    store.put(tag_key(VOLUME, "v1"), golden)
    assert read_tag(store, VOLUME, "v1") == RECORD


def test_every_damaged_byte_is_noticed(store, parallel):
    whole = encode_tag(RECORD)
    for place in range(len(whole)):
        for flip in (0x01, 0x02, 0x03, 0x20, 0x80):
            store.put(tag_key(VOLUME, "v1"), bytes([*whole[:place], whole[place] ^ flip, *whole[place + 1 :]]))
            with pytest.raises((CorruptCommit, UnsupportedCommit)):
                read_tag(store, VOLUME, "v1")
    for length in range(len(whole)):
        store.put(tag_key(VOLUME, "v1"), whole[:length])
        with pytest.raises(CorruptCommit):
            read_tag(store, VOLUME, "v1")
    with pytest.raises(CorruptCommit):
        all_tags(store, parallel)  # nobody knows what it protects


def test_another_volumes_tag_put_here(store):
    store.put(tag_key(OTHER, "v1"), encode_tag(RECORD))
    with pytest.raises(CorruptCommit, match="but is stored under"):
        read_tag(store, OTHER, "v1")


def test_a_newer_format_asks_for_an_upgrade(store):
    store.put(tag_key(VOLUME, "v1"), json.dumps({"format": 2, "new": "kind"}).encode())
    with pytest.raises(UnsupportedCommit, match=r"tag v1 in .* has format 2, this release reads 1; upgrade graft"):
        read_tag(store, VOLUME, "v1")
