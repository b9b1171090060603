"""The layout of a bulk load for cold reads: the way down to every row side by side, then leaves in key order."""

from collections.abc import Iterable

from graft.snapshot import Snapshot
from graft_sqlite_vfs.btree import read_order
from graft_sqlite_vfs.header import is_database
from graft_sqlite_vfs.schema import root_pages


def btree_layout(snapshot: Snapshot) -> Iterable[int]:
    """Return a database's pages in the order in which `graft.outgoing.prepare` should write them.

    Nothing for a raw volume. Reads every interior page and the schema.
    """
    if not snapshot.page_count or not is_database(snapshot.read(1)):
        return ()
    roots = root_pages(snapshot.read, snapshot.page_count)
    return read_order(snapshot.read, roots, snapshot.page_count)
