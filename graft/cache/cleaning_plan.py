"""Decides what to copy when cached frames are partly dead, and when cleaning is worth the work; pure.

The slots of a cleaned frame stay the same. Its page list has 0 where a body was dropped; at that place the file has a
hole, or bytes of another frame. Holes are whole blocks of the file system, so smaller pages free less.

    slots      0   1   2   3   4   5          live  1, 3
    pages      0   p   0   q                  cut behind the last live page
    file     ┄┄┄┄ [p] ┄┄┄ [q]                 the first live page begins where the used part of the file ended
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pagestore.distinct import distinct

BLOCK = 4096
"""Unit of allocation in a file system, in bytes."""

Mask = npt.NDArray[np.bool_]
Listed = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class CachedFrame:
    """A frame as a row of the index."""

    segment: bytes
    offset: int
    file: int
    position: int
    """Where slot 0 is, or would be if the frame were whole."""
    pages: bytes
    """The page list, u32 each."""
    whole: bool
    digest: bytes
    end: int = 0
    """Where its last slot ends, while it is being added."""

    @property
    def listed(self) -> Listed:
        """The page list; 0 for a body that was dropped."""
        return np.frombuffer(self.pages, "<u4")


LiveJudge = Callable[[Sequence[CachedFrame]], Sequence[Mask]]
"""Returns, for each frame, which of its slots hold live pages."""


@dataclass(frozen=True, slots=True)
class FileUse:
    """How much of a cache file is used, and how much of that is known to be live; bytes."""

    file: int
    bytes: int
    """Its size."""
    used: int
    """Where the next frame goes."""
    taken: int
    """Space on the disk, without holes."""
    live: int
    """Live bytes, as of the last survey."""
    given_up: int = 0
    """Whether processes that map it should unmap it."""

    @property
    def blocks(self) -> int:
        """Space on the disk, in whole blocks."""
        return in_blocks(self.taken)

    @property
    def excess(self) -> int:
        """Space on the disk that is not live."""
        return max(0, self.blocks - self.live)


def in_blocks(length: int) -> int:
    """Return the disk space that ``length`` bytes take."""
    return -(-length // BLOCK) * BLOCK


def fitting(lengths: Sequence[int], room: int, blocks_max: int) -> int:
    """Return how many bodies of these lengths fit into ``room`` of a file and ``blocks_max`` of the disk."""
    for count, length in enumerate(lengths):
        room, blocks_max = room - length, blocks_max - in_blocks(length)
        if min(room, blocks_max) < 0:
            return count
    return len(lengths)


def runs(listed: Listed) -> Iterator[tuple[int, int]]:
    """Yield the first slot and the end of each run of slots whose bodies are there."""
    kept = np.zeros(len(listed) + 2, np.int8)
    kept[1:-1] = listed != 0
    edges = np.flatnonzero(np.diff(kept)).tolist()
    yield from zip(edges[::2], edges[1::2], strict=True)


def live_only(listed: Listed, live: Mask) -> Listed:
    """Return a page list with only the live pages."""
    kept = np.where(live, listed, 0).astype("<u4")
    used = np.flatnonzero(kept)
    return kept[: int(used[-1]) + 1 if len(used) else 0]


def taken_bytes(listed: Listed, page_size: int) -> int:
    """Return the disk space of a frame with this page list that starts at a block."""
    if page_size >= BLOCK:
        return int(np.count_nonzero(listed)) * page_size
    return len(distinct(np.flatnonzero(listed) * page_size // BLOCK)) * BLOCK


def place(listed: Listed, page_size: int, used: int) -> int:
    """Return the position of a cleaned frame so that none of its live pages lies before ``used``."""
    first = int(np.flatnonzero(listed)[0]) * page_size // BLOCK * BLOCK
    return max(0, in_blocks(used) - first)


def too_much(files: Sequence[FileUse], live_bytes: int) -> int:
    """Return how much more space the files take than all pages of the newest version: at least that much is dead.

    Files that are given up do not count, since cleaning cannot free their space.
    """
    return sum(file.blocks for file in files if not file.given_up) - live_bytes


def survey_is_due(excess: int, futile: int, live_bytes: int, slack: int) -> bool:
    """Return whether an excess justifies a survey of live pages.

    ``futile`` is the excess at which the last survey found nothing to free, else 0.
    """
    return excess > futile + live_bytes // slack


def victim(files: Sequence[FileUse], page_size: int, slack: int) -> FileUse | None:
    """Return the file with the largest dead part, as far as is known.

    None if all dead parts together are less than half of one part in ``slack`` of the live bytes. So the next survey is
    not due before the other half has accumulated.
    """
    candidates = [file for file in files if not file.given_up]
    if sum(file.excess for file in candidates) <= sum(file.live for file in candidates) // (2 * slack):
        return None
    found = max(candidates, key=lambda file: file.excess / max(file.taken, 1))
    return found if found.excess >= max(page_size, BLOCK) else None  # less may be the end of its last block
