"""The row difference of two versions of a database."""

from graft_sqlite_vfs.diff.difference import Difference, SchemaChange, compare
from graft_sqlite_vfs.diff.rows import RowChange

__all__ = ["Difference", "RowChange", "SchemaChange", "compare"]
