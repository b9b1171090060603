"""Hydrate: fetch every page that is not here, so that the replica works offline."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from graft.cache.frames import NoRoom
from graft.errors import BadRequest, LocalStorageError
from graft.pagemap.locations import SLOT_MASK, frame_of, frames_of, is_in_frame
from graft.pagemap.page_map import PageMap
from graft.replica.replica import Replica
from metastore.placement import InCommit
from pagestore.distinct import distinct
from pagestore.segments.format import DecodedFrame

Progress = Callable[[int, int], None]
"""Called with the amount done and the total, in the same unit."""

_BATCH_FRAMES = 4096
"""Enough for many parallel requests; `pagestore.segments.fetch` bounds the memory."""


@dataclass(frozen=True, slots=True)
class HydrateResult:
    """What a hydration fetched."""

    frames: int
    pages: int
    bytes: int
    """Size of the pages, uncompressed."""


def hydrate(replica: Replica, *, progress: Progress | None = None) -> HydrateResult:
    """Fetch the frames of the newest snapshot that are not in the cache, in parallel.

    Progress counts stored bytes. On return the cache has every page, and the state the whole index. Raises `BadRequest`
    if the volume cannot fit into the cache, `DiskFull` or `LocalStorageError` if the disk did not take everything, and
    the remote's errors; frames that arrived stay.
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
    numbers.sort(
        key=lambda number: isinstance(replica.table.key(number).ref.home, InCommit)
    )  # deltas come last, after their bases
    frames = pages = 0
    total = _stored_bytes(replica, _uncached(replica, numbers)) if progress else 0
    on_fetched = _counting(progress, total) if progress else None
    for start in range(0, len(numbers), _BATCH_FRAMES):
        fetched = replica.bodies.attach(numbers[start : start + _BATCH_FRAMES], on_fetched=on_fetched)
        frames, pages = frames + fetched[0], pages + fetched[1]
    for number in _lacking(replica, page_map):
        body = replica.bodies.attach_whole(number)
        frames, pages = frames + 1, pages + len(body.pages)
    fetched = _cached_all(replica, numbers)
    for index in view.state.chain:  # a full disk may have refused these chunks earlier
        replica.state.keep_chunks(index)
    frames, pages = frames + fetched[0], pages + fetched[1]
    if progress:
        progress(total, total)
    return HydrateResult(frames, pages, pages * replica.page_size)


def _stored_bytes(replica: Replica, numbers: Iterable[int]) -> int:
    return sum(replica.table.key(number).length for number in numbers)


def _counting(progress: Progress, total: int) -> Callable[[int], None]:
    """Return a function that adds up the sizes it is called with, and reports the sum."""
    done = 0

    def add(size: int) -> None:
        nonlocal done
        done = min(done + size, total)
        progress(done, total)

    return add


def _uncached(replica: Replica, numbers: Sequence[int]) -> list[int]:
    """Return the frames that the cache does not have: they are only in memory, or were evicted."""
    keys = {number: replica.table.key(number) for number in numbers}
    cached = replica.bodies.cached(keys.values())
    return [number for number, key in keys.items() if key not in cached]


def _cached_all(replica: Replica, numbers: Sequence[int]) -> tuple[int, int]:
    """Get all these frames into the cache, or raise; return how many were fetched again, and their pages."""
    uncached = _uncached(replica, numbers)
    if not uncached:
        return 0, 0
    bodies = replica.table.bodies
    held = [(number, body) for number in uncached if (body := bodies[number]) is not None and body.whole]
    try:
        for number, body in held:  # only in memory, since the cache did not take them
            frame = DecodedFrame(np.frombuffer(body.pages, np.uint32), bytes(body.data))
            replica.cache.put([(replica.table.key(number), frame)])
    except NoRoom:
        raise _too_small(replica, len(_uncached(replica, numbers)), len(numbers)) from None
    except LocalStorageError as error:
        lacking = len(_uncached(replica, numbers))
        raise type(error)(
            f"volume {replica.name}: {lacking} of {len(numbers)} frames could not be stored, {error}; what arrived "
            "stays, and the next hydrate fetches the rest"
        ) from error
    fetched = replica.bodies.attach(number for number in uncached if bodies[number] is None)  # evicted by other frames
    lacking = len(_uncached(replica, numbers))
    if lacking:
        raise _too_small(replica, lacking, len(numbers))
    return fetched


def _too_small(replica: Replica, lacking: int, frames: int) -> BadRequest:
    return BadRequest(
        f"volume {replica.name}: {lacking} of {frames} frames did not stay in the cache, which holds "
        f"{replica.settings.cache_bytes_max} bytes (cache_bytes_max): raise that, and hydrate again"
    )


def _lacking(replica: Replica, page_map: PageMap) -> set[int]:
    """Return cached frames that lack a live page: cleaning freed it, and a later version has it there again."""
    lacking = set()
    partial = {number for number, body in enumerate(replica.table.bodies) if body is not None and not body.whole}
    for chunk in page_map.chunks if partial else ():
        locations = chunk.locations()
        here = locations[is_in_frame(locations)]
        for location in here[np.isin(frames_of(here), np.array(sorted(partial), np.uint64))].tolist():
            body = replica.table.bodies[frame_of(location)]
            if body is not None and body.lacks(location & SLOT_MASK):
                lacking.add(frame_of(location))
    return lacking


def frames_by_chunk(page_map: PageMap) -> Iterator[list[int]]:
    """Yield for each chunk the numbers of the frames that it names and no earlier chunk does."""
    seen: set[int] = set()
    for chunk in page_map.chunks:
        locations = chunk.locations()
        numbers = distinct(frames_of(locations[is_in_frame(locations)])).tolist()
        yield [number for number in numbers if number not in seen]
        seen.update(numbers)
