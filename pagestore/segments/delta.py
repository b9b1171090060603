"""Pages as differences to the same pages in another frame, their base; pure (docs/adr/0018-differences.md).

A push that changes a word here and there sends pages of which nearly everything is in the store already. Compressed
with the base's bodies of the very same pages before them, what is left takes some forty bytes a page.

    stored body   where the base is | one Zstandard frame, its content size stated
    where         segment id (16) | offset (8) | length (4) | stored length of that segment's dictionary (4)

Two rules keep reading simple. A base is a frame of a segment that is an object of its own, and only a segment that lies
inside a commit holds differences. So no base consists of differences itself: one more read leads to the bodies, always.
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
    """What pages are compressed against."""

    place: FrameLocation
    """A frame of a segment that is an object of its own."""
    bodies: Data
    """Its bodies of the pages in question, one after the other."""


def compress_difference(data: Data, base: Base, level: int | None = None) -> bytes:
    """Return the stored body of pages whose bodies in the base are as long; safe to call from several threads."""
    assert len(data) == len(base.bodies), "BUG: a base of other pages"
    compressor = zstandard.ZstdCompressor(
        level=level or ZSTD_LEVEL_DEFAULT, dict_data=_prefix(base.bodies), write_dict_id=False
    )
    place = base.place
    packed = _BASE.pack(place.segment.raw, place.offset, place.length, place.dictionary_bytes)
    return packed + compressor.compress(data)


def decompress_difference(data: Data, bodies: Data, raw_length: int) -> bytes:
    """Return the pages' bodies by those that they have in their base; raises `CorruptObject`."""
    if len(bodies) != raw_length:
        raise CorruptObject(f"its base has {len(bodies)} bytes of its pages, which take {raw_length}")
    decompressor = zstandard.ZstdDecompressor(dict_data=_prefix(bodies))
    return decompress_zstd(decompressor, memoryview(data)[BASE_PLACE_BYTES:], raw_length)


def base_place(data: Data, frame_bytes_max: int, dictionary_bytes_max: int) -> FrameLocation:
    """Return where the base of a stored body is; raises `CorruptObject` for a place where no frame can be."""
    if len(data) < BASE_PLACE_BYTES:
        raise CorruptObject(f"differences of {len(data)} bytes, too few to name their base")
    raw, offset, length, dictionary_bytes = _BASE.unpack_from(data)
    if not 0 < length <= frame_bytes_max or dictionary_bytes > dictionary_bytes_max or offset >= 1 << 63:
        raise CorruptObject(
            f"a base of {length} bytes at offset {offset}, with a dictionary of {dictionary_bytes}: no such frame"
        )
    segment = SegmentId(raw)
    return FrameLocation(segment_key(segment), offset, length, segment, dictionary_bytes)


def bodies_of(pages: Sequence[int], held: Sequence[int], body: Data, page_size: int) -> bytes | None:
    """Return the bodies of ``pages``, one after the other, out of a frame; None if it lacks any of them.

    ``held`` are the pages of the frame by slot; 0 stands for one whose body is not there.
    """
    slots = {page: slot for slot, page in enumerate(held)}
    if 0 in pages or not slots.keys() >= set(pages):
        return None
    view = memoryview(body)
    return b"".join(view[slots[page] * page_size : (slots[page] + 1) * page_size] for page in pages)


def _prefix(bodies: Data) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(bodies, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
