"""A volume as an SQLite database: `connect`, the VFS ``graft`` (``file:path?vfs=graft``) and its pragmas."""

from graft_sqlite_vfs.btree.layout import btree_layout
from graft_sqlite_vfs.connection import connect
from graft_sqlite_vfs.importing import database_page_size, import_database
from graft_sqlite_vfs.row_changes import diff_rows, open_diff
from graft_sqlite_vfs.vfs import VFS, GraftVFS

__all__ = [
    "VFS",
    "GraftVFS",
    "btree_layout",
    "connect",
    "database_page_size",
    "diff_rows",
    "import_database",
    "open_diff",
]
