"""The layout of a database for cold reads: the way down to every row side by side, then leaves in key order."""

from graft.segment_out import ReadingOrder
from graft.snapshot import Snapshot
from graft_sqlite_vfs.btree import reading_order
from graft_sqlite_vfs.header import is_database
from graft_sqlite_vfs.schema import root_pages


def btree_layout(snapshot: Snapshot) -> ReadingOrder:
    """Return the order in which `graft.segment_out.write_segment` should write a database's pages.

    Empty for a raw volume. Reads every interior page and the schema.
    """
    if not snapshot.page_count or not is_database(snapshot.read(1)):
        return ReadingOrder()
    roots = root_pages(snapshot.read, snapshot.page_count)
    return ReadingOrder(*reading_order(snapshot.read, roots, snapshot.page_count, snapshot.prefetch))
