"""Frames of differences: written, read, fetched with their bases, and damaged in every way."""

import struct

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from pagestore.errors import CorruptObject, ObjectNotFound, UnsupportedFormat
from pagestore.parallel import Parallel
from pagestore.segments.codec import Codec
from pagestore.segments.delta import BASE_PLACE_BYTES, Base, bodies_of
from pagestore.segments.delta_bases import NoBases
from pagestore.segments.dictionary import DICTIONARY_STORED_BYTES_MAX
from pagestore.segments.fetch import RecentDictionaries, fetch_frames
from pagestore.segments.fetch_plan import FrameLocation, segment_key
from pagestore.segments.format import (
    FRAME_HEADER_BYTES,
    FRAME_STORED_BYTES_MAX,
    SEGMENT_VERSION,
    base_of,
    decode_frame,
    encode_frame,
    version_for,
)
from pagestore.segments.reader import read_segment
from pagestore.segments.writer import SegmentWriter
from tests.pagestore.segments.sample_segment import (
    DICTIONARY,
    GOLDEN,
    OTHER_SEGMENT,
    PAGE_SIZE,
    SEGMENT,
    DictStore,
)

BAD = (CorruptObject, UnsupportedFormat)
COMMIT = "logs/l-1/commits/1"
BASE_KEY = segment_key(SEGMENT)


@pytest.fixture
def parallel():
    with Parallel(4) as pool:
        yield pool


def body_of(page):
    """A body of which a compressor alone makes little."""
    return "".join(f"{page * number % 65521:05};" for number in range(1, 87)).encode()[:PAGE_SIZE]


def changed(page):
    """The body of a page, its last words replaced."""
    return body_of(page)[:-16] + b"changed, a bit.."


def base_frames(pages, codec=Codec.LZ4):
    """A segment that is an object of its own, and its frames' places by their pages."""
    dictionary = DICTIONARY if codec is Codec.ZSTD_DICTIONARY else None
    writer = SegmentWriter(SEGMENT, PAGE_SIZE, frame_bytes=2 * PAGE_SIZE, codec=codec, dictionary=dictionary)
    data = b"".join([*(writer.add(page, body_of(page)) for page in pages), writer.finish()])
    return data, {
        tuple(extent.pages): FrameLocation(BASE_KEY, extent.offset, extent.length, SEGMENT, writer.dictionary_bytes)
        for extent in writer.frames
    }


def difference(pages, place, segment=OTHER_SEGMENT):
    base = Base(place, b"".join(map(body_of, pages)))
    return encode_frame(segment, PAGE_SIZE, pages, [*map(changed, pages)], Codec.ZSTD_DELTA, base=base)


def in_commit(*frames):
    """A store's object that holds frames as a commit does, and their places."""
    data, places = b"commit" * 10, []
    for frame in frames:
        places.append(FrameLocation(COMMIT, len(data), len(frame), OTHER_SEGMENT))
        data += frame
    return data, places


def fetched(store, parallel, frames, **chosen):
    return {
        int(page): frame.body[slot * PAGE_SIZE : (slot + 1) * PAGE_SIZE]
        for _, frame in fetch_frames(store, parallel, frames, PAGE_SIZE, **chosen)
        for slot, page in enumerate(frame.pages)
    }


class KeptBases:
    """Keeps them, and what it was asked and given."""

    def __init__(self):
        self.frames = {}

    def get(self, place, pages):
        found = self.frames.get(place)
        return found and bodies_of(pages, found.pages.tolist(), found.body, PAGE_SIZE)

    def add(self, place, frame):
        self.frames[place] = frame


# frames


@given(
    st.dictionaries(st.integers(1, 2**32 - 2), st.tuples(st.binary(max_size=40), st.binary(max_size=40)), min_size=1),
    st.sampled_from([512, 4096]),
    st.integers(0, 2**63 - 1),
    st.integers(1, FRAME_STORED_BYTES_MAX),
    st.integers(0, DICTIONARY_STORED_BYTES_MAX),
)
def test_a_frame_of_differences_reads_back(seeds, page_size, offset, length, dictionary_bytes):
    pages = sorted(seeds)
    before = b"".join(((seeds[page][0] or b"?") * page_size)[:page_size] for page in pages)
    after = [((seeds[page][1] or b"!") + before)[:page_size] for page in pages]
    place = FrameLocation(BASE_KEY, offset, length, SEGMENT, dictionary_bytes)
    stored = encode_frame(OTHER_SEGMENT, page_size, pages, after, Codec.ZSTD_DELTA, base=Base(place, before))
    base = base_of(stored, OTHER_SEGMENT, page_size)
    assert base in (None, (place, pages))
    assert (base is not None) == (stored[0] == Codec.ZSTD_DELTA)
    frame = decode_frame(stored, OTHER_SEGMENT, page_size, base_bodies=before if base else None)
    assert frame.pages.tolist() == pages
    assert frame.body == b"".join(after)


