"""Volumes in the standard library's `sqlite3`, where that can load extensions and the accelerator was built.

    >>> from graft_sqlite_vfs import stdlib
    >>> stdlib.enable()
    >>> sqlite3.connect("file:app?vfs=graft", uri=True)

Make the volume first (`graft init`, `graft clone`, `graft_sqlite_vfs.connect`), and set ``PRAGMA journal_mode=MEMORY``,
which saves a temporary file per transaction. `sqlite3` raises its own exceptions, from SQLite's result codes alone;
`last_error` tells the rest.
"""

import sqlite3

from graft.errors import Unsupported
from graft_sqlite_vfs.last_error import last_error
from graft_sqlite_vfs.readpath import Pure
from graft_sqlite_vfs.registration import READ_PATH

__all__ = ["enable", "last_error"]


def enable() -> None:
    """Register the VFS ``graft`` with the SQLite library behind `sqlite3`; may be called again.

    Raises `Unsupported` where there is no accelerator, or this Python's `sqlite3` cannot load extensions.
    """
    if isinstance(READ_PATH, Pure):
        raise Unsupported(f"the standard library's sqlite3 needs the accelerator, and the read path is {READ_PATH}")
    from graft_sqlite_vfs.accelerator import PATH  # noqa: PLC0415 - cannot be imported where there is none

    connection = sqlite3.connect(":memory:")
    try:
        connection.enable_load_extension(True)
        connection.load_extension(str(PATH))
    except AttributeError as error:
        raise Unsupported("this Python's sqlite3 was built without loading of extensions; use apsw's") from error
    except sqlite3.Error as error:
        raise Unsupported(f"sqlite3 does not load {PATH}: {error}") from error
    finally:
        connection.close()
