"""Reading a whole segment and checking all of it; for a single frame, `segment.decode_frame` is enough."""

from array import array
from collections.abc import Iterator

from pyroaring import BitMap

from pagestore.dictionary import decode_dictionary
from pagestore.errors import CorruptObject
from pagestore.ids import SegmentId
from pagestore.objectstore import Data
from pagestore.segment import (
    SEGMENT_HEADER_BYTES,
    DecodedFrame,
    FrameExtent,
    decode_footer,
    decode_frame,
    decode_header,
)


def read_segment(data: Data, segment: SegmentId) -> Iterator[tuple[FrameExtent, DecodedFrame]]:
    """Yield the frames of a whole segment in the order of their offsets, each verified.

    Header, directory and the checksum over everything are verified before the first frame comes. Raises
    `CorruptObject` or `UnsupportedFormat`, both naming the segment. Holds one decompressed frame at a time.
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
        frame = decode_frame(view[entry.offset : entry.offset + entry.length], segment, header.page_size, dictionary)
        pages = array("I", frame.pages.tolist())
        if len(pages) != entry.page_count:
            raise CorruptObject(
                f"segment {segment}: the frame at {entry.offset} has {len(pages)} pages, "
                f"the directory tells of {entry.page_count}"
            )
        held = BitMap(pages)
        if seen.intersect(held):
            raise CorruptObject(f"segment {segment}: page {min(seen & held)} is in two frames")
        seen |= held
        yield FrameExtent(entry.offset, entry.length, pages), frame
