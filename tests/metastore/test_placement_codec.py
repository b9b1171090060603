"""The bytes of an index chunk: small for what is common, exact for anything, refused when wrong."""

import random
import struct

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from metastore.errors import CorruptCommit, MetaStoreError, UnsupportedCommit
from metastore.placement import CHUNK_PAGES, EMPTY, ChunkPlacement, overlaid, placements_of
from metastore.placement_codec import decode_placement, encode_placement
from pagestore.segments.format import FrameExtent
from tests.metastore.sample_commit import GOLDEN

COLUMNS = ("frame_segment", "frame_offset", "frame_length", "page_low", "page_frame", "page_slot")
DTYPES = (np.uint32, np.uint64, np.uint32, np.uint16, np.uint16, np.uint16)


def columns(placement):
    return {name: getattr(placement, name).tolist() for name in COLUMNS}


def made(*values):
    return ChunkPlacement(*(np.array(column, dtype) for column, dtype in zip(values, DTYPES, strict=True)))


def bulk(pages=CHUNK_PAGES, frame_pages=16, seed=1):
    chance = random.Random(seed)
    frames, offset = [], 40
    for first in range(1, pages + 1, frame_pages):
        length = 16 + 4 * frame_pages + chance.randint(25_000, 45_000)
        frames.append(FrameExtent(offset, length, tuple(range(first, min(first + frame_pages, pages + 1)))))
        offset += length
    return frames


@st.composite
def placements(draw):
    frames = draw(st.integers(0, 6))
    lows = draw(st.lists(st.integers(0, 4095), min_size=frames, max_size=40, unique=True)) if frames else []
    small, large = st.integers(0, 9), st.integers(0, 2**63)
    return made(
        draw(st.lists(small, min_size=frames, max_size=frames)),
        draw(st.lists(large, min_size=frames, max_size=frames)),
        draw(st.lists(st.integers(0, 2**32 - 1), min_size=frames, max_size=frames)),
        sorted(lows),
        draw(st.lists(st.integers(0, max(frames - 1, 0)), min_size=len(lows), max_size=len(lows))),
        draw(st.lists(st.integers(0, 65535), min_size=len(lows), max_size=len(lows))),
    )


@settings(derandomize=True, max_examples=300)
@given(placements())
def test_round_trip(placement):
    found = decode_placement(encode_placement(placement), 10)
    assert columns(found) == columns(placement)
    assert [getattr(found, name).dtype for name in COLUMNS] == list(DTYPES)
    assert [getattr(found, name).dtype for name in COLUMNS] == list(DTYPES)


def test_a_bulk_loaded_chunk_is_small():
    placement = placements_of(bulk(), 0)[0]
    assert len(encode_placement(placement)) <= 900
    scattered = random.Random(2).sample(range(1, 4097), 64)
    singles = [FrameExtent(40 + 3000 * row, 2990, (page,)) for row, page in enumerate(sorted(scattered))]
    assert len(encode_placement(placements_of(singles, 0)[0])) <= 64 * 8
    assert len(encode_placement(EMPTY)) == 13


def test_a_worst_case_chunk_is_accepted():
    chance = random.Random(3)
    count = CHUNK_PAGES
    worst = made(
        [chance.randrange(2**32) for _ in range(count)],
        [chance.randrange(2**60) for _ in range(count)],
        [chance.randrange(2**32) for _ in range(count)],
        list(range(count)),
        chance.sample(range(count), count),
        [chance.randrange(2**16) for _ in range(count)],
    )
    assert columns(decode_placement(encode_placement(worst), 2**32)) == columns(worst)


