"""Translates page 1 between its stored form and the form that SQLite sees; pure.

SQLite keeps its page cache valid as long as bytes 24…39 of page 1 are the same (docs/adr/0005-what-sqlite-is-shown.md).
Two versions of a volume can be equal there, so the change counter that SQLite sees is not the stored one:

    offset  bytes  meaning                                 shown
    16      2      page size (1 means 65536)               as stored
    18      2      file format, 2 2 in WAL mode            1 1, since a volume has no WAL file
    24      4      change counter                          a number from `ShownCounter`
    28      4      size in pages                           as stored
    40      4      schema cookie                           as stored, plus an offset from `ShownCookie`
    92      4      counter for which that size is valid    the same number, if the stored two are equal

When SQLite writes page 1 with the counter that it was shown, a rollback has restored the old page. Any other counter
means a change, and page 1 is stored with the previously stored counter plus one.
"""

import struct
from typing import NamedTuple, TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview

HEADER_BYTES = 100
PROBE = (16, 24)
"""Length and offset of the read with which SQLite checks whether its cache is valid."""
PROBED = slice(24, 40)
"""The bytes of page 1 that this read returns."""

_MAGIC = b"SQLite format 3\0"
_MASK = 0xFFFFFFFF
_PAGE_SIZE = slice(16, 18)
_FORMAT = slice(18, 20)
_COUNTER = slice(24, 28)
_COOKIE = slice(40, 44)
_VALID_FOR = slice(92, 96)
_WAL_FORMAT = b"\2\2"
_JOURNAL_FORMAT = b"\1\1"
_FIELDS = struct.Struct(">16x2s2s4xII8xI48xI")
_NUMBER = struct.Struct(">I")


class Header(NamedTuple):  # created for every commit; a frozen dataclass takes four times as long
    """The fields of page 1 that graft uses."""

    page_size: bytes
    format: bytes
    """The file format versions needed to write and to read."""
    counter: int
    page_count: int
    """The size in pages, valid in every page 1 that SQLite writes."""
    cookie: int
    """The schema cookie."""
    valid_for: int
    """The change counter for which the size is valid."""

    @classmethod
    def of(cls, page: Buffer) -> "Header":
        """Read the fields from page 1."""
        return cls._make(_FIELDS.unpack_from(page))


def is_database(page: Buffer) -> bool:
    """Return whether this is the first page of an SQLite database."""
    return page[: len(_MAGIC)] == _MAGIC


def page_size_in(page: Buffer) -> int:
    """Return the page size in bytes that page 1 states."""
    size = int.from_bytes(page[_PAGE_SIZE], "big")
    return 65536 if size == 1 else size


def encoded_page_size(page_size: int) -> bytes:
    """Return a page size in bytes as page 1 states it."""
    return (1 if page_size == 65536 else page_size).to_bytes(2, "big")


def is_wal_format(head: Header) -> bool:
    """Return whether page 1 marks the database as in WAL mode, as a backup of such a database does."""
    return head.format == _WAL_FORMAT


def counter_in(page: Buffer) -> int:
    """Return the change counter that page 1 carries."""
    return int.from_bytes(page[_COUNTER], "big")


def shown(page: Buffer, counter: int) -> bytearray:
    """Return page 1 as SQLite sees it."""
    result = bytearray(page)
    # SQLite before 3.7 did not store the size in pages; unequal counters mark that, and must stay unequal.
    size_is_valid = page[_COUNTER] == page[_VALID_FOR]
    result[_COUNTER] = counter.to_bytes(4, "big")
    result[_VALID_FOR] = (counter if size_is_valid else (counter - 1) & _MASK).to_bytes(4, "big")
    if page[_FORMAT] == _WAL_FORMAT:
        result[_FORMAT] = _JOURNAL_FORMAT
    return result


def stored_as_before(written: Buffer, base: Header) -> bytearray:
    """Return the page 1 to store when SQLite wrote it with the shown counter: for a rollback or a savepoint."""
    result = bytearray(written)
    result[_FORMAT] = base.format
    result[_COUNTER], result[_VALID_FOR] = _NUMBER.pack(base.counter), _NUMBER.pack(base.valid_for)
    return result


