"""Three-way merge of rows."""

from graft_sqlite_vfs.merge.conflicts import Conflict, Take
from graft_sqlite_vfs.merge.merge import merge
from graft_sqlite_vfs.merge.result import MergeResult
from graft_sqlite_vfs.merge.versions import Applied, cherry_pick, merge_version, revert

__all__ = ["Applied", "Conflict", "MergeResult", "Take", "cherry_pick", "merge", "merge_version", "revert"]
