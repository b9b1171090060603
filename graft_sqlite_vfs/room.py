"""Finding out in time that memory runs out while SQLite writes.

Where apsw cannot make the bytes of the next page, it raises `MemoryError` itself: nobody could name the limit then.
"""

import mmap

from graft.errors import local_errors

PAGES_OF_ROOM = 32
"""How many pages may be written before `require_room` is called again."""
_ALLOWANCE = 4
"""For each of those pages: SQLite's journal and page cache grow, too."""


def require_room(page_size: int, name: str) -> None:
    """Raise `LimitReached` unless there is memory, or another mapping, for the next pages; they are not touched."""
    with local_errors(f"writing to volume {name}"):
        private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        mmap.mmap(-1, PAGES_OF_ROOM * _ALLOWANCE * page_size, flags=private).close()
