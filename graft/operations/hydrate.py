"""Hydrate: fetch every page body that is not here, so that the replica works offline."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from graft.errors import BadRequest
from graft.pagemap.locations import SLOT_MASK, frame_of, frames_of, is_in_frame
from graft.pagemap.page_map import PageMap
from graft.replica.replica import Replica
from metastore.placement import InCommit
from pagestore.distinct import distinct

Progress = Callable[[int, int], None]
"""Called with what is done and what there is in all, in one unit."""

_BATCH_FRAMES = 4096
"""Enough for many requests at once; `pagestore.segments.fetch` bounds how much of it is in memory at a time."""


@dataclass(frozen=True, slots=True)
class HydrateResult:
    """What was fetched."""

    frames: int
    pages: int
    bytes: int
    """Of page bodies, uncompressed."""


def hydrate(replica: Replica, *, progress: Progress | None = None) -> HydrateResult:
    """Fetch the frames of the newest snapshot that are not in the cache, in parallel; progress counts frames.

    Raises `BadRequest` when the volume cannot fit into the cache, and the remote's errors; what arrived stays.
    """
    view = replica.view()
    size = view.remote_map.live_pages * replica.page_size
    if size > replica.settings.cache_bytes_max:
        raise BadRequest(
            f"volume {replica.name} has {size} bytes of pages, its cache holds {replica.settings.cache_bytes_max}; "
            "raise cache_bytes_max to hydrate it"
        )
    page_map = view.snapshot.page_map
    numbers = [number for chunk in frames_by_chunk(page_map) for number in chunk]
    numbers.sort(key=lambda number: isinstance(replica.table.key(number).ref.home, InCommit))  # what differs comes last
    frames = pages = 0
    for start in range(0, len(numbers), _BATCH_FRAMES):
        fetched = replica.bodies.attach(numbers[start : start + _BATCH_FRAMES])
        frames, pages = frames + fetched[0], pages + fetched[1]
        if progress:
            progress(min(start + _BATCH_FRAMES, len(numbers)), len(numbers))
    for number in _lacking(replica, page_map):
        body = replica.bodies.attach_whole(number)
        frames, pages = frames + 1, pages + len(body.pages)
    return HydrateResult(frames, pages, pages * replica.page_size)


def _lacking(replica: Replica, page_map: PageMap) -> set[int]:
    """Return the frames in the cache without a page that is of use now: one went back to what had been replaced."""
    lacking = set()
    thinned = {number for number, body in enumerate(replica.table.bodies) if body is not None and not body.whole}
    for chunk in page_map.chunks if thinned else ():
        locations = chunk.locations()
        here = locations[is_in_frame(locations)]
        for location in here[np.isin(frames_of(here), np.array(sorted(thinned), np.uint64))].tolist():
            body = replica.table.bodies[frame_of(location)]
            if body is not None and body.lacks(location & SLOT_MASK):
                lacking.add(frame_of(location))
    return lacking


def frames_by_chunk(page_map: PageMap) -> Iterator[list[int]]:
    """Yield, chunk by chunk, the numbers of the frames that a map names; each once over all chunks."""
    seen: set[int] = set()
    for chunk in page_map.chunks:
        locations = chunk.locations()
        numbers = distinct(frames_of(locations[is_in_frame(locations)])).tolist()
        yield [number for number in numbers if number not in seen]
        seen.update(numbers)
