"""Whole files in and out, streamed: memory does not grow with their size."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from graft.errors import BadRequest, local_errors
from graft.operations.hydrate import Progress
from graft.reading.snapshot import Snapshot
from graft.replica.replica import Replica
from graft.settings import Durability

_RUN_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class TransferResult:
    """How much went through."""

    bytes: int
    pages: int


def import_file(replica: Replica, path: str | os.PathLike[str], *, progress: Progress | None = None) -> TransferResult:
    """Make a file's bytes the volume's content, as one local commit; progress counts bytes.

    What the volume held before is replaced (and stays in its history). Raises `LocalStorageError`, `DiskFull`,
    `WriterBusy`, and `BadRequest` when the file changes its size meanwhile.
    """
    source = Path(path)
    with local_errors(f"reading {source}"), source.open("rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise BadRequest(f"{source} is not a regular file")
        size = os.fstat(file.fileno()).st_size
        with replica.begin(replica.snapshot()) as transaction:
            transaction.resize(0)
            done = 0
            while data := file.read(_RUN_BYTES):
                padding = -len(data) % replica.page_size
                if padding and done + len(data) != size:
                    raise BadRequest(f"{source} gave {len(data)} bytes at {done}, which is not a whole number of pages")
                transaction.write_run(done // replica.page_size + 1, data + bytes(padding))
                done += len(data)
                if progress:
                    progress(done, size)
            if done != size:
                raise BadRequest(f"{source} changed from {size} to {done} bytes while it was read")
            transaction.resize(size)
            snapshot = transaction.commit(Durability.LOCAL)
    return TransferResult(size, snapshot.page_count)


def export_file(
    snapshot: Snapshot, path: str | os.PathLike[str], *, progress: Progress | None = None, overwrite: bool = False
) -> TransferResult:
    """Write a snapshot's bytes to a file, which appears only when it is whole; progress counts bytes.

    Raises `BadRequest` when the file exists, `DiskFull`, `LocalStorageError`, and the remote's errors.
    """
    target = Path(path)
    if target.exists() and not overwrite:
        raise BadRequest(f"{target} exists already")
    draft = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with local_errors(f"writing {target}"), draft.open("wb") as file:
            for first in range(1, snapshot.page_count + 1, _RUN_BYTES // snapshot.page_size):
                last = min(first + _RUN_BYTES // snapshot.page_size - 1, snapshot.page_count)
                snapshot.prefetch(range(first, last + 1))
                for page in range(first, last + 1):
                    file.write(snapshot.read(page))
                if progress:
                    progress(min(last * snapshot.page_size, snapshot.byte_size), snapshot.byte_size)
            file.truncate(snapshot.byte_size)
            file.flush()
            os.fsync(file.fileno())
        with local_errors(f"writing {target}"):
            draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    return TransferResult(snapshot.byte_size, snapshot.page_count)
