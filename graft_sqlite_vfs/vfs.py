"""The SQLite VFS ``graft``: routes each of SQLite's files.

    flag of xOpen                                opened as
    MAIN_DB                                      a `VolumeFile`; the path is a replica directory
    MAIN_JOURNAL                                 a nameless temporary file (only an attached database has one)
    SUPER_JOURNAL                                the default VFS, under the name that SQLite wrote into other journals
    TEMP_DB, TRANSIENT_DB, TEMP_JOURNAL,         the default VFS, which creates them in the temporary directory
    SUBJOURNAL, sorter files
    WAL                                          refused

A volume needs no rollback journal on disk, because it never contains uncommitted pages. So there is never a hot
journal: for every name that a volume's journal or WAL would have, `xAccess` returns false and `xDelete` does nothing.

URI parameters: ``at`` (an LSN or an ISO 8601 time; read-only), ``durability`` (``local``, ``relaxed``, ``remote``), and
the read bounds (graft_sqlite_vfs/read_bounds.py).
"""

# ruff: noqa: N802 - the methods have SQLite's names

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import apsw

from graft.errors import BadRequest, NotAReplica, WriterBusy
from graft.reading.snapshot import Snapshot
from graft.replica.opening import open_replica
from graft.replica.replica import Replica
from graft.settings import Durability
from graft.sync.staleness import wait_for
from graft.sync.time_travel import snapshot_at
from graft.sync.versions import resolve
from graft_sqlite_vfs.errors import FAILURES, as_sqlite, named, sqlite_error
from graft_sqlite_vfs.file import VolumeFile
from graft_sqlite_vfs.pinned import PARAMETER, snapshot_named
from graft_sqlite_vfs.read_bounds import parse_read_bounds

NAME = "graft"
NO_WAL = "a volume has no write-ahead log: use journal_mode=MEMORY"

_PATH_BYTES_MAX = 4096
_VOLUME_SIDE_FILES = ("-journal", "-wal")
_SCRATCH_FLAGS = (
    apsw.SQLITE_OPEN_READWRITE
    | apsw.SQLITE_OPEN_CREATE
    | apsw.SQLITE_OPEN_EXCLUSIVE
    | apsw.SQLITE_OPEN_DELETEONCLOSE
    | apsw.SQLITE_OPEN_TEMP_JOURNAL
)


class ScratchFile(apsw.VFSFile):
    """A nameless temporary file, deleted when it is closed."""

    def __init__(self) -> None:
        """Create the file in the temporary directory."""
        super().__init__("", None, [_SCRATCH_FLAGS, 0])

    def xSync(self, flags: int) -> None:
        """Do nothing: the file is not needed after a crash."""