def test_a_changed_word_takes_few_bytes():
    noise = b"".join(xxhash.xxh3_128_digest(bytes([number])) for number in range(32))
    place = FrameLocation(BASE_KEY, 40, 600, SEGMENT)
    wrote = encode_frame(
        OTHER_SEGMENT, 512, [7], [noise[:100] + b"a word" + noise[106:]], Codec.ZSTD_DELTA, base=Base(place, noise)
    )
    assert len(wrote) <= FRAME_HEADER_BYTES + 4 + BASE_PLACE_BYTES + 40


def test_what_a_base_does_not_make_shorter_is_stored_without_one():
    place = FrameLocation(BASE_KEY, 40, 600, SEGMENT)
    stored = encode_frame(
        OTHER_SEGMENT, 512, [7], [bytes(512)], Codec.ZSTD_DELTA, base=Base(place, b"something else.." * 32)
    )
    assert stored[0] == Codec.ZSTD
    assert base_of(stored, OTHER_SEGMENT, 512) is None


def test_bodies_of_pages_in_any_order_of_slots_and_only_if_all_are_there():
    body = b"aabbcc"
    assert bodies_of([7, 3], [3, 0, 7], body, 2) == b"ccaa"
    assert bodies_of([3, 5], [3, 0, 7], body, 2) is None
    assert bodies_of([3, 0], [3, 0, 7], body, 2) is None


