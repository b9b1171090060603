"""Company: what goes along with the frames that a scan fetches next, decided without I/O.

Where pushes have scattered pages, what comes next lies in several small objects: commits that hold pages inline. Each
costs a request however little is wanted of it, and every window would ask each of them again. So whoever is well on
the way through an order takes along what the objects that are asked anyway have for the way further on: what comes
first, and of each object no more than a request is worth.
"""

from collections.abc import Hashable, Iterable, Iterator
from itertools import islice
from typing import Protocol

USED_FRAMES_MIN = 8
"""Who used fewer frames along a trend takes no company."""
_FRAMES_FOR_USED = 3
"""So many frames may be on the way as company for each that was used."""
_PAGES_FOR_USED = 64
"""So many pages further on are looked at for each frame that was used."""
_EACH_MAX = 20
"""So many frames of one object go along at once."""


class Objects(Protocol):
    """Where the pages of a version are."""

    def missing_frame(self, page: int) -> int | None:
        """Return the frame that a page must be fetched with; None when it is here, on its way or has no body."""
        ...

    def small_object(self, frame: int) -> Hashable | None:
        """Return what stands for the object that a frame lies in, if it is a small one; None for any other."""
        ...


def company_room(used: int, on_the_way: int, company_max: int) -> int:
    """Return how many frames may go along now: of who used so many, if so many went along and were not used yet."""
    if used < USED_FRAMES_MIN:
        return 0
    return max(min(_FRAMES_FOR_USED * used, company_max) - on_the_way, 0)


def company(pages: Iterator[int], frames: Iterable[int], used: int, room: int, objects: Objects) -> list[int]:
    """Return up to ``room`` missing frames of the pages further on that lie in the same small objects as ``frames``.

    ``used`` frames were used so far; the further a reader has come, the further it looks.
    """
    seen: set[int | None] = {None, *frames}
    left = {objects.small_object(frame): _EACH_MAX for frame in frames}
    left.pop(None, None)
    found: list[int] = []
    for page in islice(pages, used * _PAGES_FOR_USED) if room and left else ():
        frame = objects.missing_frame(page)
        if frame is None or frame in seen:
            continue
        seen.add(frame)
        object_ = objects.small_object(frame)
        if object_ not in left:
            continue
        found.append(frame)
        left[object_] -= 1
        if not left[object_]:
            del left[object_]
        if len(found) == room or not left:
            break
    return found
