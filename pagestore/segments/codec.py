"""Compression of plain bytes: one byte names the codec, and a body that does not decompress to its length raises.

`pagestore.segments.frame_codec` adds the codecs for frames of pages: with a dictionary, with stride deltas, and deltas
to another frame.
"""

import threading
from enum import IntEnum

import lz4.block
import zstandard

from pagestore.errors import CorruptObject, UnsupportedFormat
from pagestore.objectstore import Data

ZSTD_LEVEL_DEFAULT = 3
ZSTD_LEVEL_MAX = 22
LZ4_LEVEL_MAX = 12


class Codec(IntEnum):
    """How a body is stored. The numbers are part of the segment format."""

    RAW = 0
    """Uncompressed."""
    LZ4 = 1
    """One LZ4 block (not the LZ4 frame format), without a length prefix."""
    ZSTD = 2
    """One Zstandard frame (RFC 8878) that states its content size."""
    ZSTD_DICTIONARY = 3
    """One Zstandard frame compressed with the segment's dictionary; for frames only."""
    ZSTD_STRIDES = 4
    """One Zstandard frame of pages turned into stride deltas (`pagestore.segments.stride_delta`); for frames only."""
    ZSTD_DELTA = 5
    """The location of a base frame, and a Zstandard frame compressed against it (`pagestore.segments.delta`)."""


PLAIN_CODECS = (Codec.RAW, Codec.LZ4, Codec.ZSTD)
"""The codecs that need nothing but the bytes."""


class _ZstdContexts(threading.local):
    """The calling thread's Zstandard contexts: not safe to share, and more expensive to make than to use."""

    def __init__(self) -> None:
        self.decompressor = zstandard.ZstdDecompressor()
        self.compressors: dict[int, zstandard.ZstdCompressor] = {}

    def compressor(self, level: int) -> zstandard.ZstdCompressor:
        if level not in self.compressors:
            self.compressors[level] = zstandard.ZstdCompressor(level=level)
        return self.compressors[level]


_zstd = _ZstdContexts()


def check_level(codec: Codec, level: int | None) -> int | None:
    """Return ``level`` if ``codec`` supports it; raises `ValueError` otherwise.

    None means the codec's default: fast mode for LZ4, level 3 for ZSTD. LZ4 levels 1…12 select its high-compression
    mode; ZSTD has levels 1…22; RAW has none.
    """
    level_max = {Codec.RAW: 0, Codec.LZ4: LZ4_LEVEL_MAX}.get(codec, ZSTD_LEVEL_MAX)
    if level is not None and not 1 <= level <= level_max:
        raise ValueError(f"{codec.name} has levels 1 to {level_max}, not {level}" if level_max else "RAW has no level")
    return level


def compress(data: Data, codec: Codec, level: int | None = None) -> tuple[Codec, bytes]:
    """Compress ``data`` and return the codec used, which is `Codec.RAW` if ``codec`` would not make it shorter.

    Safe to call from several threads; LZ4 and ZSTD release the GIL. Raises `ValueError` for a level that the codec does
    not support.
    """
    assert codec in PLAIN_CODECS, f"BUG: {codec.name} is for frames"
    check_level(codec, level)
    if codec != Codec.RAW:
        stored = _compress(data, codec, level)
        if len(stored) < len(data):
            return codec, stored
    return Codec.RAW, bytes(data)


def _compress(data: Data, codec: Codec, level: int | None) -> bytes:
    if codec == Codec.ZSTD:
        return _zstd.compressor(level or ZSTD_LEVEL_DEFAULT).compress(data)
    if level is None:
        fast: bytes = lz4.block.compress(data, store_size=False)
        return fast
    small: bytes = lz4.block.compress(data, mode="high_compression", compression=level, store_size=False)
    return small


def decompress(codec: int, data: Data, raw_length: int) -> bytes:
    """Decompress ``data`` to exactly ``raw_length`` bytes.

    Raises `CorruptObject` for bytes that are not exactly one body of that length, `UnsupportedFormat` for a codec that
    this release does not know. Allocates at most ``raw_length`` bytes, whatever ``data`` claims. Safe to call from
    several threads; LZ4 and ZSTD release the GIL.
    """
    if codec == Codec.LZ4:
        raw = _decompress_lz4(data, raw_length)
    elif codec == Codec.ZSTD:
        raw = _decompress_zstd(data, raw_length)
    elif codec == Codec.RAW:
        if len(data) != raw_length:
            raise CorruptObject(f"{len(data)} bytes are stored raw instead of {raw_length}")
        raw = bytes(data)
    else:
        raise UnsupportedFormat(
            f"codec {codec} is unknown; this release knows {', '.join(map(str, PLAIN_CODECS))} here"
        )
    if len(raw) != raw_length:
        raise CorruptObject(f"{len(data)} bytes decompress to {len(raw)} bytes, not {raw_length}")
    return raw


def _decompress_lz4(data: Data, raw_length: int) -> bytes:
    try:
        raw: bytes = lz4.block.decompress(data, uncompressed_size=raw_length)
    except lz4.block.LZ4BlockError as error:
        raise CorruptObject(f"{len(data)} bytes are not an LZ4 block of {raw_length} bytes: {error}") from error
    return raw


def _decompress_zstd(data: Data, raw_length: int) -> bytes:
    return decompress_zstd(_zstd.decompressor, data, raw_length)


def decompress_zstd(decompressor: zstandard.ZstdDecompressor, data: Data, raw_length: int) -> bytes:
    """Return the content of one Zstandard frame, which must be ``raw_length`` bytes; raises `CorruptObject`."""
    try:
        # The library allocates as much as the frame's header claims, so the claim is checked first.
        content_length = zstandard.frame_content_size(data)
        if content_length != raw_length:
            raise CorruptObject(f"a Zstandard frame claims {content_length} bytes instead of {raw_length}")
        return decompressor.decompress(data, max_output_size=raw_length, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise CorruptObject(f"{len(data)} bytes are not a Zstandard frame of {raw_length} bytes: {error}") from error
