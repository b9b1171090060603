"""The layout of a database for cold reads: interior pages side by side first, then leaves in key order."""

from graft.building.segment_builder import ReadingOrder
from graft.reading.snapshot import Snapshot
from graft_sqlite_vfs.btree.pages import reading_order
from graft_sqlite_vfs.btree.schema import root_pages
from graft_sqlite_vfs.header import is_database


def btree_layout(snapshot: Snapshot) -> ReadingOrder:
    """Return the order in which `graft.building.segment_builder.write_segment` writes a database's pages.

    The order is empty for a raw volume. Reads every interior page and the schema.
    """
    if not snapshot.page_count or not is_database(snapshot.read(1)):
        return ReadingOrder()
    roots = root_pages(snapshot.read, snapshot.page_count)
    return ReadingOrder(*reading_order(snapshot.read, roots, snapshot.page_count, snapshot.prefetch))
