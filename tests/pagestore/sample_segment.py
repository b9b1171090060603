"""Small segments with fixed content, for tests and golden files."""

from collections.abc import Sequence
from pathlib import Path

from pagestore.codec import Codec
from pagestore.dictionary import Dictionary
from pagestore.ids import SegmentId
from pagestore.pages import PageIdx
from pagestore.segment import FrameExtent
from pagestore.segment_writer import SegmentWriter

GOLDEN = Path(__file__).parent / "golden"
SEGMENT = SegmentId.parse("s-00112233445566778899aabbccddeeff")
OTHER_SEGMENT = SegmentId.parse("s-00112233445566778899aabbccddeefe")
PAGE_SIZE = 512
PAGES = tuple(PageIdx(page) for page in (1, 2, 5, 70000, 4294967294))


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