def stored_as_changed(written: Buffer, base: Header | None) -> bytes:
    """Return the page 1 to store for a change: the stored counter plus one; ``base`` is None for an empty volume."""
    counter = _NUMBER.pack((base.counter + 1) & _MASK if base else 1)
    return b"".join((written[:24], counter, written[28:92], counter, written[96:]))


def empty_header(page_size: int) -> bytes:
    """Return the header from which SQLite takes its page size when it opens an empty volume."""
    result = bytearray(HEADER_BYTES)
    result[: len(_MAGIC)] = _MAGIC
    result[_PAGE_SIZE] = encoded_page_size(page_size)
    return bytes(result)


class ShownCounter:
    """The change counters that one open file shows to its one SQLite pager.

    Invariant: `top` is at least every counter that this pager was shown or has written, so that ``top + 1`` always
    makes it drop its cache. A counter that the pager wrote and committed identifies the new content, so the pager's own
    commits do not invalidate its cache.
    """

    __slots__ = ("top", "value", "version")

    def __init__(self) -> None:
        """Start before anything was shown."""
        self.top = 0
        self.value = 0
        """The counter shown now."""
        self.version: int | None = None
        """The content version that this counter identifies."""

    def turn_to(self, version: int) -> bool:
        """Show the content of ``version`` from now on; return whether it differs from the version shown before."""
        if version == self.version:
            return False
        self.version = version
        self.top = self.value = (self.top + 1) & _MASK
        return True

    def saw_written(self, counter: int) -> None:
        """Record a counter that SQLite wrote, whether or not it is committed."""
        self.top = max(self.top, counter)

    def committed(self, version: int, counter: int) -> None:
        """Use the counter that SQLite wrote to identify the content that it has just committed."""
        self.version = version
        self.value = counter

    def drop_cache(self) -> None:
        """Show another counter for the same content, so that SQLite reads page 1 again."""
        self.top = self.value = (self.top + 1) & _MASK


class ShownCookie:
    """The schema cookies that one open file shows to its one SQLite pager.

    SQLite reuses its parsed schema as long as the cookie is the same. Two diverged histories can have the same cookie
    and different tables. Invariant: `_top` is at least every cookie that was shown or written, so that ``_top + 1``
    makes SQLite read the schema again; within one history the shown cookie changes by as much as the stored one.
    """

    __slots__ = ("_history", "_offset", "_parted", "_top")

    def __init__(self) -> None:
        """Start before anything was shown."""
        self._history: int | None = None
        self._top = 0
        self._offset = 0
        """Added to the stored cookie."""
        self._parted = False
        """Whether the next version shown belongs to another history than the last."""

    def turn_to(self, history: int, *, empty: bool) -> None:
        """Show versions of a history from now on. For an ``empty`` one, SQLite assumes cookie 0 without reading it."""
        self._parted = self._parted or self._history not in {None, history}
        self._history = history
        if empty:
            self._offset = 0

    def show(self, page: bytearray, *, writing: bool) -> None:
        """Put the cookie to show into a page 1; the offset does not change while SQLite is ``writing``."""
        stored = int.from_bytes(page[_COOKIE], "big")
        if self._parted and not writing:
            self._parted = False
            self._offset = (self._top + 1 - stored) & _MASK
        cookie = (stored + self._offset) & _MASK
        self._top = max(self._top, cookie)
        if self._offset:
            page[_COOKIE] = cookie.to_bytes(4, "big")

    def stored(self, written: Buffer, cookie: int) -> Buffer:
        """Return the page 1 to store, for one that SQLite wrote with ``cookie``."""
        self.saw_written(cookie)
        if not self._offset:
            return written
        result = bytearray(written)
        result[_COOKIE] = ((cookie - self._offset) & _MASK).to_bytes(4, "big")
        return result

    @property
    def as_stored(self) -> bool:
        """Whether the cookies that SQLite writes are stored unchanged."""
        return not self._offset

    def saw_written(self, cookie: int) -> None:
        """Record a cookie that SQLite wrote, whether or not it is committed."""
        self._top = max(self._top, cookie)

    def committed(self, history: int) -> None:
        """Continue from the version that SQLite has just committed."""
        self._history, self._parted = history, False