class GraftVFS(apsw.VFS):
    """Routes SQLite's files; one object for the whole process, see `VFS`."""

    def __init__(self, name: str = NAME) -> None:
        """Register the VFS under ``name``."""
        super().__init__(name, base="", maxpathname=_PATH_BYTES_MAX)
        self.read_path = "pure"
        """The read path that opened files report."""

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        """Open one of SQLite's files."""
        kind = flags[0]
        if kind & apsw.SQLITE_OPEN_MAIN_DB:
            assert isinstance(name, apsw.URIFilename), "BUG: a main database without a name"
            file = open_volume(
                name.filename(), parameter=name.uri_parameter, make=VolumeFile, read_path=self.read_path
            )  # fmt: skip
            flags[1] = kind
            return file  # type: ignore[return-value]  # apsw takes any object with the methods
        if kind & apsw.SQLITE_OPEN_WAL:
            raise sqlite_error(apsw.SQLITE_CANTOPEN, NO_WAL)
        if kind & apsw.SQLITE_OPEN_MAIN_JOURNAL:
            flags[1] = _SCRATCH_FLAGS
            return ScratchFile()
        return apsw.VFSFile("", name, flags)

    def xAccess(self, pathname: str, flags: int) -> bool:
        """Return whether a file exists; journals and WALs never do."""
        return not pathname.endswith(_VOLUME_SIDE_FILES) and super().xAccess(pathname, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        """Delete a super-journal; a volume's journals have no name, so there is nothing to delete."""
        if not filename.endswith(_VOLUME_SIDE_FILES):
            super().xDelete(filename, syncdir)

    def xFullPathname(self, name: str) -> str:
        """Return the absolute path."""
        return os.path.abspath(name)  # noqa: PTH100 - resolving links is left to open_replica

    def xSleep(self, microseconds: int) -> int:
        """Sleep, for busy handlers, and let other Python threads run, such as the writer."""
        time.sleep(microseconds / 1_000_000)
        return microseconds


class FileType(Protocol):
    """Creates the file of a volume: `VolumeFile` or a subclass."""

    def __call__(
        self, replica: Replica, *, fixed: Snapshot | None, durability: Durability, read_path: str
    ) -> VolumeFile:
        """Take over one reference to the replica."""
        ...


def open_volume(path: str, *, parameter: Callable[[str], str | None], make: FileType, read_path: str) -> VolumeFile:
    """Open a replica as SQLite's main database; ``parameter`` returns URI parameters. Raises apsw's exceptions."""
    try:
        return _opened(path, parameter, make, read_path)
    except WriterBusy as error:
        raise as_sqlite(error) from error
    except NotAReplica as error:
        raise sqlite_error(apsw.SQLITE_CANTOPEN, _not_a_replica(path)) from error
    except FAILURES as error:
        raise as_sqlite(error, apsw.SQLITE_CANTOPEN) from named(error)


def _opened(path: str, parameter: Callable[[str], str | None], make: FileType, read_path: str) -> VolumeFile:
    level, bounds, at = _durability(parameter("durability")), parse_read_bounds(parameter), parameter("at")
    pin = parameter(PARAMETER)
    _require_locks(parameter, is_fixed=bool(at or pin))
    replica = open_replica(path)
    try:
        if bounds.min_lsn is not None:
            wait_for(replica, bounds.min_lsn, timeout_s=bounds.wait_s)
        version = resolve(replica, at) if at else None
        fixed = snapshot_at(replica, version) if version else snapshot_named(pin) if pin else None
        file = make(replica, fixed=fixed, durability=level, read_path=read_path)
    except BaseException:
        replica.close()
        raise
    file.max_staleness_s, file.version = bounds.max_staleness_s, version
    return file


def _require_locks(parameter: Callable[[str], str | None], *, is_fixed: bool) -> None:
    """Refuse URI parameters that make SQLite work without locks: each page would come from the newest version.

    ``immutable`` is allowed for an old version: it only keeps SQLite from trying to write.
    """
    for name in ("nolock",) if is_fixed else ("immutable", "nolock"):
        value = (parameter(name) or "").lower()
        if _is_on(value):
            raise BadRequest(
                f"{name}={value} cannot be used with a volume: without locks SQLite would mix pages of several "
                "versions. To read one version that never changes, open it with `at`, as in "
                "file:app.graft?vfs=graft&at=12"
            )


def _is_on(value: str) -> bool:
    """Return whether SQLite may read a URI parameter's value as true: any number but 0, also ``1x`` and ``0x1``."""
    return value in {"on", "yes", "true"} or ("0" <= value[:1] <= "9" and value.strip("0") != "")


def _not_a_replica(path: str) -> str:
    return (
        f"{path} is not a replica of a volume. For a plain SQLite file, name the VFS, as in "
        f"ATTACH 'file:{Path(path).name}?vfs=unix' AS plain (or VACUUM INTO 'file:…?vfs=unix'); for a new "
        "replica, use graft_sqlite_vfs.connect(path, remote=…), `graft init` or `graft clone`"
    )


def _durability(text: str | None) -> Durability:
    try:
        return Durability(text or Durability.LOCAL)
    except ValueError:
        levels: Sequence[str] = [level.value for level in Durability]
        raise BadRequest(f"unknown durability {text!r}: use {', '.join(levels)}") from None


VFS = GraftVFS()
"""The registered VFS. It stays registered as long as this module is loaded; see graft_sqlite_vfs/registration.py."""
