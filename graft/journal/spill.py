"""Spills a transaction's pages from memory to a file, which becomes a journal file on commit.

In memory remain 4 bytes for each slot, and 4 for each page of the volume in every run of 4,096 pages that was written
to.
"""

import os
from array import array
from collections.abc import Mapping
from pathlib import Path

from graft.disk.files import write_all
from graft.errors import local_errors
from graft.journal.format import HEADER_BYTES
from pagestore.objectstore import Data
from pagestore.ownership import create

_BATCH_BYTES = 4 * 1024 * 1024
_RUN_SHIFT = 12
_RUN_MASK = (1 << _RUN_SHIFT) - 1
_NO_SLOTS = array("I", bytes(4 << _RUN_SHIFT))
assert _NO_SLOTS.itemsize == 4


class Spill:
    """Bodies in slots, behind room for a header; a page that is written again reuses its slot."""

    def __init__(self, path: Path, page_size: int) -> None:
        """Create the file."""
        self.path = path
        self._page_size = page_size
        self.slots = array("I")
        """The page in each slot, 0 for a dropped body."""
        self._slot_of = _Slots()
        with local_errors(f"creating {path}"):
            self.descriptor = create(path, os.O_RDWR | os.O_TRUNC)

    def __contains__(self, page: object) -> bool:
        return isinstance(page, int) and self._slot_of.get(page) is not None

    def write(self, pages: Mapping[int, Data]) -> None:
        """Write bodies; new pages get the next slots, in order."""
        with local_errors(f"spilling to {self.path}"):
            batch: list[Data] = []
            start = len(self.slots)
            for page, body in pages.items():
                slot = self._slot_of.get(page)
                if slot is not None:
                    self._write_at(slot, body)
                    continue
                self._slot_of.put(page, len(self.slots))
                self.slots.append(page)
                batch.append(body)
                if len(batch) * self._page_size >= _BATCH_BYTES:
                    self._write_at(start, b"".join(batch))
                    start, batch = len(self.slots), []
            if batch:
                self._write_at(start, b"".join(batch))

    def write_run(self, first_page: int, data: Data) -> None:
        """Write the bodies of consecutive pages, none of which was written before."""
        start, count = len(self.slots), len(data) // self._page_size
        with local_errors(f"spilling to {self.path}"):
            self._write_at(start, data)
        pages = range(first_page, first_page + count)
        self.slots.extend(pages)
        for slot, page in enumerate(pages, start):
            self._slot_of.put(page, slot)

    def read(self, page: int) -> bytes:
        """Return the body of a spilled page."""
        slot = self._slot_of.get(page)
        assert slot is not None, "BUG: a page that was not spilled"
        with local_errors(f"reading {self.path}"):
            return os.pread(self.descriptor, self._page_size, self._offset(slot))

    def drop_above(self, page_count: int) -> None:
        """Drop the pages above a new end."""
        for slot, page in enumerate(self.slots):
            if page > page_count:
                self._slot_of.drop(page)
                self.slots[slot] = 0

    def close(self, *, remove: bool = True) -> None:
        """Close the file; ``remove`` it too, unless it became a journal file."""
        os.close(self.descriptor)
        if not remove:
            return
        with local_errors(f"removing {self.path}"):
            self.path.unlink(missing_ok=True)

    def _offset(self, slot: int) -> int:
        return HEADER_BYTES + slot * self._page_size

    def _write_at(self, slot: int, data: Data) -> None:
        write_all(self.descriptor, [data], self._offset(slot))


class _Slots:
    """The slot of each page, in one array per run of pages: a dictionary would take 25 times the memory."""

    def __init__(self) -> None:
        self._runs: dict[int, array[int]] = {}

    def get(self, page: int) -> int | None:
        run = self._runs.get(page >> _RUN_SHIFT)
        marked = run[page & _RUN_MASK] if run is not None else 0
        return marked - 1 if marked else None

    def put(self, page: int, slot: int) -> None:
        run = self._runs.get(page >> _RUN_SHIFT)
        if run is None:
            run = self._runs[page >> _RUN_SHIFT] = array("I", _NO_SLOTS)
        run[page & _RUN_MASK] = slot + 1

    def drop(self, page: int) -> None:
        self._runs[page >> _RUN_SHIFT][page & _RUN_MASK] = 0
