from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagestore.errors import CorruptObject, ObjectNotFound, UnsupportedFormat
from pagestore.parallel import Parallel
from pagestore.segments.codec import Codec
from pagestore.segments.fetch import RecentDictionaries, fetch_frames, fetch_lone_frame
from pagestore.segments.fetch_plan import FrameLocation, RangeRead, plan_fetch, segment_key
from pagestore.segments.format import SEGMENT_HEADER_BYTES
from pagestore.segments.writer import SegmentWriter
from tests.pagestore.segments.sample_segment import (
    DICTIONARY,
    OTHER_SEGMENT,
    PAGE_SIZE,
    SEGMENT,
    DictStore,
    body_of,
    write_segment,
)

KEY = segment_key(SEGMENT)


@st.composite
def frames_of_objects(draw):
    """Frames of up to three objects, which do not overlap, as segments have them."""
    frames = []
    for key in draw(st.sets(st.sampled_from(["a", "b", "c"]))):
        end = 0
        for gap, length in draw(st.lists(st.tuples(st.integers(0, 300), st.integers(1, 300)), max_size=12)):
            frames.append(FrameLocation(key, end + gap, length, SEGMENT))
            end += gap + length
    return frames


@given(frames_of_objects(), st.integers(0, 200), st.integers(1, 1000), st.randoms(use_true_random=False))
def test_a_plan_brings_every_frame_once_and_wastes_no_more_than_allowed(frames, gap_max, range_max, random):
    plan = plan_fetch(frames, gap_bytes_max=gap_max, range_bytes_max=range_max)

    planned = [frame for read in plan for frame in read.frames]
    assert planned == sorted(frames, key=lambda frame: (frame.key, frame.offset))
    for read in plan:
        assert read.length <= range_max or len(read.frames) == 1
        assert read.start == read.frames[0].offset
        assert read.start + read.length == read.frames[-1].offset + read.frames[-1].length
        for left, right in pairwise(read.frames):
            assert left.key == right.key == read.key
            assert 0 <= right.offset - (left.offset + left.length) <= gap_max
    for left, right in pairwise(plan):
        if left.key == right.key:
            end = left.start + left.length
            assert right.start >= end
            joined = right.frames[0].offset + right.frames[0].length - left.start
            assert right.start - end > gap_max or joined > range_max, "two reads where one would do"

    again = [*frames, *frames]
    random.shuffle(again)
    assert plan_fetch(again, gap_bytes_max=gap_max, range_bytes_max=range_max) == plan


def test_a_plan_in_numbers():
    def at(offset, length, key="k"):
        return FrameLocation(key, offset, length, SEGMENT)

    frames = [at(900, 100), at(40, 60), at(110, 40), at(2000, 5000), at(0, 10, "j")]
    assert plan_fetch(frames, gap_bytes_max=10, range_bytes_max=1000) == [
        RangeRead("j", 0, 10, (at(0, 10, "j"),)),
        RangeRead("k", 40, 110, (at(40, 60), at(110, 40))),
        RangeRead("k", 900, 100, (at(900, 100),)),
        RangeRead("k", 2000, 5000, (at(2000, 5000),)),
    ]
    assert plan_fetch([]) == []


@pytest.fixture
def parallel():
    with Parallel(4) as pool:
        yield pool


def segment_with(pages, segment=SEGMENT):
    data, extents = write_segment(pages, segment=segment)
    key = segment_key(segment)
    return data, [FrameLocation(key, extent.offset, extent.length, segment) for extent in extents]


def fetched(store, parallel, frames, **limits):
    return {
        int(page): frame.body[slot * PAGE_SIZE : (slot + 1) * PAGE_SIZE]
        for _, frame in fetch_frames(store, parallel, frames, PAGE_SIZE, **limits)
        for slot, page in enumerate(frame.pages)
    }


@pytest.mark.parametrize("range_bytes_max", [1, 300, 4 * 2**20])
def test_frames_come_whole_and_in_order(parallel, range_bytes_max):
    data, frames = segment_with(range(1, 100))
    other, other_frames = segment_with(range(200, 250), OTHER_SEGMENT)
    store = DictStore({KEY: data, segment_key(OTHER_SEGMENT): other})
    wanted = [*frames[::3], *other_frames]

    got = list(fetch_frames(store, parallel, wanted[::-1], PAGE_SIZE, range_bytes_max=range_bytes_max))

    assert [location for location, _ in got] == sorted(wanted, key=lambda frame: (frame.key, frame.offset))
    for page, body in fetched(store, parallel, wanted, range_bytes_max=range_bytes_max).items():
        assert body == body_of(page)


def test_neighbours_share_one_request(parallel):
    data, frames = segment_with(range(1, 100))
    store = DictStore({KEY: data})
    assert len(fetched(store, parallel, frames)) == 99
    assert store.reads == [(KEY, frames[0].offset, frames[-1].offset + frames[-1].length - frames[0].offset)]


def test_a_segment_inside_another_object(parallel):
    data, frames = segment_with([1, 2, 3])
    inline = [FrameLocation("commit", 1000 + frame.offset, frame.length, SEGMENT) for frame in frames]
    store = DictStore({"commit": bytes(1000) + data + bytes(50)})
    assert fetched(store, parallel, inline) == {page: body_of(page) for page in (1, 2, 3)}


def with_dictionary(pages):
    writer = SegmentWriter(SEGMENT, PAGE_SIZE, frame_bytes=PAGE_SIZE, codec=Codec.ZSTD, dictionary=DICTIONARY)
    data = b"".join([*(writer.add(page, body_of(page)) for page in pages), writer.finish()])
    return data, [
        FrameLocation(KEY, extent.offset, extent.length, SEGMENT, writer.dictionary_bytes) for extent in writer.frames
    ]


