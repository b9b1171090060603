"""Small segments with fixed content, for tests and golden files."""

from collections.abc import Sequence
from pathlib import Path

from pagestore.errors import ObjectNotFound
from pagestore.ids import SegmentId
from pagestore.pages import PageIdx
from pagestore.segments.codec import Codec
from pagestore.segments.dictionary import Dictionary
from pagestore.segments.format import FrameExtent
from pagestore.segments.writer import SegmentWriter

GOLDEN = Path(__file__).parents[1] / "golden"
SEGMENT = SegmentId.parse("s-00112233445566778899aabbccddeeff")
OTHER_SEGMENT = SegmentId.parse("s-00112233445566778899aabbccddeefe")
PAGE_SIZE = 512
PAGES = tuple(PageIdx(page) for page in (1, 2, 5, 70000, 4294967294))

SELF_CONTAINED = tuple(codec for codec in Codec if codec is not Codec.ZSTD_DELTA)
"""Codecs whose frames need no other frame."""

DICTIONARY = Dictionary(b"page 0 ........." * 8 + bytes(range(256)))
"""Raw content, as any bytes are that do not begin as a trained one does."""


def body_of(page: int, page_size: int = PAGE_SIZE) -> bytes:
    """Content that names its page and compresses."""
    return f"page {page} ".encode().ljust(16, b".") * (page_size // 16)


def write_segment(
    pages: Sequence[PageIdx] = PAGES,
    *,
    segment: SegmentId = SEGMENT,
    codec: Codec = Codec.LZ4,
    frame_bytes: int = 2 * PAGE_SIZE,
    layout_order: bool = False,
) -> tuple[bytes, list[FrameExtent]]:
    dictionary = DICTIONARY if codec is Codec.ZSTD_DICTIONARY else None
    writer = SegmentWriter(
        segment, PAGE_SIZE, frame_bytes=frame_bytes, codec=codec, layout_order=layout_order, dictionary=dictionary
    )
    chunks = [writer.add(page, body_of(page)) for page in pages]
    chunks.append(writer.finish())
    data = b"".join(chunks)
    assert writer.size == len(data)
    return data, writer.frames


class DictStore:
    """Objects in memory, and what was asked of them."""

    url = "dict:"

    def __init__(self, objects):
        self.objects = objects
        self.reads = []

    def get_range(self, key, start, length):
        self.reads.append((key, start, length))
        if key not in self.objects:
            raise ObjectNotFound(key, self.url)
        return self.objects[key][start : start + length]
