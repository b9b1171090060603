"""Dictionaries and strides: what goes in comes out, and what is wrong is told without much memory."""

import os
import random
import struct
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest
import xxhash
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pagestore.errors import CorruptObject, UnsupportedFormat
from pagestore.segments.codec import Codec, compress
from pagestore.segments.dictionary import DICTIONARY_BYTES_MAX, Dictionary, decode_dictionary, encode_dictionary, train
from pagestore.segments.frame_codec import compress_pages, decompress_pages
from pagestore.segments.stride_delta import STRIDE_MAX, from_stride_deltas, to_stride_deltas
from tests.pagestore.segments.sample_segment import DICTIONARY, OTHER_SEGMENT, SEGMENT

PAGE_SIZE = 1024


def page_of_text(seed):
    chance = random.Random(seed)
    words = [f"word-{number * 7919}" for number in range(300)]
    return " ".join(chance.choices(words, k=PAGE_SIZE // 4)).encode()[:PAGE_SIZE]


@pytest.fixture(scope="module")
def trained():
    return train([page_of_text(seed) for seed in range(400)], 8192)


def test_a_trained_dictionary_makes_single_pages_small(trained):
    page = page_of_text(1000)
    used, stored = compress_pages(page, PAGE_SIZE, Codec.ZSTD_DICTIONARY, dictionary=trained)
    assert used == Codec.ZSTD_DICTIONARY
    assert len(stored) < 0.8 * len(compress(page, Codec.ZSTD)[1])
    assert decompress_pages(used, stored, PAGE_SIZE, PAGE_SIZE, trained) == page


def test_there_is_no_dictionary_for_what_has_nothing_to_learn():
    assert train([b"x"] * 3, 1024) is None
    assert train([], 1024) is None


def test_a_dictionary_comes_back_as_it_was_stored(trained):
    for dictionary in (trained, DICTIONARY):
        assert decode_dictionary(encode_dictionary(SEGMENT, dictionary), SEGMENT).raw == dictionary.raw


def test_every_flipped_bit_and_truncation_of_a_dictionary_is_noticed():
    stored = encode_dictionary(SEGMENT, DICTIONARY)
    for bit in range(8 * len(stored)):
        wrong = bytearray(stored)
        wrong[bit // 8] ^= 1 << (bit % 8)
        try:
            found = decode_dictionary(bytes(wrong), SEGMENT)
        except (CorruptObject, UnsupportedFormat):
            continue
        assert found.raw == DICTIONARY.raw, "several compressed forms may stand for the same bytes"
    for wrong in [*(stored[:length] for length in range(len(stored))), stored + b"\0"]:
        with pytest.raises(CorruptObject):
            decode_dictionary(wrong, SEGMENT)
    with pytest.raises(CorruptObject, match="checksum"):
        decode_dictionary(stored, OTHER_SEGMENT)


def test_a_dictionary_that_only_claims_to_be_one_is_refused():
    raw = struct.pack("<I", 0xEC30A437) + os.urandom(60)  # begins as a trained one
    header = struct.pack("<BBHIQI", 0, 0, 0, len(raw), xxhash.xxh3_64_intdigest(raw, SEGMENT.seed), len(raw))
    with pytest.raises(CorruptObject, match="is not a valid one"):
        decode_dictionary(header + raw, SEGMENT)


def test_claims_of_size_are_judged_before_memory_is_set_aside():
    bomb = zstandard.ZstdCompressor().compress(bytes(200 * 2**20))
    dictionary = struct.pack("<BBHIQI", Codec.ZSTD, 0, 0, len(bomb), 0, DICTIONARY_BYTES_MAX) + bomb
    large = struct.pack("<BBHIQI", Codec.ZSTD, 0, 0, len(bomb), 0, DICTIONARY_BYTES_MAX + 1) + bomb
    tracemalloc.start()
    try:
        for wrong in (dictionary, large):
            with pytest.raises(CorruptObject):
                decode_dictionary(wrong, SEGMENT)
        for codec in (Codec.ZSTD_DICTIONARY, Codec.ZSTD_STRIDES):
            with pytest.raises(CorruptObject, match="claims"):
                decompress_pages(codec, bomb, 4 * PAGE_SIZE, PAGE_SIZE, DICTIONARY)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@given(st.sampled_from([Codec.ZSTD_DICTIONARY, Codec.ZSTD_STRIDES]), st.binary(max_size=300), st.integers(1, 4))
def test_noise_raises_nothing_but_corrupt(codec, noise, page_count):
    with pytest.raises(CorruptObject):
        decompress_pages(codec, noise, page_count * PAGE_SIZE, PAGE_SIZE, DICTIONARY)


def table_of_records(width, seed=1):
    """A page as an interior one is: records that grow a little each."""
    chance = random.Random(seed)
    key, records = 10_000, []
    for child in range(5000, 5000 + PAGE_SIZE // width):
        key += chance.randrange(9, 14)
        records.append(struct.pack(">I", child) + key.to_bytes(width - 4, "big"))
    return b"".join(records)[:PAGE_SIZE].ljust(PAGE_SIZE, b"\0")


@pytest.mark.parametrize("width", [7, 8, 20, 31])
def test_records_of_one_width_become_small(width):
    pages = b"".join(table_of_records(width, seed) for seed in range(8))
    used, stored = compress_pages(pages, PAGE_SIZE, Codec.ZSTD_STRIDES)
    assert used == Codec.ZSTD_STRIDES
    assert len(stored) < 0.5 * len(compress(pages, Codec.ZSTD)[1])
    assert decompress_pages(used, stored, len(pages), PAGE_SIZE) == pages


@given(st.lists(st.binary(min_size=64, max_size=64), min_size=1, max_size=5))
def test_strides_are_undone(pieces):
    data = b"".join(pieces)
    there = to_stride_deltas(data, 64)
    assert len(there) == len(data) + len(pieces)
    assert from_stride_deltas(there, 64) == data


@pytest.mark.parametrize("stride", [1, 2, 3, 63, 64, STRIDE_MAX])
def test_any_stride_is_undone(stride):
    page = os.urandom(1024)
    differences = page[:stride] + bytes((page[at] - page[at - stride]) % 256 for at in range(stride, 1024))
    assert from_stride_deltas(bytes([stride]) + differences, 1024) == page


def test_a_stride_that_is_too_long_is_refused():
    with pytest.raises(CorruptObject, match="stride"):
        from_stride_deltas(bytes([STRIDE_MAX + 1]) + bytes(512), 512)


def test_text_gains_nothing_and_is_stored_as_it_is():
    page = page_of_text(3)
    assert compress_pages(page, PAGE_SIZE, Codec.ZSTD_STRIDES)[0] == Codec.ZSTD
    noise = os.urandom(PAGE_SIZE)
    for codec in (Codec.ZSTD_STRIDES, Codec.ZSTD_DICTIONARY):
        assert compress_pages(noise, PAGE_SIZE, codec, dictionary=DICTIONARY) == (Codec.RAW, noise)


def test_threads_share_a_dictionary(trained):
    pages = [page_of_text(seed) for seed in range(64)]

    def there_and_back(page):
        return trained.decompress(trained.compress(page), len(page))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(there_and_back, pages)) == pages


def test_any_bytes_are_a_dictionary_of_raw_content():
    page = page_of_text(5)
    dictionary = Dictionary(page_of_text(6) * 2)
    assert dictionary.decompress(dictionary.compress(page, 9), len(page)) == page
