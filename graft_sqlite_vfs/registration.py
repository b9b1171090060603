"""Registers the VFS ``graft`` with apsw's SQLite, once, on import: by the accelerated read path, else the pure one.

The VFS in Python is registered first (vfs.py), the one in C over it, under the same name: SQLite finds the newest.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import apsw

from graft_sqlite_vfs import readpath
from graft_sqlite_vfs.readpath import Accelerated, Pure, ReadPath
from graft_sqlite_vfs.vfs import NAME, VFS, GraftVFS

__all__ = ["NAME", "READ_PATH", "pure_read_path"]


def _registered() -> ReadPath:
    found = readpath.available()
    if isinstance(found, Accelerated):
        from graft_sqlite_vfs import accelerator  # noqa: PLC0415 - cannot be imported where there is none

        try:
            accelerator.install()
        except apsw.Error as error:
            found = Pure(f"apsw does not load the accelerator: {error}")
    if isinstance(found, Pure):
        VFS.read_path = str(found)
    return found


READ_PATH = _registered()
"""How volumes that are opened in this process are read."""


_used: list[GraftVFS] = []
"""Connections may outlive what registered the VFS that they were opened with, and SQLite keeps only its address."""


@contextmanager
def pure_read_path() -> Iterator[None]:
    """Let what is opened meanwhile, by any thread, be read the pure way: to compare, or to narrow a problem down."""
    vfs = GraftVFS()
    vfs.read_path = "pure (asked for)"
    _used.append(vfs)
    try:
        yield
    finally:
        vfs.unregister()
