"""A commit of the journal in memory: what its record says, and where its pages are."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from metastore.placement import U64


class LocalCommit(NamedTuple):  # made for every commit: a frozen dataclass takes four times as long
    """One record of the journal. Pages and locations are computed on demand; a commit needs neither."""

    local_lsn: int
    byte_size: int
    """Size of the volume after the commit."""
    page_count: int
    """The same size in pages."""
    min_page_count: int
    """Smallest page count of the volume during the commit: pages above it are dropped first."""
    timestamp_us: int
    slots: bytes
    """The page in each slot as u32, little-endian; 0 for a dropped body."""
    first_location: int
    """Location of the first slot; the others follow, page by page."""
    page_size: int

    def places(self) -> Iterator[tuple[int, int]]:
        """Yield each page with its location; for few pages this is faster than arrays."""
        for slot, page in enumerate(struct.unpack(f"<{self.slot_count}I", self.slots)):
            if page:
                yield page, self.first_location + slot * self.page_size

    @property
    def slot_count(self) -> int:
        """Number of bodies in the record."""
        return len(self.slots) // 4

    @property
    def pages(self) -> npt.NDArray[np.int64]:
        """The changed pages, each once, in the record's order."""
        listed = np.frombuffer(self.slots, "<u4")
        found: npt.NDArray[np.int64] = listed[listed != 0].astype(np.int64)
        return found

    @property
    def locations(self) -> U64:
        """The location of each of `pages`."""
        used = np.flatnonzero(np.frombuffer(self.slots, "<u4")).astype(np.uint64)
        found: U64 = used * np.uint64(self.page_size) + np.uint64(self.first_location)
        return found
