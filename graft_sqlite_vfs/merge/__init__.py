"""Three-way merge of rows."""

from graft_sqlite_vfs.merge.conflicts import Conflict, Take
from graft_sqlite_vfs.merge.merge import merge
from graft_sqlite_vfs.merge.result import MergeResult

__all__ = ["Conflict", "MergeResult", "Take", "merge"]
