"""Frames in the cache of which only some pages are of use: what remains of them, and when that is worth the work.

All pure. A frame that is thinned keeps its slots: the page list has 0 where a body was let go of, and in the file there
is a hole, or what belongs to another frame. Holes are whole blocks of the file system, so pages smaller than that free
less.

    slots      0   1   2   3   4   5          kept  1, 3
    pages      0   p   0   q                  cut behind the last one that is kept
    file     ┄┄┄┄ [p] ┄┄┄ [q]                 placed so that the first one begins where the file's used part ended
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pagestore.distinct import distinct

BLOCK = 4096
"""What file systems give out."""

Mask = npt.NDArray[np.bool_]
Listed = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class CachedFrame:
    """A frame as the index has it."""

    segment: bytes
    offset: int
    file: int
    position: int
    """Where slot 0 is; not more than a block's multiple before what was used of the file then."""
    pages: bytes
    """The page list, u32 each."""
    whole: bool
    digest: bytes
    end: int = 0
    """Where its last slot ends, for one that is being put in."""

    @property
    def listed(self) -> Listed:
        """The page list; 0 for a body that was let go of."""
        return np.frombuffer(self.pages, "<u4")


LiveJudge = Callable[[Sequence[CachedFrame]], Sequence[Mask]]
"""Tells, for each frame, which of its slots hold pages that are still of use."""


@dataclass(frozen=True, slots=True)
class FileUse:
    """What a file of the cache takes, and what of it is of use, as far as is known."""

    file: int
    bytes: int
    """Its size."""
    used: int
    """Where the next frame goes."""
    taken: int
    """What is on the disk, holes not counted."""
    live: int
    """What of that is of use."""
    given_up: int = 0
    """Whether those who map it are to let go of it."""

    @property
    def blocks(self) -> int:
        """What is on the disk, in bytes of whole blocks."""
        return in_blocks(self.taken)

    @property
    def excess(self) -> int:
        """What is on the disk and of no use."""
        return max(0, self.blocks - self.live)


def in_blocks(length: int) -> int:
    """Return what so many bytes take on the disk."""
    return -(-length // BLOCK) * BLOCK


def fitting(lengths: Sequence[int], room: int, blocks_max: int) -> int:
    """Return how many bodies of these lengths go into so much room of a file, and so much of the disk."""
    for count, length in enumerate(lengths):
        room, blocks_max = room - length, blocks_max - in_blocks(length)
        if min(room, blocks_max) < 0:
            return count
    return len(lengths)


def runs(listed: Listed) -> Iterator[tuple[int, int]]:
    """Yield the first slot and the end of each run of slots that are kept."""
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
    """Return what a frame with this page list takes on the disk when it begins with a block."""
    if page_size >= BLOCK:
        return int(np.count_nonzero(listed)) * page_size
    return len(distinct(np.flatnonzero(listed) * page_size // BLOCK)) * BLOCK


def place(listed: Listed, page_size: int, used: int) -> int:
    """Return where a thinned frame begins if nothing of it is to lie before ``used``."""
    first = int(np.flatnonzero(listed)[0]) * page_size // BLOCK * BLOCK
    return max(0, in_blocks(used) - first)


def too_much(files: Sequence[FileUse], live_bytes: int) -> int:
    """Return by how much the files take more than all pages of the newest version: that much at least is of no use.

    Those that are given up do not count: what they take cannot be helped.
    """
    return sum(file.blocks for file in files if not file.given_up) - live_bytes


def survey_is_due(excess: int, futile: int, live_bytes: int, slack: int) -> bool:
    """Tell whether so much is `too_much` that it is time to look what is of use; not again, if it was futile before."""
    return excess > futile + live_bytes // slack


def victim(files: Sequence[FileUse], page_size: int, slack: int) -> FileUse | None:
    """Return the file with the largest part that is of no use, as far as is known.

    None if that is little in all: less than half of one in ``slack`` bytes of what is of use. So one need not look for
    it again before the other half has come together.
    """
    candidates = [file for file in files if not file.given_up]
    if sum(file.excess for file in candidates) <= sum(file.live for file in candidates) // (2 * slack):
        return None
    found = max(candidates, key=lambda file: file.excess / max(file.taken, 1))
    return found if found.excess >= max(page_size, BLOCK) else None  # less may be the rest of its last block
