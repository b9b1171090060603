"""`SegmentWriter`: takes pages, returns the bytes of a segment frame by frame.

Invariants:
- no page is in a segment twice;
- ``frames`` lists the frames returned so far, by offset, without gaps;
- ``size`` counts the bytes returned so far, and ``_checksum`` covers exactly these.
"""

from array import array
from collections.abc import Sequence

from pyroaring import BitMap
from xxhash import xxh3_64

from pagestore.ids import SegmentId
from pagestore.objectstore import Data
from pagestore.pages import PAGE_IDX_MAX, PageIdx, check_page_size
from pagestore.segments.codec import Codec, check_level
from pagestore.segments.dictionary import Dictionary, encode_dictionary
from pagestore.segments.format import (
    FRAME_RAW_BYTES_MAX,
    FrameExtent,
    encode_footer,
    encode_frame,
    encode_header,
    version_for,
)

FRAME_BYTES_DEFAULT = 65536


class SegmentWriter:
    """Builds one segment; holds one frame's pages at a time. Used by one thread.

    ``segment = b"".join((*(writer.add(page, body) for page, body in pages), writer.finish()))``
    """

    def __init__(
        self,
        segment: SegmentId,
        page_size: int,
        *,
        frame_bytes: int = FRAME_BYTES_DEFAULT,
        codec: Codec = Codec.LZ4,
        level: int | None = None,
        layout_order: bool = False,
        dictionary: Dictionary | None = None,
        version: int | None = None,
    ) -> None:
        """Begin ``segment``; a frame holds ``frame_bytes`` of uncompressed pages, but at least one page.

        With a ``dictionary``, which becomes part of the segment, `Codec.ZSTD` means `Codec.ZSTD_DICTIONARY`. The format
        version follows from the codec; pass ``version`` if frames that need a newer one will be appended.

        Pages must be added in ascending order or, with ``layout_order``, in the order in which they will be read: then
        each frame holds the next pages, whatever their indexes. Raises `ValueError` for settings that no segment can
        have.
        """
        self.frames: list[FrameExtent] = []
        self.size = 0
        """Bytes returned so far."""
        self.dictionary_bytes = 0
        """How many of these belong to the dictionary."""
        self.segment = segment
        self._page_size = check_page_size(page_size)
        self._dictionary = dictionary
        self._layout_order = layout_order
        self._version = version or version_for(Codec.ZSTD_DICTIONARY if dictionary else codec)
        self._frame_page_count = max(1, frame_bytes // page_size)
        if self._frame_page_count * page_size > FRAME_RAW_BYTES_MAX:
            raise ValueError(f"a frame takes at most {FRAME_RAW_BYTES_MAX} bytes, not {frame_bytes}")
        if codec == Codec.ZSTD_DICTIONARY and not dictionary:
            raise ValueError("the codec ZSTD_DICTIONARY needs a dictionary")
        self._level = check_level(codec, level)
        self._codec = Codec.ZSTD_DICTIONARY if dictionary and codec == Codec.ZSTD else codec
        self._seen = BitMap()
        self._last_page = 0
        self._waiting: list[tuple[PageIdx, bytes]] = []
        self._checksum = xxh3_64()
        self._finished = False

    def add(self, page: PageIdx, body: Data) -> bytes:
        """Add one page and return the bytes that became ready: a frame when it is full, otherwise none.

        Copies ``body``. Raises `ValueError`, and adds nothing, for a page that is out of order, already present, beyond
        `PAGE_IDX_MAX`, or of the wrong size.
        """
        assert not self._finished, "BUG: a page is added to a finished segment"
        if len(body) != self._page_size:
            raise ValueError(f"page {page} has {len(body)} bytes, not {self._page_size}")
        self._check_order(page)
        self._last_page = page
        self._waiting.append((page, bytes(body)))
        return self._frame() if len(self._waiting) == self._frame_page_count else b""

    def append(self, pages: Sequence[PageIdx], frame: bytes) -> bytes:
        """Append a frame that `pagestore.segments.format.encode_frame` made; return the bytes that became ready.

        This allows encoding frames in other threads. Raises `ValueError` for a page that `add` would refuse; the writer
        must not be used afterwards.
        """
        assert not self._finished, "BUG: a frame is appended to a finished segment"
        assert not self._waiting, "BUG: a frame is appended between the pages of another one"
        assert self._version >= version_for(frame[0]), "BUG: a frame needs a newer version than its segment has"
        for page in pages:
            self._check_order(page)
            self._last_page = page
        return self._placed(frame, pages)

    def finish(self) -> bytes:
        """Return the last frame, directory and trailer; ``frames`` and ``size`` are complete afterwards."""
        assert not self._finished, "BUG: a segment is finished twice"
        self._finished = True
        last = self._frame() if self._waiting else self._header_if_first()
        footer = encode_footer(self.frames, self.size, self._checksum)
        self.size += len(footer)
        return last + footer

    def _check_order(self, page: PageIdx) -> None:
        if not 1 <= page <= PAGE_IDX_MAX:
            raise ValueError(f"page indexes must be from 1 to {PAGE_IDX_MAX}, not {page}")
        if not self._layout_order:
            if page <= self._last_page:
                raise ValueError(f"page {page} comes after page {self._last_page} in segment {self.segment}")
        elif page in self._seen:
            raise ValueError(f"page {page} comes twice in segment {self.segment}")
        else:
            self._seen.add(page)

    def _header_if_first(self) -> bytes:
        if self.size:
            return b""
        dictionary = encode_dictionary(self.segment, self._dictionary) if self._dictionary else b""
        self.dictionary_bytes = len(dictionary)
        header = encode_header(self.segment, self._page_size, self._version, len(dictionary))
        return self._produce(header + dictionary)

    def _frame(self) -> bytes:
        if self._layout_order:
            self._waiting.sort()
        pages, bodies = zip(*self._waiting, strict=True)
        self._waiting.clear()
        frame = encode_frame(self.segment, self._page_size, pages, bodies, self._codec, self._level, self._dictionary)
        return self._placed(frame, pages)

    def _placed(self, frame: bytes, pages: Sequence[PageIdx]) -> bytes:
        header = self._header_if_first()
        self.frames.append(FrameExtent(self.size, len(frame), array("I", pages)))  # a tenth of the memory of a tuple
        return header + self._produce(frame)

    def _produce(self, data: bytes) -> bytes:
        self._checksum.update(data)
        self.size += len(data)
        return data
