"""One version of a database, to be compared with another: its pages, and its rows through SQLite."""

import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from urllib.parse import quote, urlencode

import apsw

from graft.errors import Corrupt, GraftError, Unsupported
from graft.reading.snapshot import Snapshot
from graft.replica.replica import Replica
from graft_sqlite_vfs.btree.cells import PageShape
from graft_sqlite_vfs.btree.records import Value
from graft_sqlite_vfs.header import Buffer, is_database
from graft_sqlite_vfs.pinned import PARAMETER, pinned
from graft_sqlite_vfs.registration import NAME

_RESERVED = 20
_FIRST_FREE, _LARGEST_ROOT, _ENCODING = 32, 52, 56
_ENCODINGS = {0: "utf-8", 1: "utf-8", 2: "utf-16-le", 3: "utf-16-be"}
_NUMBER = struct.Struct(">I")


class Version:
    """One version of a database; not safe for threads."""

    def __init__(self, snapshot: Snapshot, connection: apsw.Connection) -> None:
        """Use what `opened` made."""
        self.snapshot = snapshot
        self.connection = connection
        """Reads this very version."""
        self.page_count = snapshot.page_count
        first = self.page(1) if self.page_count else bytes(snapshot.page_size)
        self.shape = PageShape(snapshot.page_size, snapshot.page_size - first[_RESERVED])

    @cached_property
    def encoding(self) -> str:
        """The encoding of its text, by a name that Python knows."""
        return _ENCODINGS[_number(self.page(1), _ENCODING)] if self.page_count else "utf-8"

    def page(self, index: int) -> Buffer:
        """Return a page's bytes; raises `Corrupt` for one beyond the end, which no page may name."""
        if not 1 <= index <= self.page_count:
            raise Corrupt(f"{self.snapshot.describe()} has {self.page_count} pages, and something names page {index}")
        return self.snapshot.read(index)

    def bring(self, pages: Iterable[int]) -> None:
        """Fetch what is not here of these pages, together."""
        self.snapshot.prefetch(page for page in pages if 1 <= page <= self.page_count)

    def query(self, sql: str, bindings: Sequence[Value] = ()) -> list[tuple[Value, ...]]:
        """Return the rows of a query. Raises `Corrupt` for text that is not, and what reading pages raises."""
        try:
            return self.connection.execute(sql, bindings).fetchall()
        except UnicodeDecodeError as error:
            raise Corrupt(f"{self.snapshot.describe()}: a text in the database is not valid: {error}: {sql}") from error
        except apsw.Error as error:
            if isinstance(error.__cause__, GraftError):
                raise error.__cause__ from None
            raise Unsupported(f"{self.snapshot.describe()}: SQLite does not read it here: {error}: {sql}") from error

    def chain(self, first: int) -> Iterator[int]:
        """Yield the overflow pages that a payload runs on in, from its first one."""
        page = first
        for _ in range(self.page_count):
            if not page:
                return
            yield page
            page = _number(self.page(page), 0)
        raise Corrupt(f"{self.snapshot.describe()}: the overflow pages from page {first} form a circle")

    def free_pages(self) -> Iterator[int]:
        """Yield the pages of the free list."""
        for trunk in self.chain(_number(self.page(1), _FIRST_FREE)):
            yield trunk
            content = self.page(trunk)
            count = min(_number(content, 4), len(content) // 4 - 2)
            yield from (_number(content, 8 + 4 * place) for place in range(count))

    def is_pointer_map(self, index: int) -> bool:
        """Return whether a page is of the map that databases with auto_vacuum have."""
        if not _number(self.page(1), _LARGEST_ROOT):
            return False
        return (index - 2) % (self.shape.usable_bytes // 5 + 1) == 0


@contextmanager
def opened(replica: Replica, snapshot: Snapshot) -> Iterator[Version]:
    """Open a version for as long as the block runs."""
    if snapshot.page_count and not is_database(snapshot.read(1)):
        raise Corrupt(f"{snapshot.describe()} is not an SQLite database, so it has no rows to compare")
    with pinned(snapshot) as name:
        connection = apsw.Connection(
            f"file:{quote(str(replica.path))}?{urlencode({'vfs': NAME, PARAMETER: name})}",
            flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI,
        )
    try:
        yield Version(snapshot, connection)
    finally:
        connection.close()


def _number(page: Buffer, offset: int) -> int:
    return int(_NUMBER.unpack_from(page, offset)[0])
