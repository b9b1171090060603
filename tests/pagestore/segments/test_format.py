import struct

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from pagestore.errors import CorruptObject, UnsupportedFormat
from pagestore.pages import PAGE_IDX_MAX
from pagestore.segments.codec import PLAIN_CODECS, Codec
from pagestore.segments.dictionary import DICTIONARY_STORED_BYTES_MAX, encode_dictionary
from pagestore.segments.fetch_plan import segment_key
from pagestore.segments.format import (
    FRAME_HEADER_BYTES,
    FRAME_RAW_BYTES_MAX,
    SEGMENT_HEADER_BYTES,
    TRAILER_BYTES,
    decode_frame,
    encode_frame,
)
from pagestore.segments.reader import read_segment
from pagestore.segments.writer import SegmentWriter
from tests.pagestore.segments.sample_segment import (
    DICTIONARY,
    GOLDEN,
    OTHER_SEGMENT,
    PAGE_SIZE,
    PAGES,
    SEGMENT,
    SELF_CONTAINED,
    body_of,
    write_segment,
)

BAD = (CorruptObject, UnsupportedFormat)
PAGE = st.one_of(st.integers(1, 64), st.integers(1, PAGE_IDX_MAX))
PAGE_SIZES = st.sampled_from([512, 1024, 4096])


def content(data, segment=SEGMENT, page_size=PAGE_SIZE):
    """Every page of a segment and its body."""
    return {
        int(page): frame.body[slot * page_size : (slot + 1) * page_size]
        for _, frame in read_segment(data, segment)
        for slot, page in enumerate(frame.pages)
    }


