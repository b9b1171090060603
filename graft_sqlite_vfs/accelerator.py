"""The accelerated read path: a file that hands its snapshot to C, which then answers SQLite without Python.

The VFS in C (native/) and the one in Python (vfs.py) have the same name and open the same replicas. Everything that
decides something is in `VolumeFile`, for both; C only keeps answering what it answered before, as long as that is
true: pages of the snapshot that it was handed, and SHARED locks while nobody has published a newer version.
"""

# ruff: noqa: N802 - the methods have SQLite's names

import os
from pathlib import Path

import apsw

from graft.errors import GraftError
from graft.replica import Replica
from graft.settings import Durability
from graft.snapshot import Snapshot
from graft_sqlite_vfs import _accelerator
from graft_sqlite_vfs.errors import sqlite_error
from graft_sqlite_vfs.file import VolumeFile
from graft_sqlite_vfs.header import Buffer
from graft_sqlite_vfs.lasterror import remember
from graft_sqlite_vfs.readpath import Accelerated
from graft_sqlite_vfs.vfs import NO_WAL, open_volume

_APSW_ENTRY = "sqlite3_graftapsw_init"

PATH = Path(_accelerator.__file__)
"""The shared object, which is an SQLite extension too."""


class AcceleratedFile(VolumeFile):
    """One opened volume, whose snapshot C may read while no write transaction is open on it."""

    __slots__ = ("reader",)

    def __init__(self, replica: Replica, *, fixed: Snapshot | None, durability: Durability, read_path: str) -> None:
        """See `VolumeFile`."""
        self.reader = _accelerator.Reader(None if fixed is not None else replica.shared.words)
        super().__init__(replica, fixed=fixed, durability=durability, read_path=read_path)

    def xLock(self, level: int) -> None:
        """Lock, and hand over what there is to read."""
        super().xLock(level)
        self._hand_over()

    def xUnlock(self, level: int) -> None:
        """Unlock, and hand over what there is to read."""
        try:
            super().xUnlock(level)
        finally:
            self._hand_over()

    def xRead(self, amount: int, offset: int) -> Buffer:
        """Read what C could not, and hand over what that made known."""
        found = super().xRead(amount, offset)
        if self.reader.snapshot is None and self._snapshot is not None and self._transaction is None:
            self._hand_over()
        return found

    def xClose(self) -> None:
        """Close; C reads nothing from here on."""
        self.reader.close()
        super().xClose()

    def _hand_over(self) -> None:
        snapshot = self._snapshot
        if snapshot is None or self._transaction is not None:
            self.reader.withdraw()
            return
        # After a commit that nobody has read from yet, the next transaction may well not read either.
        native = _native(snapshot, self.reader.snapshot) if snapshot.page_map.read else None
        size = snapshot.page_count * snapshot.page_size
        self.reader.publish(native, size, self._generation(snapshot), snapshot.local_lsn, self._probe or None)

    def _generation(self, snapshot: Snapshot) -> int | None:
        """Return the state generation at which this is the newest version; None if it is not, or nobody can tell.

        None also where each transaction has to ask how old that version is.
        """
        if self.max_staleness_s is not None:
            return None
        try:
            view = self._replica.view()
        except GraftError:
            return None  # whoever locks next will be told
        return view.generation if view.snapshot is snapshot else None


def _native(snapshot: Snapshot, previous: _accelerator.NativeSnapshot | None) -> _accelerator.NativeSnapshot:
    known = snapshot.native
    if isinstance(known, _accelerator.NativeSnapshot):
        return known
    page_map = snapshot.page_map
    if page_map.table.observer is None:
        page_map.table.observe(_accelerator.FrameSlots(snapshot.page_size))
    slots = page_map.table.observer
    assert isinstance(slots, _accelerator.FrameSlots), "BUG: another accelerator observes the frames"
    views = snapshot.journal_views
    assert isinstance(views, dict), "BUG: the journal's views are not in a dict"
    snapshot.native = made = _accelerator.NativeSnapshot(slots, snapshot.page_count, page_map.chunks, views, previous)
    return made


def _open(name: str, flags: int, parameters: dict[str, str]) -> VolumeFile:
    if flags & apsw.SQLITE_OPEN_WAL:
        raise sqlite_error(apsw.SQLITE_CANTOPEN, NO_WAL)
    return open_volume(
        name, parameter=parameters.get, make=AcceleratedFile, read_path=str(Accelerated())
    )  # fmt: skip


def install() -> None:
    """Register the VFS with apsw's SQLite; raises `apsw.Error` where apsw cannot load extensions."""
    _accelerator.set_hooks(open_file=_open, full_pathname=os.path.abspath, failed=remember)
    connection = apsw.Connection(":memory:")
    try:
        connection.enable_load_extension(True)
        connection.load_extension(str(PATH), _APSW_ENTRY)
    finally:
        connection.close()
