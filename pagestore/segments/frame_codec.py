"""Compression of a frame's pages: the plain codecs, and those that know of pages and of the segment's dictionary."""

from pagestore.errors import CorruptObject
from pagestore.objectstore import Data
from pagestore.segments import stride_delta as strides
from pagestore.segments.codec import Codec, check_level, compress, decompress
from pagestore.segments.delta import Base, compress_difference, decompress_difference
from pagestore.segments.dictionary import Dictionary


def compress_pages(
    data: Data,
    page_size: int,
    codec: Codec,
    level: int | None = None,
    dictionary: Dictionary | None = None,
    base: Base | None = None,
) -> tuple[Codec, bytes]:
    """Compress pages and name the codec used: a simpler one than ``codec`` where that does not make them shorter.

    `Codec.ZSTD_DICTIONARY` needs the dictionary, `Codec.ZSTD_DIFFERENCE` the base. Safe to call from several
    threads; the GIL is mostly free.
    """
    check_level(codec, level)
    if codec == Codec.ZSTD_DICTIONARY:
        assert dictionary is not None, "BUG: compression with a dictionary that is not there"
        return _shorter((codec, dictionary.compress(data, level)), (Codec.RAW, data))
    if codec == Codec.ZSTD_STRIDES:
        used, stored = compress(strides.to_differences(data, page_size), Codec.ZSTD, level)
        plain = compress(data, Codec.ZSTD, level)
        return _shorter(plain, (codec, stored)) if used == Codec.ZSTD else plain
    if codec == Codec.ZSTD_DIFFERENCE:
        assert base is not None, "BUG: differences to nothing"
        return _shorter(compress(data, Codec.ZSTD, level), (codec, compress_difference(data, base, level)))
    return compress(data, codec, level)


def decompress_pages(
    codec: int,
    data: Data,
    raw_length: int,
    page_size: int,
    dictionary: Dictionary | None = None,
    base_bodies: Data | None = None,
) -> bytes:
    """Return the ``raw_length`` bytes of pages that ``data`` stands for.

    Raises `CorruptObject` for bytes that are not exactly that, or for want of the dictionary or the base that they
    need, and `UnsupportedFormat` for an unknown codec. Allocates little more than ``raw_length`` bytes, whatever
    ``data`` claims.
    """
    if codec == Codec.ZSTD_DICTIONARY:
        if dictionary is None:
            raise CorruptObject("it was made with a dictionary, but its segment has none")
        return dictionary.decompress(data, raw_length)
    if codec == Codec.ZSTD_STRIDES:
        differences = decompress(Codec.ZSTD, data, raw_length + raw_length // page_size)
        return strides.from_differences(differences, page_size)
    if codec == Codec.ZSTD_DIFFERENCE:
        if base_bodies is None:
            raise CorruptObject("it consists of differences to another frame, as only a segment in a commit may")
        return decompress_difference(data, base_bodies, raw_length)
    return decompress(codec, data, raw_length)


def _shorter(first: tuple[Codec, Data], second: tuple[Codec, Data]) -> tuple[Codec, bytes]:
    codec, stored = min(first, second, key=lambda found: len(found[1]))
    return codec, bytes(stored)
