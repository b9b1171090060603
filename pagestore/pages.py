"""Pages: their indexes and sizes."""

from typing import NewType

PageIdx = NewType("PageIdx", int)
"""1-based position of a page in its volume, at most `PAGE_IDX_MAX`."""

PAGE_IDX_MAX = 2**32 - 2
PAGE_SIZE_MIN = 512
PAGE_SIZE_MAX = 65536
PAGE_SIZE_DEFAULT = 4096


def check_page_size(page_size: int) -> int:
    """Return ``page_size`` if SQLite supports it (a power of two, 512…65536 bytes); raises `ValueError` otherwise."""
    if not PAGE_SIZE_MIN <= page_size <= PAGE_SIZE_MAX or page_size & (page_size - 1):
        raise ValueError(f"page size must be a power of two from {PAGE_SIZE_MIN} to {PAGE_SIZE_MAX}, not {page_size}")
    return page_size


def page_count_of(byte_size: int, page_size: int) -> int:
    """Return how many pages hold ``byte_size`` bytes; the last one may be partly used."""
    return -(-byte_size // page_size)