def test_no_flipped_bit_gives_a_wrong_page():
    _, places = base_frames([1, 2])
    stored = difference([1, 2], places[1, 2])
    bodies = body_of(1) + body_of(2)
    for bit in range(8 * len(stored)):
        wrong = bytearray(stored)
        wrong[bit // 8] ^= 1 << (bit % 8)
        try:
            base_of(wrong, OTHER_SEGMENT, PAGE_SIZE)
            frame = decode_frame(wrong, OTHER_SEGMENT, PAGE_SIZE, base_bodies=bodies)
        except BAD:
            continue
        assert frame.pages.tolist() == [1, 2]
        assert frame.body == changed(1) + changed(2)


def test_every_truncation_is_noticed():
    _, places = base_frames([1, 2])
    stored = difference([1, 2], places[1, 2])
    for wrong in [*(stored[:length] for length in range(len(stored))), stored + b"\0"]:
        with pytest.raises(CorruptObject, match=str(OTHER_SEGMENT)):
            decode_frame(wrong, OTHER_SEGMENT, PAGE_SIZE, base_bodies=body_of(1) + body_of(2))


@given(st.binary(max_size=120), st.integers(1, 4))
def test_noise_is_no_frame_of_differences(noise, page_count):
    head = struct.pack(f"<BBHIQ{page_count}I", 5, 0, page_count, len(noise), 0, *range(1, page_count + 1))
    with pytest.raises(CorruptObject, match=str(OTHER_SEGMENT)):
        decode_frame(head + noise, OTHER_SEGMENT, PAGE_SIZE, base_bodies=bytes(page_count * PAGE_SIZE))


@pytest.mark.parametrize(
    ("offset", "length", "dictionary_bytes"),
    [
        (40, FRAME_STORED_BYTES_MAX + 1, 0),
        (40, 0, 0),
        (1 << 63, 100, 0),
        (40, 100, DICTIONARY_STORED_BYTES_MAX + 1),
    ],
)
def test_a_base_where_no_frame_can_be_is_not_asked_for(parallel, offset, length, dictionary_bytes):
    stored = bytearray(difference([1], FrameLocation(BASE_KEY, 40, 100, SEGMENT)))
    struct.pack_into("<QII", stored, FRAME_HEADER_BYTES + 4 + 16, offset, length, dictionary_bytes)
    data, places = in_commit(bytes(stored))
    store = DictStore({COMMIT: data})
    with pytest.raises(CorruptObject, match=f"object {COMMIT}, .*: a delta names an impossible base"):
        fetched(store, parallel, places)
    assert len(store.reads) == 1


def test_a_zstandard_frame_that_claims_much_is_refused_before_memory_is_asked_for():
    stored = bytearray(difference([1], FrameLocation(BASE_KEY, 40, 100, SEGMENT)))
    bomb = b"\x28\xb5\x2f\xfd\xa0" + struct.pack("<I", 1 << 31) + b"\x01\x00\x00"
    body = bytes(stored[FRAME_HEADER_BYTES + 4 :][:BASE_PLACE_BYTES]) + bomb
    stored = stored[:4] + struct.pack("<I", len(body)) + stored[8 : FRAME_HEADER_BYTES + 4] + body
    with pytest.raises(CorruptObject, match="claims 2147483648 bytes"):
        decode_frame(stored, OTHER_SEGMENT, PAGE_SIZE, base_bodies=body_of(1))


def test_differences_need_their_base_and_no_other():
    stored = difference([1], FrameLocation(BASE_KEY, 40, 100, SEGMENT))
    with pytest.raises(CorruptObject, match="a delta to another frame"):
        decode_frame(stored, OTHER_SEGMENT, PAGE_SIZE)
    with pytest.raises(CorruptObject, match="checksum"):
        decode_frame(stored, OTHER_SEGMENT, PAGE_SIZE, base_bodies=body_of(2))
    with pytest.raises(CorruptObject, match="has 1024 bytes of its pages instead of 512"):
        decode_frame(stored, OTHER_SEGMENT, PAGE_SIZE, base_bodies=body_of(1) * 2)


# segments


def written(frames, version=SEGMENT_VERSION):
    writer = SegmentWriter(OTHER_SEGMENT, PAGE_SIZE, layout_order=True, version=version)
    return b"".join([*(writer.append(pages, frame) for pages, frame in frames), writer.finish()])


def test_versions():
    assert [version_for(codec) for codec in Codec] == [1, 1, 1, 2, 2, 3]
    with pytest.raises(AssertionError, match="BUG"):
        written([([1], difference([1], FrameLocation(BASE_KEY, 40, 100, SEGMENT)))], version=2)


def test_a_segment_is_read_as_far_as_the_bases_are_here():
    _, places = base_frames([1, 2, 5, 9])
    data = written(
        [
            ([1], difference([1], places[1, 2])),
            ([7], encode_frame(OTHER_SEGMENT, PAGE_SIZE, [7], [body_of(7)], Codec.ZSTD)),
            ([5, 9], difference([5, 9], places[5, 9])),
        ]
    )
    assert data[8:10] == b"\x03\x00"

    def bases(place, pages):
        return b"".join(map(body_of, pages)) if place == places[5, 9] else None

    found = {tuple(extent.pages): frame.body for extent, frame in read_segment(data, OTHER_SEGMENT, bases)}
    assert found == {(7,): body_of(7), (5, 9): changed(5) + changed(9)}
    with pytest.raises(CorruptObject, match="a delta to another frame"):
        list(read_segment(data, OTHER_SEGMENT))


def test_golden_bytes():
    golden = (GOLDEN / "segment_v3_zstd_difference.golden").read_bytes()
    _, places = base_frames([1, 2, 5, 70000, 4294967294], Codec.RAW)
    assert places[5, 70000].offset == 1088

    def bases(place, pages):
        assert place == places[5, 70000]
        return b"".join(map(body_of, pages))

    found = [(extent.pages.tolist(), frame.body) for extent, frame in read_segment(golden, OTHER_SEGMENT, bases)]
    assert found == [([5, 70000], changed(5) + changed(70000)), ([6], body_of(6))]


# fetching


@pytest.mark.parametrize("codec", [Codec.LZ4, Codec.ZSTD_DICTIONARY])
def test_bases_are_fetched_in_one_round_trip_more(parallel, codec):
    base, places = base_frames(range(1, 41), codec)
    data, frames = in_commit(
        difference([1], places[1, 2]), difference([2], places[1, 2]), difference([19, 20], places[19, 20])
    )
    store, bases = DictStore({COMMIT: data, BASE_KEY: base}), KeptBases()
    expected = {page: changed(page) for page in (1, 2, 19, 20)}
    assert fetched(store, parallel, frames, bases=bases) == expected
    assert [read[0] for read in store.reads] == [COMMIT, BASE_KEY]
    assert set(bases.frames) == {places[1, 2], places[19, 20]}
    assert fetched(store, parallel, frames, bases=bases) == expected
    assert [read[0] for read in store.reads] == [COMMIT, BASE_KEY, COMMIT], "the bases are here now"


def test_bases_that_are_wanted_anyway_are_fetched_once(parallel):
    base, places = base_frames(range(1, 41))
    data, frames = in_commit(difference([2], places[1, 2]), difference([19], places[19, 20]))
    store, bases = DictStore({COMMIT: data, BASE_KEY: base}), KeptBases()
    yielded = list(fetch_frames(store, parallel, [*places.values(), *frames], PAGE_SIZE, bases=bases))
    assert sorted(place.key for place, _ in yielded) == [COMMIT] * 2 + [BASE_KEY] * 20
    assert len(store.reads) == 2
    assert not bases.frames, "who asked for them keeps them"
    assert {int(frame.pages[0]): frame.body for place, frame in yielded if place.key == COMMIT} == {
        2: changed(2),
        19: changed(19),
    }


def test_what_waits_is_bounded(parallel, monkeypatch):
    monkeypatch.setattr("pagestore.segments.fetch.WAITING_BYTES_MAX", 250)
    base, places = base_frames(range(1, 41))
    data, frames = in_commit(*(difference([page], places[page, page + 1]) for page in range(1, 41, 2)))
    store = DictStore({COMMIT: data, BASE_KEY: base})
    assert fetched(store, parallel, frames) == {page: changed(page) for page in range(1, 41, 2)}
    assert len(store.reads) > 5


def test_a_base_that_lacks_a_page_is_named(parallel):
    base, places = base_frames([1, 2])
    data, frames = in_commit(difference([3], places[1, 2]))
    with pytest.raises(
        CorruptObject, match=rf"object {COMMIT}, .* its base, object {BASE_KEY}, .* lacks pages of \[3\]"
    ):
        fetched(DictStore({COMMIT: data, BASE_KEY: base}), parallel, frames)


def test_a_damaged_base_is_named_with_who_needs_it(parallel):
    base, places = base_frames([1, 2], Codec.RAW)
    wrong = bytearray(base)
    wrong[100] ^= 1
    data, frames = in_commit(*(difference([page], places[1, 2]) for page in (1, 2)), difference([2], places[1, 2]))
    with pytest.raises(CorruptObject, match=rf"object {BASE_KEY}, .* needed as a base by object {COMMIT}"):
        fetched(DictStore({COMMIT: data, BASE_KEY: bytes(wrong)}), parallel, frames)


@pytest.mark.parametrize("objects", [{}, {BASE_KEY: b"short"}])
def test_an_absent_base_is_named_with_who_needs_it(parallel, objects):
    _, places = base_frames([1, 2])
    data, frames = in_commit(*[difference([1], places[1, 2])] * 5)
    with pytest.raises(CorruptObject, match=rf"{BASE_KEY}.* needed as a base by object {COMMIT}.* and others \(2\)"):
        fetched(DictStore({COMMIT: data, **objects}), parallel, frames)


def test_a_damaged_difference_is_named_with_its_base(parallel):
    base, places = base_frames([1, 2], Codec.RAW)
    stored = bytearray(difference([1], places[1, 2]))
    stored[8] ^= 1  # of its checksum
    data, frames = in_commit(bytes(stored))
    with pytest.raises(CorruptObject, match=rf"object {COMMIT}, .*object {BASE_KEY}, .*as its base: .*checksum"):
        fetched(DictStore({COMMIT: data, BASE_KEY: base}), parallel, frames)


def test_differences_in_a_segment_of_its_own_are_refused(parallel):
    _, places = base_frames([1, 2])
    stored = difference([1], places[1, 2], segment=SEGMENT)
    own = FrameLocation(BASE_KEY, 0, len(stored), SEGMENT)
    with pytest.raises(CorruptObject, match=f"object {BASE_KEY}, .*which only a segment inside a commit"):
        fetched(DictStore({BASE_KEY: stored}), parallel, [own])


def test_a_base_that_consists_of_differences_is_refused(parallel):
    _, places = base_frames([1, 2])
    second = difference([1], places[1, 2], segment=SEGMENT)
    data, frames = in_commit(difference([1], FrameLocation(BASE_KEY, 0, len(second), SEGMENT)))
    with pytest.raises(
        CorruptObject, match=f"object {BASE_KEY}, .*which only a segment inside a commit.*object {COMMIT}"
    ):
        fetched(DictStore({COMMIT: data, BASE_KEY: second}), parallel, frames)


def test_an_object_that_is_missing_is_missing_also_where_differences_are_looked_for(parallel):
    with pytest.raises(ObjectNotFound):
        fetched(DictStore({}), parallel, [FrameLocation(COMMIT, 0, 10, OTHER_SEGMENT)], bases=NoBases())


def test_a_dictionary_is_kept_for_the_next_time(parallel):
    base, places = base_frames(range(1, 41), Codec.ZSTD_DICTIONARY)
    data, frames = in_commit(difference([21], places[21, 22]))
    store, dictionaries = DictStore({COMMIT: data, BASE_KEY: base}), RecentDictionaries()
    for _ in range(2):
        assert fetched(store, parallel, frames, dictionaries=dictionaries, gap_bytes_max=0) == {21: changed(21)}
    assert [read[0] for read in store.reads] == [COMMIT, BASE_KEY, BASE_KEY, COMMIT, BASE_KEY]
    assert dictionaries.get(SEGMENT).raw == DICTIONARY.raw
