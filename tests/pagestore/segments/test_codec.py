import os
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pagestore.errors import CorruptObject, UnsupportedFormat
from pagestore.segments.codec import PLAIN_CODECS, Codec, compress, decompress

TEXT = b"the same words again, " * 200
BODIES = st.one_of(st.binary(max_size=600), st.binary(min_size=1, max_size=8).map(lambda piece: piece * 300))


@given(BODIES, st.sampled_from(PLAIN_CODECS))
def test_what_goes_in_comes_out(body, codec):
    used, stored = compress(body, codec)
    assert len(stored) <= len(body)
    assert decompress(used, stored, len(body)) == body


@pytest.mark.parametrize("data_type", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("codec", PLAIN_CODECS)
def test_any_buffer_will_do(codec, data_type):
    used, stored = compress(data_type(TEXT), codec)
    assert used == codec
    assert decompress(used, data_type(stored), len(TEXT)) == TEXT


@pytest.mark.parametrize("codec", [Codec.LZ4, Codec.ZSTD])
def test_what_does_not_shrink_is_stored_raw(codec):
    noise = os.urandom(4096)
    assert compress(noise, codec) == (Codec.RAW, noise)
    assert compress(b"", codec) == (Codec.RAW, b"")


@pytest.mark.parametrize(("codec", "level"), [(Codec.LZ4, 1), (Codec.LZ4, 12), (Codec.ZSTD, 1), (Codec.ZSTD, 19)])
def test_levels_change_nothing_for_the_reader(codec, level):
    used, stored = compress(TEXT, codec, level)
    assert (used, decompress(used, stored, len(TEXT))) == (codec, TEXT)


@pytest.mark.parametrize(
    ("codec", "level"), [(Codec.RAW, 1), (Codec.LZ4, 0), (Codec.LZ4, 13), (Codec.ZSTD, -1), (Codec.ZSTD, 23)]
)
def test_levels_that_the_codec_lacks_are_refused(codec, level):
    with pytest.raises(ValueError, match="level"):
        compress(TEXT, codec, level)


@given(st.sampled_from(PLAIN_CODECS), st.data())
def test_no_other_length_is_accepted(codec, data):
    used, stored = compress(TEXT, codec)
    wrong = data.draw(st.integers(0, 3 * len(TEXT)).filter(lambda length: length != len(TEXT)))
    with pytest.raises(CorruptObject):
        decompress(used, stored, wrong)


@given(st.sampled_from([Codec.LZ4, Codec.ZSTD]), st.binary(max_size=300), st.integers(0, 5000))
def test_noise_raises_nothing_but_corrupt(codec, noise, raw_length):
    try:
        raw = decompress(codec, noise, raw_length)
    except CorruptObject:
        return
    assert len(raw) == raw_length


@pytest.mark.parametrize("codec", PLAIN_CODECS)
def test_truncated_or_longer_bytes_are_corrupt(codec):
    used, stored = compress(TEXT, codec)
    for wrong in [*(stored[:length] for length in range(len(stored))), stored + b"\0"]:
        with pytest.raises(CorruptObject):
            decompress(used, wrong, len(TEXT))


@pytest.mark.parametrize("codec", [3, 127, 255])
def test_an_unknown_codec_is_a_newer_format(codec):
    with pytest.raises(UnsupportedFormat, match=str(codec)):
        decompress(codec, b"", 0)


def test_a_frame_that_claims_a_gigabyte_allocates_nothing_of_the_kind():
    claim = bytearray(zstandard.ZstdCompressor().compress(bytes(2**20)))
    assert claim[4] & 0xE0 == 0xA0, "four bytes of content size, in a single segment"
    claim[5:9] = (2**30).to_bytes(4, "little")
    assert zstandard.frame_content_size(bytes(claim)) == 2**30
    tracemalloc.start()
    try:
        with pytest.raises(CorruptObject, match="1073741824"):
            decompress(Codec.ZSTD, claim, 4096)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**20


def test_several_zstandard_frames_are_not_one_body():
    half = zstandard.ZstdCompressor().compress(TEXT)
    with pytest.raises(CorruptObject):
        decompress(Codec.ZSTD, half + half, 2 * len(TEXT))


def test_threads_do_not_disturb_each_other():
    bodies = [bytes([number]) * 5000 + TEXT for number in range(64)]

    def there_and_back(body: bytes) -> bytes:
        used, stored = compress(body, Codec.ZSTD)
        return decompress(used, stored, len(body))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(there_and_back, bodies)) == bodies
