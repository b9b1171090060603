"""The history of rows: a feed of changes, the values that a row had, and who changed a row last."""

from graft_sqlite_vfs.history.blame import Blamed, blame
from graft_sqlite_vfs.history.feed import RowChanged, SchemaChanged, changes
from graft_sqlite_vfs.history.row_history import RowVersion, row_history

__all__ = ["Blamed", "RowChanged", "RowVersion", "SchemaChanged", "blame", "changes", "row_history"]
