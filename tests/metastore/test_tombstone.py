"""Tombstones, collection records and pins: their bytes, and what damage of them says."""

import pytest

from metastore.append import Landed, Lost, settle
from metastore.collected import CollectionRecord, Remaining, decode_collection, read_remaining, record_key, write_record
from metastore.commit_codec import FIXED_BYTES, decode_commit
from metastore.errors import CommitCollected, CorruptCommit, LogClosed, UnsupportedCommit
from metastore.ids import LogId
from metastore.lsn import LSN
from metastore.objectlog import ObjectCommitLog
from metastore.pins import PinRecord, new_pin, parse_pin
from metastore.placement import commit_key
from metastore.tombstone import (
    TOMBSTONE_BYTES,
    Tombstone,
    TombstoneKind,
    closing,
    decode_tombstone,
    encode_tombstone,
    tombstone_of,
)
from pagestore.stores.memory import MemoryStore
from pagestore.testing import FaultyStore, preceded_by
from tests.metastore.sample_commit import GOLDEN, golden_commits

LOG = LogId(bytes.fromhex("00112233445566778899aabbccddeeff"))
SAMPLE = Tombstone(TombstoneKind.COLLECTED, LOG, LSN(7), bytes(range(16)), bytes(range(16, 32)), 1_700_000_000_000_000)


def test_golden():
    assert encode_tombstone(SAMPLE) == (GOLDEN / "tombstone_v1.golden").read_bytes()
    assert encode_tombstone(closing(LOG, LSN(8))) == (GOLDEN / "tombstone_v1_closed.golden").read_bytes()
    store = MemoryStore("tombstone-golden")
    key = write_record(store, LOG, Remaining(LSN(90), (LSN(7), LSN(12))))
    assert store.get(key) == (GOLDEN / "collected_v1.golden").read_bytes()
    assert key.startswith(f"logs/{LOG}/collected/ffffffffffffffa5-")


def test_round_trip_and_size():
    data = encode_tombstone(SAMPLE)
    assert len(data) == TOMBSTONE_BYTES < FIXED_BYTES, "a listing tells tombstones from commits"
    assert decode_tombstone(data) == SAMPLE


@pytest.mark.parametrize("position", range(TOMBSTONE_BYTES))
def test_each_flipped_bit_is_told(position):
    data = bytearray(encode_tombstone(SAMPLE))
    data[position] ^= 1
    with pytest.raises(CorruptCommit):
        decode_commit(bytes(data), LOG, LSN(7))


def test_a_reader_of_the_commit_is_told():
    with pytest.raises(CommitCollected, match=r"commit 7 of log .* was collected") as caught:
        decode_commit(encode_tombstone(SAMPLE), LOG, LSN(7))
    assert (caught.value.lsn, caught.value.hash) == (7, SAMPLE.hash)
    with pytest.raises(LogClosed, match="was removed; it ended at LSN 7"):
        decode_commit(encode_tombstone(closing(LOG, LSN(8))), LOG, LSN(8))
    with pytest.raises(CorruptCommit, match="tombstone of commit 7"):
        decode_commit(encode_tombstone(SAMPLE), LOG, LSN(6))
    with pytest.raises(CorruptCommit):
        decode_commit(encode_tombstone(SAMPLE)[:-1], LOG, LSN(7))


def test_a_writer_finds_its_nonce_in_the_tombstone():
    store = MemoryStore("tombstone-settle")
    commit = decode_commit(golden_commits()["commit_v1_base.golden"], LOG, LSN(1))
    store.put(commit_key(LOG, LSN(1)), encode_tombstone(tombstone_of(commit)))
    assert settle(ObjectCommitLog(store), LOG, LSN(1), commit.nonce) == Landed()
    assert settle(ObjectCommitLog(store), LOG, LSN(1), b"another nonce, 16") == Lost(None)


def test_what_remains_is_what_all_records_leave():
    store = MemoryStore("tombstone-records")
    assert read_remaining(store, LOG).is_whole
    write_record(store, LOG, Remaining(LSN(10), (LSN(3), LSN(5))))
    write_record(store, LOG, Remaining(LSN(4), ()))
    write_record(store, LOG, Remaining(LSN(12), (LSN(3), LSN(5), LSN(11))))
    left = read_remaining(store, LOG)
    assert left == Remaining(LSN(12), (LSN(5), LSN(11)))
    assert [lsn for lsn in range(15) if lsn in left] == [0, 5, 11, 12, 13, 14]
    assert left.below(13) == [13, 12, 11, 5]
    assert left.describe() == "LSN 12 and all newer ones, and 5, 11"


def test_records_that_make_no_sense_are_told():
    store = MemoryStore("tombstone-bad-records")
    key = write_record(store, LOG, Remaining(LSN(10), (LSN(3),)))
    data = store.get(key)
    with pytest.raises(CorruptCommit, match="checksum"):
        decode_collection(data.replace(b"10", b"11"), LOG, "the record")
    with pytest.raises(CorruptCommit, match="is of log"):
        decode_collection(data, LogId(bytes(16)), "the record")
    with pytest.raises(UnsupportedCommit, match="format 2"):
        decode_collection(data.replace(b'"format":1', b'"format":2'), LOG, "the record")
    with pytest.raises(ValueError, match="ascend"):
        CollectionRecord(log=str(LOG), floor=LSN(3), versions=(LSN(3),))
    assert record_key(LOG, CollectionRecord(log=str(LOG), floor=LSN(10), versions=(LSN(3),))) == key


def test_pins_say_all_in_their_key():
    pin = new_pin(LOG, LSN(7), 3600)
    assert parse_pin(pin.key) == pin
    assert PinRecord(LOG, LSN(7), 60, "0" * 16).key == f"pins/{LOG}/7-60-{'0' * 16}"
    for stray in ("pins/x/7-60-0", f"pins/{LOG}/7-60", f"pins/{LOG}/a-b-{'0' * 16}", "pins/"):
        assert parse_pin(stray) is None
    for seconds in (0, -1, 10**9):
        with pytest.raises(ValueError, match="a pin lasts"):
            new_pin(LOG, LSN(7), seconds)


def test_a_record_that_is_superseded_while_it_is_read_is_looked_for_again():
    store = FaultyStore(MemoryStore("tombstone-superseded"))
    old = write_record(store, LOG, Remaining(LSN(10)))

    def superseded():
        write_record(store, LOG, Remaining(LSN(12)))
        store.delete(old)

    store.fail_next("get", preceded_by(superseded))
    assert read_remaining(store, LOG) == Remaining(LSN(12))
