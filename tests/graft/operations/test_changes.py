"""What changed between two versions, against a comparison of their contents."""

import random

import pytest

from graft.operations.changes import moved_pages, pages_written_since
from graft.sync.move import published
from graft.sync.push import push
from graft.sync.time_travel import snapshot_at
from metastore.lsn import LSN
from tests.graft.support import begin, body, commit, fresh_store, leave, new_replica


@pytest.fixture
def replica(tmp_path):
    made = new_replica(tmp_path / "a", fresh_store())
    yield made
    leave(made)


def differing(before, after):
    """The pages of ``after`` whose content is not what ``before`` had there, or that it did not have."""
    return {
        page
        for page in range(1, after.page_count + 1)
        if page > before.page_count or before.read(page) != after.read(page)
    }


def test_published_leaves_local_commits_out(replica):
    commit(replica, [1, 2], "pushed")
    push(replica)
    commit(replica, [2, 3], "local")
    snapshot = published(replica)
    assert (snapshot.lsn, snapshot.page_count, snapshot.local_commits) == (1, 2, 0)
    assert bytes(snapshot.read(2)) == body(512, 2, "pushed")


def test_a_volume_without_commits_has_nothing(replica):
    snapshot = published(replica)
    assert (snapshot.lsn, snapshot.page_count) == (0, 0)
    assert not len(moved_pages(snapshot.page_map, snapshot.page_map))


@pytest.mark.parametrize("seed", range(5))
def test_both_ways_find_every_page_that_differs(replica, seed):
    chosen, versions = random.Random(seed), [published(replica)]
    for number in range(12):
        with begin(replica) as transaction:
            if chosen.random() < 0.3 and versions[-1].page_count > 3:
                transaction.truncate(chosen.randrange(1, versions[-1].page_count))
            size = chosen.randrange(4, 5000)
            for page in {1, *(chosen.randrange(1, size) for _ in range(chosen.randrange(1, 4)))}:
                transaction.write(page, body(512, page, f"{number}"))
            transaction.commit()
        push(replica)
        versions.append(published(replica))
        moved = set(moved_pages(versions[-2].page_map, versions[-1].page_map).tolist())
        assert moved >= differing(versions[-2], versions[-1])
        assert max(moved) <= versions[-1].page_count
    head = versions[-1]
    for lsn, before in enumerate(versions[1:-1], 1):
        written = pages_written_since(replica, lsn, LSN(head.lsn)).tolist()
        assert written == sorted(set(written))
        assert set(written) >= differing(before, head)
        assert max(written) <= head.page_count


def test_a_page_that_was_changed_and_changed_back_counts_as_written(replica):
    commit(replica, [1, 2, 3], "old")
    push(replica)
    commit(replica, [2], "new")
    push(replica)
    commit(replica, [2], "old")
    push(replica)
    assert 2 in pages_written_since(replica, 1, LSN(3))
    assert 2 in moved_pages(snapshot_at(replica, 1).page_map, published(replica).page_map)


def test_pages_that_were_cut_off_and_grown_back_without_a_body_count(replica):
    commit(replica, [1, 2, 3, 4], "old")
    push(replica)
    before = published(replica)
    with begin(replica) as transaction:
        transaction.truncate(2)
        transaction.truncate(4)
        transaction.commit()
    push(replica)
    after = published(replica)
    assert differing(before, after) == {3, 4}
    assert {3, 4} <= set(moved_pages(before.page_map, after.page_map).tolist())
    assert {3, 4} <= set(pages_written_since(replica, 1, LSN(2)).tolist())
