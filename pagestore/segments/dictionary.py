"""A segment's dictionary: stores once what its pages have in common, so that small frames compress like large ones.

A dictionary is trained on samples of its segment (Liao and others: "Effective Construction of Relative Lempel-Ziv
Dictionaries", WWW 2016; Zstandard's fast cover). It is stored right behind the segment's header, checksummed like a
frame, and read together with the first frames.
"""

import struct
import threading
from collections.abc import Sequence

import xxhash
import zstandard

from pagestore.errors import CorruptObject, UnsupportedFormat
from pagestore.ids import SegmentId
from pagestore.objectstore import Data
from pagestore.segments.codec import ZSTD_LEVEL_DEFAULT, Codec, compress, decompress, decompress_zstd

DICTIONARY_BYTES_MAX = 256 * 1024
"""The largest uncompressed dictionary: a bound on the memory that a segment can demand of a reader."""
DICTIONARY_STORED_BYTES_MAX = DICTIONARY_BYTES_MAX + 64
_STORED_LEVEL = 9

# codec, cipher, reserved, stored length, xxh3-64 of the raw bytes, raw length
_HEADER = struct.Struct("<BBHIQI")
# Parameters of the trainer: the length of the pieces that it copies, and of the strings that it counts. By default it
# tries several values, at ten times the cost, and finds nothing better (docs/adr/0016-frames-and-dictionaries.md).
_PIECE_BYTES, _STRING_BYTES = 200, 8


class _Contexts(threading.local):
    """The calling thread's Zstandard contexts for one dictionary."""

    decompressor: zstandard.ZstdDecompressor | None = None
    compressor: tuple[int, zstandard.ZstdCompressor] | None = None


class Dictionary:
    """A Zstandard dictionary. Safe for threads; compression and decompression release the GIL."""

    def __init__(self, raw: bytes) -> None:
        """Use ``raw`` as the trainer made it, or any other bytes.

        Raises `zstandard.ZstdError` for bytes that begin like a trained dictionary and are not one.
        """
        self.raw = raw
        self._shared = zstandard.ZstdCompressionDict(raw)
        self._lock = threading.Lock()  # guards _digested_for
        self._digested_for: int | None = None
        self._contexts = _Contexts()
        self._contexts.decompressor = zstandard.ZstdDecompressor(dict_data=self._shared)  # raises if it is not one

    def compress(self, data: Data, level: int | None = None) -> bytes:
        """Return one Zstandard frame. All calls for one dictionary must use the same level."""
        level = level or ZSTD_LEVEL_DEFAULT
        mine = self._contexts.compressor
        if mine is None or mine[0] != level:
            with self._lock:
                if self._digested_for is None:
                    self._shared.precompute_compress(level=level)
                    self._digested_for = level
            mine = level, zstandard.ZstdCompressor(level=level, dict_data=self._shared, write_dict_id=False)
            self._contexts.compressor = mine
        return mine[1].compress(data)

    def decompress(self, data: Data, raw_length: int) -> bytes:
        """Return the content of one Zstandard frame, which must be ``raw_length`` bytes; raises `CorruptObject`."""
        if self._contexts.decompressor is None:
            self._contexts.decompressor = zstandard.ZstdDecompressor(dict_data=self._shared)
        return decompress_zstd(self._contexts.decompressor, data, raw_length)


def train(samples: Sequence[bytes], size: int) -> Dictionary | None:
    """Return a dictionary of at most ``size`` bytes, or None if the samples are too few to train one."""
    assert size <= DICTIONARY_BYTES_MAX, "BUG: a dictionary larger than any reader accepts"
    try:
        made = zstandard.train_dictionary(size, list(samples), k=_PIECE_BYTES, d=_STRING_BYTES)
    except zstandard.ZstdError:
        return None
    return Dictionary(made.as_bytes())


def encode_dictionary(segment: SegmentId, dictionary: Dictionary) -> bytes:
    """Return the stored form, whose checksum binds it to this segment."""
    codec, stored = compress(dictionary.raw, Codec.ZSTD, _STORED_LEVEL)
    checksum = xxhash.xxh3_64_intdigest(dictionary.raw, segment.seed)
    return _HEADER.pack(codec, 0, 0, len(stored), checksum, len(dictionary.raw)) + stored


def decode_dictionary(data: Data, segment: SegmentId) -> Dictionary:
    """Verify and decode a dictionary; ``data`` is exactly its stored bytes.

    Raises `CorruptObject` for anything but a complete dictionary of this segment, `UnsupportedFormat` for an encrypted
    one or an unknown codec. Allocates at most `DICTIONARY_BYTES_MAX`.
    """
    view = memoryview(data)
    if len(view) < _HEADER.size:
        raise CorruptObject(f"the dictionary of segment {segment} has {len(view)} bytes, fewer than its header")
    codec, cipher, reserved, stored_length, checksum, raw_length = _HEADER.unpack_from(view)
    if cipher or reserved:
        raise UnsupportedFormat(f"the dictionary of segment {segment} uses cipher {cipher}, reserved {reserved}")
    if not 0 < raw_length <= DICTIONARY_BYTES_MAX or _HEADER.size + stored_length != len(view):
        raise CorruptObject(
            f"the dictionary of segment {segment} has {len(view)} bytes, but its header announces {raw_length} bytes "
            f"in {stored_length} stored bytes"
        )
    try:
        raw = decompress(codec, view[_HEADER.size :], raw_length)
    except (CorruptObject, UnsupportedFormat) as error:
        raise type(error)(f"the dictionary of segment {segment}: {error}") from error
    if xxhash.xxh3_64_intdigest(raw, segment.seed) != checksum:
        raise CorruptObject(f"the dictionary of segment {segment} does not match its checksum {checksum:016x}")
    try:
        return Dictionary(raw)
    except (zstandard.ZstdError, ValueError) as error:
        raise CorruptObject(f"the dictionary of segment {segment} is not a valid one: {error}") from error
