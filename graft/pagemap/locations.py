"""Locations: 64 bits that say where this process finds a page.

    0                                        no body: the page reads as zeros
    01 | frame number (46) | slot (16)       in a frame of a segment, cached or not
    10 | journal file (20) | offset (42)     in a local journal file, offset in bytes from its start

Frame and file numbers are positions in tables of this process; they are never written to a disk.
"""

import numpy as np

from metastore.placement import U64

NOWHERE = 0
SLOT_BITS = 16
SLOT_MASK = (1 << SLOT_BITS) - 1
OFFSET_BITS = 42
OFFSET_MASK = (1 << OFFSET_BITS) - 1
FRAME_TAG = 1 << 62
JOURNAL_TAG = 1 << 63
_NUMBER_MASK = FRAME_TAG - 1


def in_journal(file: int, offset: int) -> int:
    """Return the location of a body ``offset`` bytes into journal file number ``file``."""
    return JOURNAL_TAG | file << OFFSET_BITS | offset


def in_frame(frame: int, slot: int) -> int:
    """Return the location of a page by frame number and slot."""
    return FRAME_TAG | frame << SLOT_BITS | slot


def in_frames(frames: U64, slots: U64) -> U64:
    """Return the locations of pages by frame number and slot."""
    return np.uint64(FRAME_TAG) | (frames << np.uint64(SLOT_BITS)) | slots


def frame_of(location: int) -> int:
    """Return the frame number of a location that is in a frame."""
    return (location & _NUMBER_MASK) >> SLOT_BITS


def frames_of(locations: U64) -> U64:
    """Return the frame numbers of locations that are in frames."""
    return (locations & np.uint64(_NUMBER_MASK)) >> np.uint64(SLOT_BITS)


def is_in_frame(locations: U64) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return, for each location, whether it is in a frame."""
    found: np.ndarray[tuple[int], np.dtype[np.bool_]] = (locations & np.uint64(FRAME_TAG)) != 0
    return found
