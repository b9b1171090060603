"""Raw volumes: a volume that holds any file, with a seekable binary file object over it.

Pages are fetched when they are read. Writing is one transaction: closing the file makes one local commit of it; if a
``with`` block around the file fails, nothing is committed.
"""

import io
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from graft.errors import BadRequest
from graft.reading.readahead import NumberAdvisor
from graft.reading.snapshot import Snapshot
from graft.replica.replica import Replica
from graft.replica.transaction import WriteTransaction
from graft.settings import Durability
from graft.sync.commit import commit

if TYPE_CHECKING:
    from typing_extensions import Buffer

Mode = Literal["rb", "r+b", "wb"]

_READAHEAD_FRAMES = 64


def open_snapshot(snapshot: Snapshot) -> io.BufferedReader:
    """Return a seekable, read-only binary file over a snapshot."""
    return io.BufferedReader(_SnapshotFile(snapshot), buffer_size=snapshot.page_size)


def open_file(
    replica: Replica, mode: Mode = "rb", *, durability: Durability = Durability.LOCAL
) -> "io.BufferedReader | VolumeFile":
    """Open the volume as a file: ``rb`` reads its newest version, ``r+b`` changes it, ``wb`` replaces it.

    Raises `WriterBusy` if another thread or process is writing.
    """
    if mode == "rb":
        return open_snapshot(replica.snapshot())
    if mode not in {"r+b", "wb"}:
        raise BadRequest(f"no such mode: {mode!r} (there are 'rb', 'r+b' and 'wb')")
    transaction = replica.begin(replica.snapshot())
    if mode == "wb":
        transaction.resize(0)
    return VolumeFile(replica, transaction, durability)


class _PagedFile(io.RawIOBase):
    """Reads bytes from pages, at a position; subclasses define `_size` and `_page`."""

    def __init__(self, page_size: int) -> None:
        self._page_size = page_size
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position, which may lie beyond the end."""
        if whence not in {io.SEEK_SET, io.SEEK_CUR, io.SEEK_END}:
            raise ValueError(f"no such whence: {whence}")
        target = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size()}[whence]
        if target < 0:
            raise ValueError(f"cannot seek to {target}")
        self._position = target
        return target

    def readinto(self, buffer: "Buffer") -> int:
        """Read from the position into ``buffer``; return how many bytes."""
        self._require_open()
        target = memoryview(buffer).cast("B")
        wanted = max(0, min(len(target), self._size() - self._position))
        done = 0
        while done < wanted:
            page, start = divmod(self._position + done, self._page_size)
            part = self._page(page + 1)[start : start + wanted - done]
            target[done : done + len(part)] = part
            done += len(part)
        self._position += done
        return done

    def _size(self) -> int:
        """Return the size in bytes."""
        raise NotImplementedError

    def _page(self, page: int) -> bytes | memoryview:
        """Return a whole page."""
        raise NotImplementedError

    def _require_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")


class _SnapshotFile(_PagedFile):
    """The unbuffered bytes of a snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__(snapshot.page_size)
        self._snapshot = snapshot
        self._advisor = NumberAdvisor(_READAHEAD_FRAMES)

    def _size(self) -> int:
        return self._snapshot.byte_size

    def _page(self, page: int) -> bytes | memoryview:
        return self._snapshot.read(page, self._advisor)


class VolumeFile(_PagedFile):
    """A seekable binary file that reads what was committed or written, and commits once, when it is closed."""

    def __init__(self, replica: Replica, transaction: WriteTransaction, durability: Durability) -> None:
        """Take over the transaction."""
        super().__init__(replica.page_size)
        self._replica = replica
        self._transaction = transaction
        self._durability = durability

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: "Buffer") -> int:
        """Write all of ``data`` at the position; a gap after the old end reads as zeros."""
        self._require_open()
        source = memoryview(data).cast("B")
        end = self._position + len(source)
        size = max(end, self._transaction.byte_size) if len(source) else self._transaction.byte_size
        done = 0
        while done < len(source):
            page, start = divmod(self._position + done, self._page_size)
            part = source[done : done + self._page_size - start]
            self._write_part(page + 1, start, part)
            done += len(part)
        self._transaction.resize(size)
        self._position = end
        return len(source)

    def truncate(self, size: int | None = None) -> int:
        """Set the size in bytes, by default to the position."""
        self._require_open()
        size = self._position if size is None else size
        self._clear_behind(size)
        self._transaction.resize(size)
        return size

    def close(self) -> None:
        """Commit, and release the writer lock."""
        if self.closed:
            return
        try:
            commit(self._replica, self._transaction, self._durability)
        finally:
            self._transaction.close()
            super().close()

    def discard(self) -> None:
        """Close without committing."""
        if not self.closed:
            self._transaction.close()
            super().close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def __del__(self) -> None:
        self.discard()  # a file that was not closed is incomplete

    def _size(self) -> int:
        return self._transaction.byte_size

    def _page(self, page: int) -> bytes | memoryview:
        return self._transaction.read(page)

    def _write_part(self, page: int, start: int, part: memoryview) -> None:
        if len(part) < self._page_size:
            whole = bytearray(self._transaction.read(page))
            whole[start : start + len(part)] = part
            self._transaction.write(page, whole)
        else:
            self._transaction.write(page, part)

    def _clear_behind(self, size: int) -> None:
        """Zero the rest of the page that the new size cuts, so that the file shows zeros there when it grows again."""
        page, used = divmod(size, self._page_size)
        if used and size < self._transaction.byte_size:
            self._write_part(page + 1, used, memoryview(bytes(self._page_size - used)))
