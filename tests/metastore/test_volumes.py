"""Volume names and their records."""

import json
import uuid

import pytest

from metastore.errors import (
    CorruptCommit,
    LogUnavailable,
    NoSuchVolume,
    UnsupportedCommit,
    VolumeExists,
)
from metastore.ids import LogId, VolumeId
from metastore.lineage import Parent
from metastore.lsn import LSN
from metastore.records import sealed
from metastore.volumes import (
    VolumeRecord,
    all_volumes,
    check_name,
    create_volume,
    delete_volume,
    encode_record,
    list_volumes,
    read_volume,
    volume_key,
)
from pagestore.errors import StoreUnavailable
from pagestore.parallel import Parallel
from pagestore.stores.memory import MemoryStore
from pagestore.stores.metered import MeteredStore
from tests.metastore.sample_commit import GOLDEN

RECORD = VolumeRecord(
    volume=VolumeId(bytes(range(16))), log=LogId(bytes(range(1, 17))), page_size=4096, created_us=1_700_000_000_000_000
)
FORK = RECORD.model_copy(
    update={"parent": Parent(volume=VolumeId(bytes(16)), log=LogId(bytes(range(2, 18))), lsn=LSN(7))}
)

GRANDPARENT = Parent(volume=VolumeId(bytes(range(3, 19))), log=LogId(bytes(range(4, 20))), lsn=LSN(3))
BRANCH = FORK.model_copy(update={"earlier": (FORK.parent, GRANDPARENT)})
PARENT = json.loads(FORK.model_dump_json())["parent"]


@pytest.fixture
def store():
    return MeteredStore(MemoryStore(uuid.uuid4().hex))


@pytest.mark.parametrize("name", ["a", "7", "my-app.db", "A_b", "x" * 128, "main.sqlite3"])
def test_names(name):
    assert check_name(name) == name
    assert volume_key(name) == f"volumes/{name}"


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "-a", "_a", "a/b", "a b", "x" * 129, "ä", "a\n", "a\0", "#"]
)
def test_what_is_no_name(store, name):
    for call in (
        lambda: check_name(name),
        lambda: create_volume(store, name, RECORD),
        lambda: read_volume(store, name),
    ):
        with pytest.raises(ValueError, match="not a volume name"):
            call()
    assert store.snapshot().requests == 0


@pytest.mark.parametrize("record", [RECORD, FORK, BRANCH])
def test_a_volume_is_created_and_found_with_one_request_each(store, record):
    create_volume(store, "app", record)
    assert store.snapshot().requests == 1
    assert read_volume(store, "app") == record
    assert store.snapshot().requests == 2


def test_the_record_is_json_that_anyone_can_read(store):
    create_volume(store, "app", FORK)
    assert json.loads(store.get("volumes/app")) == {
        "format": 2,
        "volume": "v-000102030405060708090a0b0c0d0e0f",
        "log": "l-0102030405060708090a0b0c0d0e0f10",
        "page_size": 4096,
        "created_us": 1_700_000_000_000_000,
        "parent": {
            "volume": "v-00000000000000000000000000000000",
            "log": "l-02030405060708090a0b0c0d0e0f1011",
            "lsn": 7,
        },
        "checksum": "ec5757898f3aa465",
    }


@pytest.mark.parametrize("record", [RECORD, FORK, BRANCH])
def test_every_damaged_byte_is_noticed(store, record):
    whole = encode_record(record)
    for place in range(len(whole)):
        for flip in (0x01, 0x02, 0x03, 0x20, 0x80):
            store.put("volumes/app", bytes([*whole[:place], whole[place] ^ flip, *whole[place + 1 :]]))
            with pytest.raises((CorruptCommit, UnsupportedCommit)):
                read_volume(store, "app")
    for length in range(len(whole)):
        store.put("volumes/app", whole[:length])
        with pytest.raises(CorruptCommit):
            read_volume(store, "app")


@pytest.mark.parametrize(
    ("name", "record"),
    [("volume_v2.golden", RECORD), ("volume_v2_fork.golden", FORK), ("volume_v3.golden", BRANCH)],
)
def test_golden_objects_that_this_release_writes(store, name, record):
    golden = (GOLDEN / name).read_bytes()
    assert encode_record(record) == golden
    store.put("volumes/app", golden)
    assert read_volume(store, "app") == record


@pytest.mark.parametrize(("name", "record"), [("volume_v1.golden", RECORD), ("volume_v1_fork.golden", FORK)])
def test_objects_of_version_1_stay_readable(store, name, record):
    store.put("volumes/app", (GOLDEN / name).read_bytes())
    assert read_volume(store, "app") == record


def test_a_name_is_given_once(store):
    create_volume(store, "app", RECORD)
    with pytest.raises(VolumeExists, match=f"a volume named app exists already in {store.url}"):
        create_volume(store, "app", FORK)
    assert read_volume(store, "app") == RECORD


