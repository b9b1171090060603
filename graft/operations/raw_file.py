"""Raw volumes: a volume that holds any file, with a seekable binary file object over it.

Reading is lazy, as everywhere. Writing is one transaction: what was written becomes one local commit when the file is
closed, or nothing if a ``with`` block around it fails.
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

    Raises `WriterBusy` when somebody else is writing.
    """
    if mode == "rb":
        return open_snapshot(replica.snapshot())
    if mode not in {"r+b", "wb"}:
        raise BadRequest(f"no such mode: {mode!r} (there are 'rb', 'r+b' and 'wb')")
    transaction = replica.begin(replica.snapshot())
    if mode == "wb":
        transaction.resize(0)
    return VolumeFile(replica, transaction, durability)


class _SnapshotFile(io.RawIOBase):
    """The unbuffered bytes of a snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._advisor = NumberAdvisor(_READAHEAD_FRAMES)
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = _sought(self._position, self._snapshot.byte_size, offset, whence)
        return self._position

    def readinto(self, buffer: "Buffer") -> int:
        target, size = memoryview(buffer).cast("B"), self._snapshot.page_size
        wanted = max(0, min(len(target), self._snapshot.byte_size - self._position))
        done = 0
        while done < wanted:
            page, start = divmod(self._position + done, size)
            part = self._snapshot.read(page + 1, self._advisor)[start : start + wanted - done]
            target[done : done + len(part)] = part
            done += len(part)
        self._position += done
        return done


class VolumeFile(io.RawIOBase):
    """A seekable binary file whose writing becomes one local commit when it is closed."""

    def __init__(self, replica: Replica, transaction: WriteTransaction, durability: Durability) -> None:
        """Take over the transaction."""
        self._replica = replica
        self._transaction = transaction
        self._page_size = replica.page_size
        self._durability = durability
        self._position = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def writable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position, which may lie beyond the end."""
        self._position = _sought(self._position, self._transaction.byte_size, offset, whence)
        return self._position

    def readinto(self, buffer: "Buffer") -> int:
        """Read what was committed or written."""
        self._require_open()
        target = memoryview(buffer).cast("B")
        wanted = max(0, min(len(target), self._transaction.byte_size - self._position))
        done = 0
        while done < wanted:
            page, start = divmod(self._position + done, self._page_size)
            part = self._transaction.read(page + 1)[start : start + wanted - done]
            target[done : done + len(part)] = part
            done += len(part)
        self._position += done
        return done

    def write(self, data: "Buffer") -> int:
        """Write all of ``data`` at the position; a gap behind the old end reads as zeros."""
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
        """Commit, and let others write."""
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
        self.discard()  # a file that nobody closed was not finished

    def _require_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")

    def _write_part(self, page: int, start: int, part: memoryview) -> None:
        if len(part) < self._page_size:
            whole = bytearray(self._transaction.read(page))
            whole[start : start + len(part)] = part
            self._transaction.write(page, whole)
        else:
            self._transaction.write(page, part)

    def _clear_behind(self, size: int) -> None:
        """Zero the rest of the page that a cut goes through, so that growing again shows zeros."""
        page, used = divmod(size, self._page_size)
        if used and size < self._transaction.byte_size:
            self._write_part(page + 1, used, memoryview(bytes(self._page_size - used)))


def _sought(position: int, size: int, offset: int, whence: int) -> int:
    if whence not in {io.SEEK_SET, io.SEEK_CUR, io.SEEK_END}:
        raise ValueError(f"no such whence: {whence}")
    target = offset + {io.SEEK_SET: 0, io.SEEK_CUR: position, io.SEEK_END: size}[whence]
    if target < 0:
        raise ValueError(f"cannot seek to {target}")
    return target
