"""Volumes in the standard library's `sqlite3`, if it can load extensions and the accelerator was built.

    >>> from graft_sqlite_vfs import stdlib
    >>> stdlib.enable()
    >>> sqlite3.connect("file:app?vfs=graft", uri=True)

Create the volume first (`graft init`, `graft clone`, `graft_sqlite_vfs.connect`), and set
``PRAGMA journal_mode=MEMORY``, which saves a temporary file per transaction. `sqlite3` raises its own exceptions, made
from SQLite's result codes alone; `last_error` returns the underlying error.
"""

import sqlite3

from graft.errors import Unsupported
from graft.sync.merging import set_merger
from graft_sqlite_vfs.last_error import last_error
from graft_sqlite_vfs.readpath import Pure
from graft_sqlite_vfs.registration import READ_PATH
from graft_sqlite_vfs.row_merger import merge_rows

__all__ = ["enable", "last_error"]


def enable() -> None:
    """Register the VFS ``graft`` with the SQLite library that `sqlite3` uses; calling it again is harmless.

    Raises `Unsupported` if there is no accelerator, or if this Python's `sqlite3` cannot load extensions.
    """
    if isinstance(READ_PATH, Pure):
        raise Unsupported(f"the standard library's sqlite3 needs the accelerator, and the read path is {READ_PATH}")
    from graft_sqlite_vfs.accelerator import PATH  # noqa: PLC0415 - the import fails where none was built

    set_merger(merge_rows)
    connection = sqlite3.connect(":memory:")
    try:
        connection.enable_load_extension(True)
        connection.load_extension(str(PATH))
    except AttributeError as error:
        raise Unsupported("this Python's sqlite3 was built without extension loading; use apsw") from error
    except sqlite3.Error as error:
        raise Unsupported(f"sqlite3 cannot load {PATH}: {error}") from error
    finally:
        connection.close()
