"""Reading a commit's segment whole once somebody came to it twice."""

import pytest

from pagestore.errors import CorruptObject
from pagestore.parallel import Parallel
from pagestore.segments import wide_reads as wide_reads_module
from pagestore.segments.codec import Codec
from pagestore.segments.fetch import fetch_frames
from pagestore.segments.fetch_plan import FrameLocation, RangeRead
from pagestore.segments.format import encode_frame
from pagestore.segments.wide_reads import WIDE_BYTES, WideReads
from tests.pagestore.segments.sample_segment import OTHER_SEGMENT, PAGE_SIZE, DictStore, body_of

KEY = "logs/l-1/commits/1"


def commit_of(pages, *, start=1000):
    """A commit with one page a frame, some bytes between them, and the frames' places."""
    data, places = bytes(start), {}
    for page in pages:
        frame = encode_frame(OTHER_SEGMENT, PAGE_SIZE, [page], [body_of(page)], Codec.RAW)
        places[page] = FrameLocation(KEY, len(data), len(frame), OTHER_SEGMENT, segment_offset=start)
        data += frame
    return data, places


@pytest.fixture
def parallel():
    with Parallel(4) as pool:
        yield pool


def met(place):
    """One who met differences in that commit."""
    wide_reads = WideReads()
    wide_reads.met(place)
    return wide_reads


def fetched(store, parallel, frames, wide_reads):
    return [int(frame.pages[0]) for _, frame in fetch_frames(store, parallel, frames, PAGE_SIZE, wide_reads=wide_reads)]


def test_where_there_are_no_differences_frames_are_read_alone(parallel):
    data, places = commit_of(range(1, 21))
    store, wide_reads = DictStore({KEY: data}), WideReads()
    for page in (5, 9, 5):
        assert fetched(store, parallel, [places[page]], wide_reads) == [page]
    assert [length for _, _, length in store.reads] == [places[5].length] * 3


def test_the_second_read_brings_the_rest_and_the_third_needs_none(parallel):
    data, places = commit_of(range(1, 21))
    store, wide_reads = DictStore({KEY: data}), met(places[1])
    assert fetched(store, parallel, [places[9]], wide_reads) == [9]
    assert store.reads == [(KEY, 1000, WIDE_BYTES)]
    assert fetched(store, parallel, [places[page] for page in range(1, 21)], wide_reads) == list(range(1, 21))
    assert len(store.reads) == 1


def test_what_lies_further_on_is_read_alone(parallel):
    data, places = commit_of(range(1, 101))
    store, wide_reads = DictStore({KEY: data}), met(places[1])
    for page in (99, 98):
        assert fetched(store, parallel, [places[page]], wide_reads) == [page]
    assert [length for _, _, length in store.reads] == [places[1].length] * 2


def test_reads_are_told_as_long_as_they_were(parallel):
    data, places = commit_of(range(1, 6))
    told = []
    store, wide_reads = DictStore({KEY: data}), met(places[1])
    list(fetch_frames(store, parallel, [places[3]], PAGE_SIZE, wide_reads=wide_reads, on_read=told.append))
    assert told == [RangeRead(KEY, 1000, len(data) - 1000, (places[3],))]
    assert told[0].gap_bytes == 4 * places[1].length


def test_a_commit_that_was_cut_short_is_corrupt(parallel):
    data, places = commit_of(range(1, 6))
    store, wide_reads = DictStore({KEY: data[: places[3].offset + 10]}), met(places[1])
    with pytest.raises(CorruptObject, match=f"expected {places[3].length} bytes at offset {places[3].offset}, got 10"):
        fetched(store, parallel, [places[3]], wide_reads)
    store.objects[KEY] = data
    assert fetched(store, parallel, [places[3]], wide_reads) == [3]


def test_wrong_bytes_are_asked_for_again(parallel):
    data, places = commit_of(range(1, 6))
    wrong = bytearray(data)
    wrong[places[4].offset + 100] ^= 1
    store, wide_reads = DictStore({KEY: bytes(wrong)}), met(places[1])
    fetched(store, parallel, [places[2]], wide_reads)
    for _ in range(2):
        with pytest.raises(CorruptObject, match="checksum"):
            fetched(store, parallel, [places[4]], wide_reads)
    store.objects[KEY] = data
    assert fetched(store, parallel, [places[4]], wide_reads) == [4]


def test_what_is_kept_is_bounded(parallel, monkeypatch):
    monkeypatch.setattr(wide_reads_module, "_CACHED_BYTES_MAX", 3000)
    data, places = commit_of(range(1, 4))
    wide_reads = WideReads()
    for number in range(10):
        key = f"logs/l-1/commits/{number}"
        place = FrameLocation(key, places[2].offset, places[2].length, OTHER_SEGMENT, segment_offset=1000)
        wide_reads.met(place)
        assert fetched(DictStore({key: data}), parallel, [place], wide_reads) == [2]
    assert 0 < wide_reads._cached_bytes == sum(len(kept) for _, kept in wide_reads._cached.values()) <= 3000