def flips(data):
    """``data`` with each of its bits flipped in turn."""
    for bit in range(8 * len(data)):
        wrong = bytearray(data)
        wrong[bit // 8] ^= 1 << (bit % 8)
        yield bytes(wrong)


def resealed(data):
    """A whole segment with its last checksum made right again, as a buggy writer would leave it."""
    return data[:-8] + struct.pack("<Q", xxhash.xxh3_64_intdigest(data[:-8]))


@given(
    st.dictionaries(PAGE, st.binary(min_size=1, max_size=16), max_size=40),
    PAGE_SIZES,
    st.sampled_from(SELF_CONTAINED),
    st.integers(1, 20000),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_a_segment_reads_back(seeds, page_size, codec, frame_bytes, layout_order, random):
    pages = sorted(seeds)
    if layout_order:
        random.shuffle(pages)
    bodies = {page: (seed * page_size)[:page_size] for page, seed in seeds.items()}
    writer = SegmentWriter(
        SEGMENT, page_size, frame_bytes=frame_bytes, codec=codec, layout_order=layout_order,
        dictionary=DICTIONARY if codec is Codec.ZSTD_DICTIONARY else None,
    )  # fmt: skip
    data = b"".join([*(writer.add(page, bodies[page]) for page in pages), writer.finish()])

    assert content(data, page_size=page_size) == bodies
    assert [extent for extent, _ in read_segment(data, SEGMENT)] == writer.frames
    assert writer.size == len(data)
    per_frame = max(1, frame_bytes // page_size)
    assert [list(extent.pages) for extent in writer.frames] == [
        sorted(pages[start : start + per_frame]) for start in range(0, len(pages), per_frame)
    ]


@pytest.mark.parametrize("codec", SELF_CONTAINED)
def test_a_frame_is_read_without_its_segment(codec):
    data, frames = write_segment(codec=codec)
    for extent in frames:
        stored = memoryview(data)[extent.offset : extent.offset + extent.length]
        frame = decode_frame(stored, SEGMENT, PAGE_SIZE, DICTIONARY)
        assert frame.pages.dtype == np.uint32
        assert frame.pages.tolist() == list(extent.pages)
        assert frame.body == b"".join(body_of(page) for page in extent.pages)


def test_a_decoded_frame_keeps_nothing_of_the_buffer():
    buffer = bytearray(encode_frame(SEGMENT, PAGE_SIZE, [3], [body_of(3)], Codec.RAW))
    frame = decode_frame(buffer, SEGMENT, PAGE_SIZE)
    buffer.clear()  # would raise if a view of it were alive
    assert frame.pages.tolist() == [3]
    assert frame.body == body_of(3)
    with pytest.raises(ValueError, match="read-only"):
        frame.pages[0] = 4


def test_the_writer_copies_what_it_keeps():
    writer = SegmentWriter(SEGMENT, PAGE_SIZE, frame_bytes=2 * PAGE_SIZE)
    buffer = bytearray(body_of(1))
    begun = writer.add(1, memoryview(buffer))
    buffer[:] = bytes(PAGE_SIZE)
    assert content(begun + writer.finish()) == {1: body_of(1)}


def test_bytes_come_out_a_frame_at_a_time():
    writer = SegmentWriter(SEGMENT, PAGE_SIZE, frame_bytes=2 * PAGE_SIZE, codec=Codec.RAW)
    frame_bytes = FRAME_HEADER_BYTES + 2 * 4 + 2 * PAGE_SIZE
    assert [len(writer.add(page, body_of(page))) for page in (1, 2, 3, 4)] == [
        0,
        SEGMENT_HEADER_BYTES + frame_bytes,
        0,
        frame_bytes,
    ]
    assert len(writer.finish()) == 2 * 16 + TRAILER_BYTES


def test_a_segment_may_be_empty():
    data, frames = write_segment([])
    assert frames == []
    assert content(data) == {}


@pytest.mark.parametrize(
    ("layout_order", "pages"),
    [(False, [2, 2]), (False, [2, 1]), (True, [2, 1, 2]), (False, [0]), (True, [-1])],
)
def test_pages_that_do_not_belong_are_refused(layout_order, pages):
    writer = SegmentWriter(SEGMENT, PAGE_SIZE, layout_order=layout_order)
    for page in pages[:-1]:
        writer.add(page, body_of(page))
    with pytest.raises(ValueError):
        writer.add(pages[-1], body_of(1))
    assert set(content(writer.finish())) == set(pages[:-1]), "the refused page left no trace"


@pytest.mark.parametrize(("page", "length"), [(PAGE_IDX_MAX + 1, PAGE_SIZE), (1, PAGE_SIZE - 1), (1, 0)])
def test_impossible_pages_and_bodies_are_refused(page, length):
    with pytest.raises(ValueError):
        SegmentWriter(SEGMENT, PAGE_SIZE).add(page, bytes(length))


@pytest.mark.parametrize(
    "settings",
    [
        {"page_size": 1000},
        {"page_size": 4096, "frame_bytes": FRAME_RAW_BYTES_MAX + 4096},
        {"page_size": 4096, "codec": Codec.RAW, "level": 1},
    ],
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValueError):
        SegmentWriter(SEGMENT, **settings)


@pytest.mark.parametrize(
    ("pages", "bodies"),
    [
        ([], []),
        ([1], []),
        ([2, 1], [body_of(2), body_of(1)]),
        ([1, 1], [body_of(1)] * 2),
        ([0], [body_of(0)]),
        ([1, 2], [body_of(1)[1:], body_of(2) + b"."]),
        (range(1, 2 + FRAME_RAW_BYTES_MAX // PAGE_SIZE), []),
    ],
)
def test_impossible_frames_are_refused(pages, bodies):
    with pytest.raises(ValueError):
        encode_frame(SEGMENT, PAGE_SIZE, pages, bodies, Codec.RAW)


@pytest.mark.parametrize("codec", SELF_CONTAINED)
def test_every_flipped_bit_of_a_segment_is_noticed(codec):
    data, _ = write_segment([1, 2, 7], codec=codec)
    for wrong in flips(data):
        with pytest.raises(BAD):
            content(wrong)


@pytest.mark.parametrize("codec", SELF_CONTAINED)
def test_every_truncation_of_a_segment_is_noticed(codec):
    data, _ = write_segment(codec=codec)
    for wrong in [*(data[:length] for length in range(len(data))), data + b"\0", data + data]:
        with pytest.raises(BAD):
            content(wrong)


@pytest.mark.parametrize("codec", SELF_CONTAINED)
def test_no_flipped_bit_of_a_frame_gives_a_wrong_page(codec):
    pages, bodies = [3, 9], [body_of(3), body_of(9)]
    stored = encode_frame(SEGMENT, PAGE_SIZE, pages, bodies, codec, dictionary=DICTIONARY)
    for wrong in flips(stored):
        try:
            frame = decode_frame(wrong, SEGMENT, PAGE_SIZE, DICTIONARY)
        except BAD:
            continue
        assert codec is not Codec.RAW
        assert frame.pages.tolist() == pages, "several compressed forms may stand for the same bytes"
        assert frame.body == b"".join(bodies)


@pytest.mark.parametrize("codec", SELF_CONTAINED)
def test_every_truncation_of_a_frame_is_noticed(codec):
    stored = encode_frame(SEGMENT, PAGE_SIZE, [3, 9], [body_of(3), body_of(9)], codec, dictionary=DICTIONARY)
    for wrong in [*(stored[:length] for length in range(len(stored))), stored + b"\0"]:
        with pytest.raises(CorruptObject, match=str(SEGMENT)):
            decode_frame(wrong, SEGMENT, PAGE_SIZE)


@given(st.binary(max_size=200))
def test_noise_is_no_segment_and_no_frame(noise):
    with pytest.raises(BAD):
        content(noise)
    with pytest.raises(BAD):
        decode_frame(noise, SEGMENT, PAGE_SIZE)


def test_a_frame_of_another_segment_is_refused():
    stored = encode_frame(OTHER_SEGMENT, PAGE_SIZE, [3], [body_of(3)], Codec.LZ4)
    assert decode_frame(stored, OTHER_SEGMENT, PAGE_SIZE).body == body_of(3)
    with pytest.raises(CorruptObject, match=str(SEGMENT)):
        decode_frame(stored, SEGMENT, PAGE_SIZE)


def test_a_frame_of_another_page_size_is_refused():
    stored = encode_frame(SEGMENT, PAGE_SIZE, [3, 4], [body_of(3), body_of(4)], Codec.RAW)
    with pytest.raises(CorruptObject):
        decode_frame(stored, SEGMENT, 2 * PAGE_SIZE)


def test_another_segment_in_this_ones_place_is_refused():
    data, _ = write_segment(segment=OTHER_SEGMENT)
    with pytest.raises(CorruptObject, match=f"{SEGMENT} holds the bytes of segment {OTHER_SEGMENT}"):
        content(data)


def test_another_segments_frame_within_a_sealed_segment_is_refused():
    data, frames = write_segment(codec=Codec.RAW)
    other, _ = write_segment(codec=Codec.RAW, segment=OTHER_SEGMENT)
    start, end = frames[1].offset, frames[1].offset + frames[1].length
    with pytest.raises(CorruptObject, match="checksum"):
        content(resealed(data[:start] + other[start:end] + data[end:]))


def test_a_page_in_two_frames_is_refused():
    frames = [encode_frame(SEGMENT, PAGE_SIZE, [page], [body_of(page)], Codec.RAW) for page in (4, 4)]
    data, extents = write_segment([4, 5], codec=Codec.RAW, frame_bytes=PAGE_SIZE)
    start, end = extents[0].offset, extents[1].offset + extents[1].length
    with pytest.raises(CorruptObject, match="page 4 is in two frames"):
        content(resealed(data[:start] + b"".join(frames) + data[end:]))


@pytest.mark.parametrize(
    ("offset", "value", "error"),
    [
        (0, b"GRAFTSEG", CorruptObject),
        (8, b"\x04\x00", UnsupportedFormat),  # version
        (8, b"\x00\x00", UnsupportedFormat),
        (10, b"\x01", UnsupportedFormat),  # cipher
        (11, b"\x01", UnsupportedFormat),  # reserved
        (12, b"\x01\x00\x00\x00", UnsupportedFormat),  # key id
        (16, b"\xe8\x03\x00\x00", CorruptObject),  # a page size of 1000
        (20, b"\x01\x00\x00\x00", UnsupportedFormat),  # reserved
        (40, b"\x07", UnsupportedFormat),  # the first frame's codec
        (41, b"\x01", UnsupportedFormat),  # and cipher
        (-TRAILER_BYTES - 2, b"\x01\x00", UnsupportedFormat),  # the last directory entry's reserved field
        (-TRAILER_BYTES - 4, b"\x09\x00", CorruptObject),  # its page count
        (-TRAILER_BYTES - 8, b"\x00", CorruptObject),  # its length
        (-TRAILER_BYTES - 16, b"\x00", CorruptObject),  # its offset
        (-TRAILER_BYTES, b"\x00", CorruptObject),  # the directory's offset
        (-TRAILER_BYTES + 8, b"\x00", CorruptObject),  # the frame count
        (-TRAILER_BYTES + 12, b"\x01", UnsupportedFormat),  # reserved
    ],
)
def test_fields_are_checked_even_under_a_right_checksum(offset, value, error):
    data, _ = write_segment()
    at = offset % len(data)
    with pytest.raises(error, match=str(SEGMENT)):
        content(resealed(data[:at] + value + data[at + len(value) :]))


@pytest.mark.parametrize("pages", [[0, 1], [2, 2], [3, 1], [1, 2**32 - 1]])
def test_a_page_list_is_checked_even_under_a_right_checksum(pages):
    raw = struct.pack("<2I", *pages) + body_of(1) + body_of(2)
    seed = int.from_bytes(SEGMENT.raw[8:], "big")
    header = struct.pack("<BBHIQ", 0, 0, 2, 2 * PAGE_SIZE, xxhash.xxh3_64_intdigest(raw, seed))
    with pytest.raises(CorruptObject, match="do not ascend"):
        decode_frame(header + raw, SEGMENT, PAGE_SIZE)


def test_a_frame_that_claims_too_many_pages_is_refused_before_memory_is_asked_for():
    page_count = 1 + FRAME_RAW_BYTES_MAX // 65536
    stored = struct.pack("<BBHIQ", 1, 0, page_count, 1, 0) + bytes(4 * page_count + 1)
    with pytest.raises(CorruptObject, match=f"{page_count} pages"):
        decode_frame(stored, SEGMENT, 65536)


def test_the_largest_frame_there_may_be():
    pages = range(1, 1 + FRAME_RAW_BYTES_MAX // PAGE_SIZE)
    stored = encode_frame(SEGMENT, PAGE_SIZE, pages, [body_of(page) for page in pages], Codec.LZ4)
    assert decode_frame(stored, SEGMENT, PAGE_SIZE).pages.tolist() == list(pages)


@pytest.mark.parametrize("codec", SELF_CONTAINED)
def test_golden_bytes(codec):
    version = 1 if codec in PLAIN_CODECS else 2
    golden = (GOLDEN / f"segment_v{version}_{codec.name.lower()}.golden").read_bytes()
    (dictionary_bytes,) = struct.unpack_from("<I", golden, 20)
    assert golden[SEGMENT_HEADER_BYTES + dictionary_bytes] == codec, "the first frame uses the codec"
    assert bool(dictionary_bytes) == (codec is Codec.ZSTD_DICTIONARY)
    assert content(golden) == {page: body_of(page) for page in PAGES}
    assert write_segment(codec=codec)[0][:40] == golden[:40]
    if codec is Codec.RAW:
        assert write_segment(codec=codec)[0] == golden, "compressors may differ between versions; raw may not"


def test_a_segment_without_what_is_new_is_of_the_old_version():
    for codec in PLAIN_CODECS:
        assert write_segment(codec=codec)[0][8:10] == b"\x01\x00"


def test_frames_may_be_made_elsewhere_and_appended():
    writer = SegmentWriter(SEGMENT, PAGE_SIZE, layout_order=True, dictionary=DICTIONARY)
    made = [
        ([70000], Codec.ZSTD_STRIDES),
        ([2, 9], Codec.ZSTD_DICTIONARY),
        ([1], Codec.RAW),
    ]
    data = b"".join(
        writer.append(
            pages, encode_frame(SEGMENT, PAGE_SIZE, pages, [*map(body_of, pages)], codec, dictionary=DICTIONARY)
        )
        for pages, codec in made
    )
    data += writer.finish()
    assert content(data) == {page: body_of(page) for page in (1, 2, 9, 70000)}
    assert [extent for extent, _ in read_segment(data, SEGMENT)] == writer.frames
    again = SegmentWriter(SEGMENT, PAGE_SIZE, layout_order=True)
    again.append([4], encode_frame(SEGMENT, PAGE_SIZE, [4], [body_of(4)], Codec.RAW))
    with pytest.raises(ValueError, match="comes twice"):
        again.append([4], encode_frame(SEGMENT, PAGE_SIZE, [4], [body_of(4)], Codec.RAW))


def test_a_frame_that_needs_a_dictionary_is_refused_without_one():
    stored = encode_frame(SEGMENT, PAGE_SIZE, [3], [body_of(3)], Codec.ZSTD_DICTIONARY, dictionary=DICTIONARY)
    with pytest.raises(CorruptObject, match="its segment has none"):
        decode_frame(stored, SEGMENT, PAGE_SIZE)
    with pytest.raises(ValueError, match="needs a dictionary"):
        SegmentWriter(SEGMENT, PAGE_SIZE, codec=Codec.ZSTD_DICTIONARY)


def test_a_dictionary_of_another_segment_is_refused():
    data, _ = write_segment(codec=Codec.ZSTD_DICTIONARY)
    mine, other = encode_dictionary(SEGMENT, DICTIONARY), encode_dictionary(OTHER_SEGMENT, DICTIONARY)
    assert data.count(mine) == 1
    with pytest.raises(CorruptObject, match="dictionary"):
        content(resealed(data.replace(mine, other)))


def test_a_dictionary_that_is_too_long_is_refused_before_it_is_looked_for():
    data, _ = write_segment(codec=Codec.ZSTD_DICTIONARY)
    wrong = data[:20] + struct.pack("<I", DICTIONARY_STORED_BYTES_MAX + 1) + data[24:]
    with pytest.raises(CorruptObject, match="claims a dictionary"):
        content(resealed(wrong))


def test_golden_bytes_in_layout_order():
    pages = [70000, 5, 2, 1]
    data, frames = write_segment(pages, codec=Codec.RAW, layout_order=True)
    assert [list(frame.pages) for frame in frames] == [[5, 70000], [1, 2]]
    assert data == (GOLDEN / "segment_v1_layout_order.golden").read_bytes()


def test_the_key():
    assert segment_key(SEGMENT) == "segments/s-00112233445566778899aabbccddeeff"
