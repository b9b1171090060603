"""Compression of a frame's pages: the plain codecs, and those that use the pages' shape, a dictionary or a base."""

from pagestore.errors import CorruptObject
from pagestore.objectstore import Data
from pagestore.segments import stride_delta as strides
from pagestore.segments.codec import Codec, check_level, compress, decompress
from pagestore.segments.delta import Base, compress_delta, decompress_delta
from pagestore.segments.dictionary import Dictionary


def compress_pages(
    data: Data,
    page_size: int,
    codec: Codec,
    level: int | None = None,
    dictionary: Dictionary | None = None,
    base: Base | None = None,
) -> tuple[Codec, bytes]:
    """Compress pages and return the codec used: a simpler one than ``codec`` if that makes them no longer.

    `Codec.ZSTD_DICTIONARY` needs the dictionary, `Codec.ZSTD_DELTA` the base. Safe to call from several threads; the
    GIL is mostly released.
    """
    check_level(codec, level)
    if codec == Codec.ZSTD_DICTIONARY:
        assert dictionary is not None, "BUG: compression with a dictionary needs one"
        return _shorter((codec, dictionary.compress(data, level)), (Codec.RAW, data))
    if codec == Codec.ZSTD_STRIDES:
        used, stored = compress(strides.to_stride_deltas(data, page_size), Codec.ZSTD, level)
        plain = compress(data, Codec.ZSTD, level)
        return _shorter(plain, (codec, stored)) if used == Codec.ZSTD else plain
    if codec == Codec.ZSTD_DELTA:
        assert base is not None, "BUG: a delta needs a base"
        return _shorter(compress(data, Codec.ZSTD, level), (codec, compress_delta(data, base, level)))
    return compress(data, codec, level)


def decompress_pages(
    codec: int,
    data: Data,
    raw_length: int,
    page_size: int,
    dictionary: Dictionary | None = None,
    base_bodies: Data | None = None,
) -> bytes:
    """Decompress ``data`` to exactly ``raw_length`` bytes of pages.

    Raises `CorruptObject` for other bytes, or if the dictionary or base that they need is missing, and
    `UnsupportedFormat` for an unknown codec. Allocates little more than ``raw_length`` bytes, whatever ``data`` claims.
    """
    if codec == Codec.ZSTD_DICTIONARY:
        if dictionary is None:
            raise CorruptObject("it was compressed with a dictionary, but its segment has none")
        return dictionary.decompress(data, raw_length)
    if codec == Codec.ZSTD_STRIDES:
        deltas = decompress(Codec.ZSTD, data, raw_length + raw_length // page_size)
        return strides.from_stride_deltas(deltas, page_size)
    if codec == Codec.ZSTD_DELTA:
        if base_bodies is None:
            raise CorruptObject("it is a delta to another frame, which only a segment inside a commit may hold")
        return decompress_delta(data, base_bodies, raw_length)
    return decompress(codec, data, raw_length)


def _shorter(first: tuple[Codec, Data], second: tuple[Codec, Data]) -> tuple[Codec, bytes]:
    codec, stored = min(first, second, key=lambda found: len(found[1]))
    return codec, bytes(stored)
