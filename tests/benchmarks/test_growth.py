"""With ten times as many pushes, a reader's requests grow by no more than the logarithm of the number of pushes.

Scattered pushes of one row, as in `clone_after_pushes`, `pull_after_pushes` and `scan_fragmented`. These are counts:
nothing here depends on a clock.
"""

import math
from contextlib import closing

import pytest

from graft.building import consolidation
from graft.sync.clone import clone, init
from graft.sync.pull import pull
from graft.sync.push import push
from graft_sqlite_vfs.btree.layout import btree_layout
from graft_sqlite_vfs.connection import connect
from graft_sqlite_vfs.importing import import_database
from pagestore.stores.memory import MemoryStore
from pagestore.stores.metered import MeteredStore
from testbed.messages import LOOKUP, SCAN, TOUCH, message_database, random_ids


def touch_and_push(writer, ids):
    with closing(connect(writer.path, durability="relaxed")) as database:
        for wanted in ids:
            database.execute(TOUCH, ("seen", wanted))
            push(writer)


def costs(store, address, behind, path):
    """What a pull by a reader that was away costs now, a clone, and a cold scan by a reader that has read one row."""
    spent = []

    def measured(action):
        before = store.snapshot()
        result = action()
        spent.append(store.snapshot() - before)
        return result

    measured(lambda: pull(behind))
    with measured(lambda: clone(path, address, store=store)) as fresh, closing(connect(path)) as database:
        database.execute(LOOKUP, (1,)).fetchall()

        def scan():
            database.execute(SCAN).fetchall()
            fresh.bodies.wait_for_background()

        measured(scan)
        wasted = fresh.counts.snapshot().wasted_bytes
    return spent, wasted / spent[-1].bytes_down


@pytest.mark.parametrize(
    ("radix", "size", "pushes", "requests_max"),
    [
        pytest.param(4, 1_100_000, 60, 12, id="small"),
        pytest.param(16, 11_000_000, 1000, 50, id="as measured", marks=pytest.mark.long),
    ],
)
def test_ten_times_as_many_pushes(tmp_path, monkeypatch, radix, size, pushes, requests_max):
    monkeypatch.setattr(consolidation, "RADIX", radix)
    store = MeteredStore(MemoryStore(f"growth-{size}"))
    address = f"{store.url}#messages"
    with init(tmp_path / "writer", address, store=store) as writer:
        import_database(writer, message_database(tmp_path, size))
        push(writer, layout=btree_layout)
        behind = [clone(tmp_path / f"behind-{number}", address, store=store) for number in range(2)]
        ids = random_ids(size, 10 * pushes, seed=3)
        touch_and_push(writer, ids[:pushes])
        before, wasted_before = costs(store, address, behind[0], tmp_path / "before")
        touch_and_push(writer, ids[pushes:])
        after, wasted_after = costs(store, address, behind[1], tmp_path / "after")
    for each in behind:
        each.close()
    for (pulled, cloned, _), head in ((before, pushes + 1), (after, 10 * pushes + 1)):
        # The listing, the chain, and the commit after the head, since a listing may be stale.
        assert max(pulled.requests, cloned.requests - 2) <= 2 + math.log2(head)
    scan, later_scan, growth = before[-1], after[-1], math.log(10 * pushes) / math.log(pushes)
    assert scan.requests <= requests_max
    assert later_scan.requests <= growth * scan.requests
    assert later_scan.bytes_down <= growth * scan.bytes_down
    assert max(wasted_before, wasted_after) <= 0.1
