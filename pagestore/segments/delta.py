"""Delta frames: pages stored as differences to the same pages in another frame, the base; pure.

A push that changes a word here and there sends pages whose content is almost all in the store already. Compressed with
the base's bodies of the same pages as a prefix, such a page takes about forty bytes (docs/adr/0018-differences.md).

    stored body   location of the base | one Zstandard frame that states its content size
    location      segment id (16) | offset (8) | length (4) | stored length of that segment's dictionary (4)

Two rules keep reading simple: a base is a frame of a segment that is an object of its own, and only a segment inside a
commit holds deltas. So a base is never a delta itself, and one more read always suffices.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import zstandard

from pagestore.errors import CorruptObject
from pagestore.ids import SegmentId
from pagestore.objectstore import Data
from pagestore.segments.codec import ZSTD_LEVEL_DEFAULT, decompress_zstd
from pagestore.segments.fetch_plan import FrameLocation, segment_key

_BASE = struct.Struct("<16sQII")
BASE_PLACE_BYTES: int = _BASE.size


@dataclass(frozen=True, slots=True)
class Base:
    """What a delta frame is compressed against."""

    place: FrameLocation
    """A frame of a segment that is an object of its own."""
    bodies: Data
    """The bodies that the delta frame's pages have in it, concatenated."""


def compress_delta(data: Data, base: Base, level: int | None = None) -> bytes:
    """Return the stored body of a delta frame; ``data`` is as long as ``base.bodies``. Safe for threads."""
    assert len(data) == len(base.bodies), "BUG: a base of other pages"
    compressor = zstandard.ZstdCompressor(
        level=level or ZSTD_LEVEL_DEFAULT, dict_data=_prefix(base.bodies), write_dict_id=False
    )
    place = base.place
    packed = _BASE.pack(place.segment.raw, place.offset, place.length, place.dictionary_bytes)
    return packed + compressor.compress(data)


def decompress_delta(data: Data, bodies: Data, raw_length: int) -> bytes:
    """Return the pages' bodies, given those in their base; raises `CorruptObject`."""
    if len(bodies) != raw_length:
        raise CorruptObject(f"its base has {len(bodies)} bytes of its pages instead of {raw_length}")
    decompressor = zstandard.ZstdDecompressor(dict_data=_prefix(bodies))
    return decompress_zstd(decompressor, memoryview(data)[BASE_PLACE_BYTES:], raw_length)


def base_place(data: Data, frame_bytes_max: int, dictionary_bytes_max: int) -> FrameLocation:
    """Return the location of a stored body's base; raises `CorruptObject` for an impossible location."""
    if len(data) < BASE_PLACE_BYTES:
        raise CorruptObject(f"a delta of {len(data)} bytes is too short to name its base")
    raw, offset, length, dictionary_bytes = _BASE.unpack_from(data)
    if not 0 < length <= frame_bytes_max or dictionary_bytes > dictionary_bytes_max or offset >= 1 << 63:
        raise CorruptObject(
            f"a delta names an impossible base: {length} bytes at offset {offset}, dictionary of {dictionary_bytes}"
        )
    segment = SegmentId(raw)
    return FrameLocation(segment_key(segment), offset, length, segment, dictionary_bytes)


def bodies_of(pages: Sequence[int], held: Sequence[int], body: Data, page_size: int) -> bytes | None:
    """Return the bodies of ``pages`` in a frame, concatenated, or None if the frame lacks any of them.

    ``held`` lists the frame's pages by slot; 0 marks a slot whose body is not present.
    """
    slots = {page: slot for slot, page in enumerate(held)}
    if 0 in pages or not slots.keys() >= set(pages):
        return None
    view = memoryview(body)
    return b"".join(view[slots[page] * page_size : (slots[page] + 1) * page_size] for page in pages)


def _prefix(bodies: Data) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(bodies, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