def test_a_retry_after_a_lost_reply_finds_its_own_record(store):
    create_volume(store, "app", RECORD)
    create_volume(store, "app", RECORD)
    assert list_volumes(store) == ["app"]


def test_an_unknown_name(store):
    with pytest.raises(NoSuchVolume, match="no volume named app"):
        read_volume(store, "app")


def test_a_store_that_does_not_answer():
    class Failing:
        url = "memory://failing"

        def fail(self, *_, **__):
            raise StoreUnavailable("no answer")

        get = put_if_absent = list = fail

    for call in (
        lambda: create_volume(Failing(), "app", RECORD),
        lambda: read_volume(Failing(), "app"),
        lambda: list_volumes(Failing()),
    ):
        with pytest.raises(LogUnavailable, match="no answer"):
            call()


def test_volumes_are_listed_in_order_and_strays_are_not(store):
    assert list_volumes(store) == []
    for name in ("b", "a", "c.db"):
        create_volume(store, name, RECORD)
    store.put("volumes/.DS_Store", b"")
    store.put("volumes/folder/x", b"")
    store.put("volumesx", b"")
    assert list_volumes(store) == ["a", "b", "c.db"]


@pytest.mark.parametrize("compact", [True, False])
def test_a_newer_format_asks_for_an_upgrade(store, compact):
    record = json.loads(RECORD.model_dump_json()) | {"format": 4, "page_size": {"new": "kind"}}
    separators = (",", ":") if compact else (" , ", " : ")
    store.put("volumes/app", json.dumps(record, separators=separators).encode())
    with pytest.raises(UnsupportedCommit, match=r"volume app in .* has format 4, this release reads 3; upgrade graft"):
        read_volume(store, "app")


@pytest.mark.parametrize(
    ("number", "fields"),
    [
        (2, {"earlier": [PARENT]}),
        (3, {"earlier": []}),
        (3, {"earlier": [PARENT], "parent": None}),
        (3, {"earlier": [PARENT | {"lsn": 8}]}),
        (3, {"earlier": [PARENT, PARENT]}),
        (3, {}),
    ],
)
def test_a_record_that_contradicts_itself_is_corrupt(store, number, fields):
    record = json.loads(FORK.model_dump_json(exclude={"earlier"})) | {"format": number} | fields
    store.put("volumes/app", sealed(json.dumps(record, separators=(",", ":")).encode()[:-1]))
    with pytest.raises(CorruptCommit, match="volume app in memory"):
        read_volume(store, "app")


def test_all_volumes_and_the_deletion_of_one(store):
    for name, record in (("b", BRANCH), ("a", RECORD), ("f", FORK)):
        create_volume(store, name, record)
    delete_volume(store, "f")
    delete_volume(store, "f")
    before = store.snapshot()
    with Parallel(2) as parallel:
        assert list(all_volumes(store, parallel).items()) == [("a", RECORD), ("b", BRANCH)]
    assert (store.snapshot() - before).requests == 1 + 2


def test_an_unknown_field_is_passed_over(store):
    record = json.loads(RECORD.model_dump_json()) | {"note": "from a newer release of this format"}
    store.put("volumes/app", json.dumps(record).encode())
    assert read_volume(store, "app") == RECORD


@pytest.mark.parametrize(
    "change",
    [
        {"format": 0},
        {"format": "1"},
        {"format": None},
        {"volume": "l-000102030405060708090a0b0c0d0e0f"},
        {"volume": 7},
        {"log": "l-0001"},
        {"log": None},
        {"page_size": 1000},
        {"created_us": "yesterday"},
        {"parent": {"volume": "v-00000000000000000000000000000000"}},
        {"parent": json.loads(FORK.model_dump_json())["parent"] | {"lsn": 0}},
    ],
)
def test_a_record_that_makes_no_sense_is_corrupt(store, change):
    store.put("volumes/app", json.dumps(json.loads(RECORD.model_dump_json()) | change).encode())
    with pytest.raises(CorruptCommit, match="volume app in memory"):
        read_volume(store, "app")


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"7", b"null", b"\xff\xfe", b"{}", RECORD.model_dump_json().encode()[:50]]
)
def test_a_record_that_is_no_record_is_corrupt(store, data):
    store.put("volumes/app", data)
    with pytest.raises(CorruptCommit, match="volume app in memory"):
        read_volume(store, "app")


def test_a_record_without_its_format_is_corrupt(store):
    record = json.loads(RECORD.model_dump_json())
    del record["format"]
    store.put("volumes/app", json.dumps(record).encode())
    with pytest.raises(CorruptCommit, match="does not state its format"):
        read_volume(store, "app")