def test_no_damage_decodes_to_something_else_than_places_in_range():
    """Chunks are checked against their digest first; this is the second line."""
    for placement in (placements_of(bulk(64), 0)[0], placements_of(bulk(4), 0)[0]):
        data = encode_placement(placement)
        for bit in range(len(data) * 8):
            changed = bytearray(data)
            changed[bit // 8] ^= 1 << bit % 8
            try:
                found = decode_placement(bytes(changed), 1)
            except MetaStoreError:
                continue
            assert found.page_frame.max() < len(found.frame_segment)
            assert (found.page_low < CHUNK_PAGES).all()
        for length in range(len(data)):
            with pytest.raises(CorruptCommit):
                decode_placement(data[:length], 1)


def raw_chunk(frames, pages, *, segment=0, low=0, row=0, step=1):
    body = struct.pack("<II", frames, pages) + struct.pack("<I", segment) * frames + struct.pack("<Q", 0) * frames
    body += struct.pack("<I", 9) * frames
    lows = [low] + [step] * (pages - 1) if pages else []
    body += struct.pack(f"<{pages}H", *lows) + struct.pack("<H", row) * pages + bytes(2 * pages)
    return struct.pack("<IB", len(body), 0) + body


def test_a_hand_made_chunk():
    found = decode_placement(raw_chunk(1, 3, low=7, step=2), 1)
    assert columns(found) == {
        "frame_segment": [0], "frame_offset": [0], "frame_length": [9],
        "page_low": [7, 9, 11], "page_frame": [0, 0, 0], "page_slot": [0, 0, 0],
    }  # fmt: skip


@pytest.mark.parametrize(
    "data",
    [
        raw_chunk(1, 1, segment=1),
        raw_chunk(1, 1, row=1),
        raw_chunk(0, 1),
        raw_chunk(2, 1),
        raw_chunk(1, 2, step=0),
        raw_chunk(1, 2, low=4095),
        raw_chunk(1, 3, low=4000, step=0xFFFF),
        raw_chunk(1, 4097),
        raw_chunk(1, 1)[:-1],
        raw_chunk(1, 1) + b"\0",
        struct.pack("<IB", 7, 0) + bytes(7),
        struct.pack("<IB", 2**32 - 1, 2) + zstandard.compress(bytes(100)),
        b"",
    ],
)
def test_what_no_writer_may_write(data):
    with pytest.raises(CorruptCommit):
        decode_placement(data, 1)


def test_an_unknown_codec_is_a_newer_writers():
    data = bytearray(raw_chunk(1, 1))
    data[4] = 77
    with pytest.raises(UnsupportedCommit, match="codec 77"):
        decode_placement(bytes(data), 1)


def test_golden():
    placement = placements_of(bulk(300), 0)[0]
    stored = (GOLDEN / "index_chunk_v1_zstd.golden").read_bytes()
    assert columns(decode_placement(stored, 1)) == columns(placement)
    raw = (GOLDEN / "index_chunk_v1_raw.golden").read_bytes()
    few = placements_of(bulk(5, frame_pages=2), 0)[0]
    assert encode_placement(few) == raw
    assert columns(decode_placement(raw, 1)) == columns(few)


class TestOverlaid:
    def test_the_newest_place_wins_and_unused_frames_go(self):
        older = made([0, 1], [40, 50], [10, 10], [1, 2, 3], [0, 0, 1], [0, 1, 0])
        newer = made([2], [40], [5], [1, 2], [0, 0], [1, 0])
        merged = overlaid([newer, older])
        assert columns(merged) == {
            "frame_segment": [1, 2], "frame_offset": [50, 40], "frame_length": [10, 5],
            "page_low": [1, 2, 3], "page_frame": [1, 1, 0], "page_slot": [1, 0, 0],
        }  # fmt: skip

    def test_a_frame_named_twice_is_kept_once(self):
        one = made([5], [40], [10], [1], [0], [0])
        two = made([5], [40], [10], [2], [0], [1])
        assert columns(overlaid([one, two]))["frame_offset"] == [40]

    def test_nothing_over_nothing(self):
        assert overlaid([]).pages == overlaid([EMPTY, EMPTY]).pages == 0

    def test_a_few_pages_in_a_few_layers(self):
        chance = random.Random(5)
        for _ in range(200):
            layers = [
                made(
                    [ordinal] * 3, [40, 49, 58], [9] * 3, sorted(chance.sample(range(9), 4)), [2, 0, 1, 0], [0, 0, 0, 1]
                )
                for ordinal in range(chance.randint(2, 4))
            ]
            self._check(overlaid(layers), layers)

    def test_many_layers_of_full_chunks(self):
        """More frames together than a 16-bit row could name."""
        chance = random.Random(4)
        layers = []
        for ordinal in range(20):
            pages = sorted(chance.sample(range(CHUNK_PAGES), 4000))
            offsets = list(range(40, 40 + 4000 * 9, 9))
            layers.append(made([ordinal] * 4000, offsets, [9] * 4000, pages, list(range(4000)), [0] * 4000))
        self._check(overlaid(layers), layers)

    def _check(self, merged, layers):
        expected = {}
        for layer in reversed(layers):
            for row, low in zip(layer.page_frame.tolist(), layer.page_low.tolist(), strict=True):
                expected[low] = (int(layer.frame_segment[row]), int(layer.frame_offset[row]))
        rows = merged.page_frame
        found = zip(merged.frame_segment[rows].tolist(), merged.frame_offset[rows].tolist(), strict=True)
        assert dict(zip(merged.page_low.tolist(), found, strict=True)) == expected
        frames = list(zip(merged.frame_segment.tolist(), merged.frame_offset.tolist(), strict=True))
        assert frames == sorted(set(expected.values()))


def test_a_segment_in_layout_order_is_placed_by_page():
    frames = [FrameExtent(40, 10, (5000, 9000)), FrameExtent(50, 10, (1, 4096)), FrameExtent(60, 10, (4097,))]
    placed = placements_of(frames, 3)
    assert {number: columns(each) for number, each in placed.items()} == {
        0: dict(zip(COLUMNS, ([3], [50], [10], [0, 4095], [0, 0], [0, 1]), strict=True)),
        1: dict(zip(COLUMNS, ([3, 3], [40, 60], [10, 10], [0, 903], [1, 0], [0, 0]), strict=True)),
        2: dict(zip(COLUMNS, ([3], [40], [10], [807], [0], [1]), strict=True)),
    }
