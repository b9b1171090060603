"""Reads and verifies a whole segment; for a single frame, `pagestore.segments.format.decode_frame` is enough."""

from array import array
from collections.abc import Callable, Iterator

from pyroaring import BitMap

from pagestore.errors import CorruptObject
from pagestore.ids import SegmentId
from pagestore.objectstore import Data
from pagestore.segments.dictionary import Dictionary, decode_dictionary
from pagestore.segments.fetch_plan import FrameLocation
from pagestore.segments.format import (
    SEGMENT_HEADER_BYTES,
    DecodedFrame,
    FrameExtent,
    base_of,
    decode_footer,
    decode_frame,
    decode_header,
)

FindBodies = Callable[[FrameLocation, list[int]], bytes | None]
"""Returns the bodies that some pages have in a frame, concatenated, or None if they are not at hand."""


def read_segment(
    data: Data, segment: SegmentId, bases: FindBodies | None = None
) -> Iterator[tuple[FrameExtent, DecodedFrame]]:
    """Yield the frames of a whole segment in the order of their offsets, each verified.

    In a segment inside a commit, delta frames are skipped if ``bases`` lacks their base. Header, directory and the
    checksum over everything are verified before the first frame is yielded. Raises `CorruptObject` or
    `UnsupportedFormat`, both naming the segment. Holds one decompressed frame at a time.
    """
    view = memoryview(data)
    header = decode_header(view, segment)
    frames_start = SEGMENT_HEADER_BYTES + header.dictionary_bytes
    entries = decode_footer(view, segment, frames_start)
    dictionary = None
    if header.dictionary_bytes:
        dictionary = decode_dictionary(view[SEGMENT_HEADER_BYTES:frames_start], segment)
    seen = BitMap()
    for entry in entries:
        stored = view[entry.offset : entry.offset + entry.length]
        frame = read_frame(stored, segment, header.page_size, bases, dictionary)
        if frame is None:
            continue
        pages = array("I", frame.pages.tolist())
        if len(pages) != entry.page_count:
            raise CorruptObject(
                f"segment {segment}: the frame at {entry.offset} has {len(pages)} pages, "
                f"but the directory says {entry.page_count}"
            )
        held = BitMap(pages)
        if seen.intersect(held):
            raise CorruptObject(f"segment {segment}: page {min(seen & held)} is in two frames")
        seen |= held
        yield FrameExtent(entry.offset, entry.length, pages), frame


def read_frame(
    data: Data, segment: SegmentId, page_size: int, bases: FindBodies | None, dictionary: Dictionary | None = None
) -> DecodedFrame | None:
    """Decode a frame like `decode_frame`; return None for a delta frame if ``bases`` lacks its base."""
    base = base_of(data, segment, page_size) if bases else None
    base_bodies = bases(*base) if bases and base else None
    if base and base_bodies is None:
        return None
    return decode_frame(data, segment, page_size, dictionary, base_bodies)
