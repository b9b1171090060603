"""Registers the VFS ``graft`` with apsw's SQLite, once, on import: the accelerated one if it was built, else the pure.

The Python VFS (vfs.py) is registered first and the C one after it under the same name; SQLite uses the newest.
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
        from graft_sqlite_vfs import accelerator  # noqa: PLC0415 - the import fails where none was built

        try:
            accelerator.install()
        except apsw.Error as error:
            found = Pure(f"apsw cannot load the accelerator: {error}")
    if isinstance(found, Pure):
        VFS.read_path = str(found)
    return found


READ_PATH = _registered()
"""The read path of volumes opened in this process."""


_used: list[GraftVFS] = []
"""Keeps VFS objects alive: connections may outlive `pure_read_path`, and SQLite stores only the VFS's address."""


@contextmanager
def pure_read_path() -> Iterator[None]:
    """Use the pure read path for every connection that any thread opens in this block, to compare or to debug."""
    vfs = GraftVFS()
    vfs.read_path = "pure (asked for)"
    _used.append(vfs)
    try:
        yield
    finally:
        vfs.unregister()
