"""A difference in a replica that has nothing yet: requests and bytes follow the change."""

import graft
from graft.sync.clone import clone
from graft_sqlite_vfs import connect, open_diff
from graft_sqlite_vfs.btree.layout import btree_layout
from pagestore.stores.metered import MeteredStore
from pagestore.urls import open_store


def test_one_changed_row_of_a_large_table(tmp_path):
    remote = f"{tmp_path}/store"
    connection = connect(tmp_path / "a", remote=f"{remote}#a")
    connection.execute("CREATE TABLE big(id INTEGER PRIMARY KEY, filling); CREATE TABLE small(k TEXT PRIMARY KEY, v)")
    connection.execute("""
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
        INSERT INTO big SELECT i, randomblob(350) FROM n
    """)
    with graft.open_replica(tmp_path / "a") as replica:
        graft.push(replica, layout=btree_layout)
    connection.execute("UPDATE big SET filling = randomblob(350) WHERE id = 30000")
    connection.pragma("graft_push")
    connection.close()
    store = MeteredStore(open_store(remote))
    with clone(tmp_path / "b", f"{remote}#a", store=store):
        before = store.snapshot()
        with open_diff(tmp_path / "b", 1, 2) as difference:
            assert [(row.kind, row.key) for row in difference.rows()] == [("update", (30000,))]
        moved = store.snapshot() - before
    assert moved.requests <= 5
    assert moved.bytes_down <= 150_000, "of a database of 22 MB"
    store.close()
