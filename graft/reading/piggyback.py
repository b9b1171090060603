"""Piggybacked frames: frames of later pages that a scan fetches in the same requests as its next frames. Pure.

Where pushes have scattered pages, the next pages of a scan lie in several small objects: commits that hold pages
inline. Each object costs a request however little is read of it, and each window would read all of them again. So a
scan that has come far enough also fetches what those objects hold of its later pages: the nearest frames first, and of
each object no more than a request is worth.
"""

from collections.abc import Hashable, Iterable, Iterator
from itertools import islice
from typing import Protocol

USED_FRAMES_MIN = 8
"""A scan piggybacks frames only after it has used this many along its trend."""
_FRAMES_FOR_USED = 3
"""How many piggybacked frames may be outstanding for each frame that was used."""
_PAGES_FOR_USED = 64
"""How many pages to look ahead for each frame that was used."""
_EACH_MAX = 20
"""How many frames of one object are piggybacked at once."""


class Objects(Protocol):
    """Where the pages of a version are."""

    def missing_frame(self, page: int) -> int | None:
        """Return the frame that must be fetched for a page; None if it is here, being fetched, or has no body."""
        ...

    def small_object(self, frame: int) -> Hashable | None:
        """Return a key of the object that a frame lies in, None unless it is a small object."""
        ...


def piggyback_room(used: int, outstanding: int, piggyback_max: int) -> int:
    """Return how many frames a scan may piggyback now, after it used ``used``; ``outstanding`` are not used yet."""
    if used < USED_FRAMES_MIN:
        return 0
    return max(min(_FRAMES_FOR_USED * used, piggyback_max) - outstanding, 0)


def piggyback(pages: Iterator[int], frames: Iterable[int], used: int, room: int, objects: Objects) -> list[int]:
    """Return up to ``room`` missing frames of later ``pages`` that lie in the same small objects as ``frames``.

    The scan has used ``used`` frames so far; the more it used, the farther ahead this searches.
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
