"""The bytes of a segment table."""

import random
import struct

import pytest

from metastore.errors import CorruptCommit, MetaStoreError, UnsupportedCommit
from metastore.ids import LogId
from metastore.lsn import LSN, LSN_MAX
from metastore.placement import InCommit, OwnObject, SegmentRef
from metastore.segment_table import decode_segments, encode_segments
from pagestore.ids import SegmentId
from pagestore.segments.dictionary import DICTIONARY_STORED_BYTES_MAX

LOG = LogId(bytes(range(16)))
HERE = InCommit(LOG, LSN(9), 777)


def some_refs(count, seed=1):
    chance = random.Random(seed)
    refs = []
    for number in range(count):
        segment = SegmentId((1_700_000_000_000 - 5000 * number).to_bytes(6, "big") + chance.randbytes(10))
        home = InCommit(LOG, LSN(count + 5 - number), chance.randint(300, 900))
        refs.append(SegmentRef(segment, chance.choice([OwnObject(), OwnObject(50_000 + number), home, home])))
    return refs


@pytest.mark.parametrize("count", [0, 1, 2, 3, 100])
def test_round_trip(count):
    refs = some_refs(count)
    assert decode_segments(memoryview(encode_segments(refs)), count, HERE) == tuple(refs)


def test_a_bare_id_is_the_commits_own():
    mine, other = SegmentId(bytes(16)), SegmentRef(SegmentId(bytes(range(16))), InCommit(LOG, LSN_MAX, 2**64 - 1))
    found = decode_segments(memoryview(encode_segments([other, mine, other])), 3, HERE)
    assert found == (other, SegmentRef(mine, HERE), other)


def test_a_long_table_is_small():
    assert len(encode_segments(some_refs(5000))) <= 5000 * 20


def test_the_layout():
    ref = SegmentRef(SegmentId(bytes(range(16))), InCommit(LOG, LSN(3), 5))
    assert encode_segments([ref]) == b"\0" + bytes(range(16)) + b"\1" + bytes(range(16)) + struct.pack("<QQ", 3, 5)


def test_wrong_rows_codecs_and_homes_are_refused():
    data = encode_segments(some_refs(2))
    for rows in (0, 1, 3):
        with pytest.raises(CorruptCommit, match="segment table"):
            decode_segments(memoryview(data), rows, HERE)
    with pytest.raises(CorruptCommit, match="no codec"):
        decode_segments(memoryview(b""), 0, HERE)
    with pytest.raises(UnsupportedCommit, match="codec 9"):
        decode_segments(memoryview(b"\x09" + data[1:]), 2, HERE)
    homes = bytearray(data)
    homes[1 + 32] = 4
    with pytest.raises(UnsupportedCommit, match=r"segment s-.* has a home of kind 4; upgrade graft"):
        decode_segments(memoryview(bytes(homes)), 2, HERE)


@pytest.mark.parametrize("length", [0, DICTIONARY_STORED_BYTES_MAX + 1, 2**64 - 1])
def test_impossible_dictionaries_are_refused(length):
    data = bytearray(encode_segments([SegmentRef(SegmentId(bytes(range(16))), OwnObject(7))]))
    assert data[1 + 16] == 3
    assert data[-8:] == struct.pack("<Q", 7)
    data[-8:] = struct.pack("<Q", length)
    with pytest.raises(CorruptCommit, match="dictionary"):
        decode_segments(memoryview(bytes(data)), 1, HERE)


def test_no_cut_table_decodes():
    for count in (2, 50):
        data = encode_segments(some_refs(count))
        for length in range(len(data)):
            with pytest.raises(MetaStoreError):
                decode_segments(memoryview(data[:length]), count, HERE)