def test_a_dictionary_comes_along_once(parallel):
    data, frames = with_dictionary(range(1, 60))
    store, dictionaries = DictStore({KEY: data}), RecentDictionaries()
    assert fetched(store, parallel, [frames[0]], dictionaries=dictionaries) == {1: body_of(1)}
    assert store.reads == [(KEY, SEGMENT_HEADER_BYTES, frames[0].dictionary_bytes + frames[0].length)]
    assert fetched(store, parallel, frames[40:42], dictionaries=dictionaries) == {41: body_of(41), 42: body_of(42)}
    assert len(store.reads) == 2
    assert store.reads[1][1] == frames[40].offset
    assert fetched(store, parallel, [frames[50]], gap_bytes_max=0) == {51: body_of(51)}
    assert [read[1] for read in sorted(store.reads[2:])] == [SEGMENT_HEADER_BYTES, frames[50].offset]


def test_a_lone_frame_whose_dictionary_is_here():
    data, frames = with_dictionary(range(1, 60))
    store, dictionaries, told = DictStore({KEY: data}), RecentDictionaries(), []
    assert fetch_lone_frame(store, frames[7], PAGE_SIZE, dictionaries, told.append) is None
    assert not store.reads
    dictionaries.add(SEGMENT, DICTIONARY, b"")
    assert fetch_lone_frame(store, frames[7], PAGE_SIZE, dictionaries, told.append).body == body_of(8)
    assert store.reads == [(KEY, frames[7].offset, frames[7].length)]
    assert told == [RangeRead(KEY, frames[7].offset, frames[7].length, (frames[7],))]


def test_a_lone_frame_inside_another_object_may_be_a_difference():
    store = DictStore({})
    assert fetch_lone_frame(store, FrameLocation("log/7", 100, 50, SEGMENT), PAGE_SIZE, RecentDictionaries()) is None
    assert not store.reads


@pytest.mark.parametrize("lacking", [1, 1000])
def test_a_lone_frame_that_is_cut_short_is_corrupt(lacking):
    data, frames = segment_with(range(1, 3))
    store = DictStore({KEY: data[: max(frames[0].offset + frames[0].length - lacking, 0)]})
    with pytest.raises(CorruptObject, match=f"object {KEY}: expected {frames[0].length} bytes at offset"):
        fetch_lone_frame(store, frames[0], PAGE_SIZE, RecentDictionaries())


def test_a_damaged_dictionary_is_named_with_its_place(parallel):
    data, frames = with_dictionary([1, 2])
    wrong = bytearray(data)
    wrong[SEGMENT_HEADER_BYTES + 10] ^= 1
    with pytest.raises(
        CorruptObject, match=rf"object {KEY}, \d+ bytes at offset {SEGMENT_HEADER_BYTES}: the dictionary"
    ):
        fetched(DictStore({KEY: bytes(wrong)}), parallel, frames)


@pytest.mark.parametrize("kept", [0, 1, -100])
def test_a_truncated_object_is_corrupt_and_never_zeros(parallel, kept):
    data, frames = segment_with([1, 2, 3])
    end = frames[-1].offset + frames[-1].length
    store = DictStore({KEY: data[:kept] if kept >= 0 else data[: end + kept]})
    start, length = frames[0].offset, end - frames[0].offset
    got = max(0, len(store.objects[KEY]) - start)
    with pytest.raises(CorruptObject, match=f"{KEY}: expected {length} bytes at offset {start}, got {got} from dict:"):
        fetched(store, parallel, frames)


def test_a_missing_object_is_reported_as_missing(parallel):
    _, frames = segment_with([1])
    with pytest.raises(ObjectNotFound):
        fetched(DictStore({}), parallel, frames)


@pytest.mark.parametrize(("byte", "error"), [(60, CorruptObject), (41, UnsupportedFormat)])
def test_a_damaged_frame_is_named_with_its_place(parallel, byte, error):
    data, frames = segment_with([1, 2, 3])
    wrong = bytearray(data)
    wrong[byte] ^= 0x80
    with pytest.raises(error, match=f"object {KEY}, {frames[0].length} bytes at offset {frames[0].offset}: "):
        fetched(DictStore({KEY: bytes(wrong)}), parallel, frames)


def test_only_a_window_of_reads_is_made_ahead(parallel):
    data, frames = segment_with(range(1, 200))
    store = DictStore({KEY: data})
    results = fetch_frames(store, parallel, frames, PAGE_SIZE, range_bytes_max=1)
    for taken in range(1, 20):
        next(results)
        assert len(store.reads) <= taken + parallel.threads
    results.close()
    assert len(store.reads) < len(frames) / 2


def test_frames_that_are_decoded_in_threads_come_in_order_up_to_the_bad_one(parallel):
    data, frames = segment_with(range(1, 3000))
    wrong = bytearray(data)
    bad = frames[len(frames) // 2]
    wrong[bad.offset + 40] ^= 0x80
    with Parallel(2) as decoding:
        got = list(fetch_frames(DictStore({KEY: data}), parallel, frames, PAGE_SIZE, decoding=decoding))
        assert [location for location, _ in got] == frames
        assert all(frame.body[:PAGE_SIZE] == body_of(int(frame.pages[0])) for _, frame in got)

        results, good = fetch_frames(DictStore({KEY: bytes(wrong)}), parallel, frames, PAGE_SIZE, decoding=decoding), []
        with pytest.raises(CorruptObject, match=f"{bad.length} bytes at offset {bad.offset}: "):
            good.extend(location for location, _ in results)
    assert good == frames[: frames.index(bad)]
