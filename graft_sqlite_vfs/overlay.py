"""A database that SQLite changes over a snapshot, before anybody decides whether the changes become a commit.

One connection writes it, so there are no locks; a crash leaves nothing behind, so there is no journal on disk. The
changed pages are in a `WriteTransaction`, which spills what does not fit into memory.
"""

# ruff: noqa: N802, ARG002 - the methods have SQLite's shape

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import apsw

from graft.errors import GraftError
from graft.reading.snapshot import Advisor
from graft_sqlite_vfs.errors import as_sqlite
from graft_sqlite_vfs.header import Buffer, counter_in, shown
from graft_sqlite_vfs.vfs import ScratchFile
from pagestore.objectstore import Data

NAME = "graft-overlay"
_CHARACTERISTICS = apsw.SQLITE_IOCAP_SAFE_APPEND | apsw.SQLITE_IOCAP_SEQUENTIAL | apsw.SQLITE_IOCAP_POWERSAFE_OVERWRITE

_numbers = itertools.count(1)


class OverlaidPages(Protocol):
    """What a database is read from and written to: a `WriteTransaction`, or what only reads."""

    byte_size: int

    @property
    def page_size(self) -> int:
        """Bytes."""
        ...

    def read(self, page: int, advisor: Advisor | None = None) -> bytes | memoryview:
        """Return a page."""
        ...

    def write(self, page: int, data: Data) -> None:
        """Replace a page."""
        ...

    def resize(self, byte_size: int) -> None:
        """Set the size."""
        ...


_opened: dict[str, OverlaidPages] = {}


class OverlayFile:
    """The main database file; the shape of each method is SQLite's (sqlite.org/c3ref/io_methods.html)."""

    def __init__(self, pages: OverlaidPages) -> None:
        """Read and write through ``pages``, which somebody else closes."""
        self._pages = pages
        self._page_size = pages.page_size

    def xRead(self, amount: int, offset: int) -> Buffer:
        """Return ``amount`` bytes from ``offset``, fewer only where the database ends."""
        try:
            end = min(offset + amount, self.xFileSize())
            pieces = bytearray()
            while offset < end:
                number, start = divmod(offset, self._page_size)
                stop = min(self._page_size, start + end - offset)
                pieces += self._page(number + 1)[start:stop]
                offset += stop - start
        except GraftError as error:
            raise as_sqlite(error) from error
        return pieces

    def _page(self, index: int) -> Buffer:
        page = self._pages.read(index)
        # A database that was in WAL mode says so in page 1; here it is in none.
        return shown(page, counter_in(page)) if index == 1 else page

    def xWrite(self, data: bytes, offset: int) -> None:
        """Write whole pages, as SQLite's pager does."""
        try:
            self._pages.write(offset // self._page_size + 1, data)
        except GraftError as error:
            raise as_sqlite(error) from error

    def xTruncate(self, size: int) -> None:
        """Cut the database off."""
        self._pages.resize(size)

    def xFileSize(self) -> int:
        """Return its size in bytes."""
        return self._pages.byte_size

    def xSync(self, flags: int) -> None:
        """Do nothing: what is here is no commit yet."""

    def xLock(self, level: int) -> None:
        """Do nothing: one connection has the file."""

    def xUnlock(self, level: int) -> None:
        """Do nothing."""

    def xCheckReservedLock(self) -> bool:
        """Return that nobody else writes."""
        return False

    def xFileControl(self, operation: int, pointer: int) -> bool:
        """Answer nothing."""
        return False

    def xSectorSize(self) -> int:
        """Return the page size."""
        return self._page_size

    def xDeviceCharacteristics(self) -> int:
        """Return what SQLite may skip."""
        return _CHARACTERISTICS

    def xClose(self) -> None:
        """Leave the transaction to its owner."""


class OverlayVFS(apsw.VFS):
    """Opens overlays by the names that `overlaid` gives them."""

    def __init__(self) -> None:
        """Register under `NAME`."""
        super().__init__(NAME, base="")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        """Open one of SQLite's files."""
        if flags[0] & apsw.SQLITE_OPEN_MAIN_DB:
            assert isinstance(name, apsw.URIFilename), "BUG: a main database without a name"
            pages = _opened[name.filename().rpartition("/")[2]]
            flags[1] = flags[0]
            return OverlayFile(pages)  # type: ignore[return-value]  # apsw takes any object with the methods
        if flags[0] & apsw.SQLITE_OPEN_MAIN_JOURNAL:
            return ScratchFile()
        return apsw.VFSFile("", name, flags)

    def xFullPathname(self, name: str) -> str:
        """Return the name: it is no path."""
        return name

    def xAccess(self, pathname: str, flags: int) -> bool:
        """Return that there is no journal."""
        return (
            pathname not in _opened and not pathname.endswith(("-journal", "-wal")) and super().xAccess(pathname, flags)
        )

    def xDelete(self, filename: str, syncdir: bool) -> None:
        """Delete other files than journals, which have no name."""
        if not filename.endswith(("-journal", "-wal")):
            super().xDelete(filename, syncdir)


_VFS = OverlayVFS()


@contextmanager
def overlaid(pages: OverlaidPages) -> Iterator[apsw.Connection]:
    """Open a database for as long as the block runs; a transaction has its changed pages then."""
    name = f"overlay-{next(_numbers)}"
    _opened[name] = pages
    try:
        connection = apsw.Connection(f"file:{name}?vfs={NAME}", flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_URI)
        try:
            connection.pragma("journal_mode", "memory")
            yield connection
        finally:
            connection.close()
    finally:
        del _opened[name]
