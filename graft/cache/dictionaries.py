"""Stores the dictionaries of segments beside the cache, so that each is fetched once.

    cache/dictionaries/s-0199f3a1…  as the segment holds it; disposable like the rest of the cache

The checksum in a file is seeded with the segment's id. Files that cannot be read or written are ignored.
"""

import contextlib
import io
import os
import threading
from collections import OrderedDict
from pathlib import Path

from graft.disk.files import write_all
from pagestore.errors import PageStoreError
from pagestore.ids import SegmentId
from pagestore.ownership import create, make_directory
from pagestore.segments.dictionary import Dictionary, decode_dictionary

_IN_MEMORY_MAX = 32
_FILES_MAX = 256


class DictionaryShelf:
    """See `pagestore.segments.fetch.Dictionaries`; safe for threads and processes."""

    def __init__(self, directory: Path) -> None:
        """Store files in ``directory``, which is created with the first of them."""
        self._directory = directory
        self._lock = threading.Lock()  # guards _recent
        self._recent: OrderedDict[SegmentId, Dictionary] = OrderedDict()

    def get(self, segment: SegmentId) -> Dictionary | None:
        """Return the dictionary of a segment, None if it is absent or damaged."""
        with self._lock:
            found = self._recent.get(segment)
            if found is not None:
                self._recent.move_to_end(segment)
                return found
        try:
            found = decode_dictionary((self._directory / str(segment)).read_bytes(), segment)
        except (OSError, PageStoreError):
            return None
        self._remember(segment, found)
        return found

    def add(self, segment: SegmentId, dictionary: Dictionary, stored: bytes) -> None:
        """Store a dictionary; delete the oldest file if there are too many."""
        self._remember(segment, dictionary)
        draft = self._directory / f"{segment}.{os.getpid()}.{threading.get_ident()}.draft"
        with contextlib.suppress(OSError):
            make_directory(self._directory.parent)
            make_directory(self._directory)
            with io.FileIO(create(draft, os.O_WRONLY | os.O_TRUNC), "wb") as file:
                write_all(file.fileno(), [stored], 0)
            draft.replace(self._directory / str(segment))
            self._make_room()

    def _remember(self, segment: SegmentId, dictionary: Dictionary) -> None:
        with self._lock:
            self._recent[segment] = dictionary
            if len(self._recent) > _IN_MEMORY_MAX:
                self._recent.popitem(last=False)

    def _make_room(self) -> None:
        files = list(self._directory.iterdir())
        if len(files) > _FILES_MAX:
            for file in sorted(files, key=lambda file: file.stat().st_mtime)[: len(files) - _FILES_MAX]:
                file.unlink(missing_ok=True)
