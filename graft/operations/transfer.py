"""Import and export of whole files, streamed: memory does not grow with their size."""

import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from graft.disk.files import sync_directory, take_name
from graft.errors import BadRequest, local_errors
from graft.operations.hydrate import Progress
from graft.reading.snapshot import Snapshot
from graft.replica.directory import is_replica
from graft.replica.replica import Replica
from graft.settings import Durability

_RUN_BYTES = 4 * 1024 * 1024
_SQLITE_MAGIC = b"SQLite format 3\0"


@dataclass(frozen=True, slots=True)
class TransferResult:
    """How much was transferred."""

    bytes: int
    pages: int


def import_file(
    replica: Replica, path: str | os.PathLike[str], *, replace: bool = False, progress: Progress | None = None
) -> TransferResult:
    """Make a file's bytes the volume's content, as one local commit; progress counts bytes.

    For a file in use by SQLite prefer `graft_sqlite_vfs.import_database`, which reads through SQLite. Here a database
    is refused (`BadRequest`) while its WAL or a hot journal has newer changes.

    Raises `BadRequest` if the volume is not empty, unless ``replace`` is true (the old content stays in the history),
    if it has local commits that are not pushed (they would be in no history), and if the file changes its size
    meanwhile. Raises `LocalStorageError`, `DiskFull`, `WriterBusy`.
    """
    require_no_newer_changes(path)
    return load_file(replica, path, replace=replace, progress=progress)


def load_file(
    replica: Replica, path: str | os.PathLike[str], *, replace: bool = False, progress: Progress | None = None
) -> TransferResult:
    """As `import_file`, for a file that the caller knows to be whole."""
    source = Path(path)
    with local_errors(f"reading {source}"), source.open("rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise BadRequest(f"{source} is not a regular file")
        size = os.fstat(file.fileno()).st_size
        with replica.begin(replica.snapshot()) as transaction:
            require_replaceable(replica.name, transaction.base, replace=replace)
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


def require_no_newer_changes(path: str | os.PathLike[str]) -> None:
    """Refuse a database's bytes while its WAL or journal has newer changes; other files pass.

    Raises `BadRequest` and `LocalStorageError`.
    """
    with local_errors(f"reading {path}"):
        source = Path(path).resolve(strict=True)
        if not source.is_file():
            return
        start = _start_of(source, len(_SQLITE_MAGIC))
        wal, journal = (source.with_name(source.name + end) for end in ("-wal", "-journal"))
        has_wal = wal.exists() and wal.stat().st_size > 0
        is_hot = journal.exists() and _start_of(journal, 1) not in {b"", b"\0"}  # PERSIST leaves a header of zeros
    if start in {b"", _SQLITE_MAGIC} and (is_hot or has_wal):
        raise BadRequest(
            f"{source} is an SQLite database whose newest changes lie beside it, in {wal if has_wal else journal}, so "
            "that its bytes alone are not its content: import it without --raw (with import_database)"
        )


def _start_of(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        return file.read(count)


def require_replaceable(name: str, snapshot: Snapshot, *, replace: bool) -> None:
    """Refuse to replace a volume's content if that would lose something. Raises `BadRequest`."""
    if snapshot.local_commits:
        raise BadRequest(
            f"volume {name} has local commits ({snapshot.local_commits}) that are not pushed, and an import would "
            "replace what they wrote: push them first, or give them up (pull with the policy 'discard')"
        )
    if snapshot.byte_size and not replace:
        raise BadRequest(
            f"volume {name} is not empty (LSN {snapshot.lsn}, {snapshot.byte_size} bytes): to replace its content, "
            "import with --replace (replace=True); the versions before stay in its history"
        )


def export_file(
    snapshot: Snapshot, path: str | os.PathLike[str], *, progress: Progress | None = None, overwrite: bool = False
) -> TransferResult:
    """Write a snapshot's bytes to a file, which appears only when it is whole; progress counts bytes.

    ``overwrite`` replaces a regular file and keeps its mode; links, devices and files of a replica are never replaced.
    Raises `BadRequest` if the file exists, or if the journal or WAL of another database lies beside it, which SQLite
    would apply to the exported one. Raises `DiskFull`, `LocalStorageError`, and the remote's errors.
    """
    target = Path(path)
    mode = _require_free(target, overwrite=overwrite)
    draft = target.with_name(f".graft-export-{secrets.token_hex(8)}.part")
    with local_errors(f"writing {target}"):
        descriptor = os.open(
            draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666 if mode is None else 0o600
        )
    try:
        with local_errors(f"writing {target}"), os.fdopen(descriptor, "wb") as file:
            for first in range(1, snapshot.page_count + 1, _RUN_BYTES // snapshot.page_size):
                last = min(first + _RUN_BYTES // snapshot.page_size - 1, snapshot.page_count)
                snapshot.prefetch(range(first, last + 1))
                file.writelines(snapshot.read(page) for page in range(first, last + 1))
                if progress:
                    progress(min(last * snapshot.page_size, snapshot.byte_size), snapshot.byte_size)
            file.truncate(snapshot.byte_size)
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        _require_free(target, overwrite=overwrite)  # again: writing may have taken long
        with local_errors(f"writing {target}"):
            _name(draft, target, overwrite=overwrite)
            sync_directory(target.parent)
    finally:
        draft.unlink(missing_ok=True)
    return TransferResult(snapshot.byte_size, snapshot.page_count)


def _require_free(target: Path, *, overwrite: bool) -> int | None:
    """Return the permissions of the file that the export replaces, None if there is none."""
    with local_errors(f"writing {target}"):
        inside = next((above for above in target.absolute().resolve().parents if is_replica(above)), None)
        try:
            mode = target.lstat().st_mode
        except FileNotFoundError:
            mode = 0
        beside = [target.with_name(target.name + end) for end in ("-wal", "-journal")]
        left = next((path for path in beside if path.exists() and path.stat().st_size), None)
    if inside is not None:
        raise BadRequest(
            f"{target} is inside the replica {inside}, whose files are graft's: export to another directory"
        )
    if mode and not stat.S_ISREG(mode):
        kind = "a symbolic link" if stat.S_ISLNK(mode) else "not a regular file"
        raise BadRequest(f"{target} exists already and is {kind}, which an export does not replace")
    if mode and not overwrite:
        raise BadRequest(f"{target} exists already")
    if left is not None:
        raise BadRequest(
            f"{left} lies beside {target}: SQLite would apply it to the exported database. Close the connections to "
            "the old database, or move the file away"
        )
    return stat.S_IMODE(mode) if mode else None


def _name(draft: Path, target: Path, *, overwrite: bool) -> None:
    """Rename the draft; without ``overwrite`` this never replaces a file."""
    if overwrite:
        draft.replace(target)
        return
    try:
        take_name(draft, target)
    except FileExistsError:
        raise BadRequest(f"{target} exists already") from None
