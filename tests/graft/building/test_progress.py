"""Progress is told in bytes, while the work goes on, and ends with all of it."""

import pytest

from graft.operations.hydrate import hydrate
from graft.sync.clone import clone, init
from graft.sync.push import push
from tests.graft.support import commit, fresh_store, small_settings

PAGES = 200


def told(seen):
    return lambda done, total: seen.append((done, total))


@pytest.fixture
def volume(tmp_path):
    store = fresh_store()
    settings = small_settings(frame_bytes=512, inline_bytes_max=0)
    replica = init(tmp_path / "a", f"{store.url}#vol", store=store, page_size=512, settings=settings)
    yield replica, store, tmp_path
    replica.close()


def test_a_push_counts_the_bytes_of_its_pages(volume):
    replica, _, _ = volume
    commit(replica, list(range(1, PAGES + 1)), "all")
    seen = []
    push(replica, progress=told(seen))
    assert seen == sorted(seen)
    assert {total for _, total in seen} == {PAGES * replica.page_size}
    assert len({done for done, _ in seen}) > 10
    assert seen[-1] == (PAGES * replica.page_size,) * 2


def test_a_small_push_counts_too(volume):
    replica, _, _ = volume
    commit(replica, [1], "one")
    seen = []
    push(replica, progress=told(seen))
    assert seen[-1] == (replica.page_size, replica.page_size)
    nothing = []
    push(replica, progress=told(nothing))
    assert nothing == []


def test_a_hydrate_counts_the_bytes_that_it_fetches(volume):
    replica, store, tmp_path = volume
    commit(replica, list(range(1, PAGES + 1)), "all")
    push(replica)
    reader = clone(tmp_path / "b", f"{store.url}#vol", store=store, settings=small_settings(cache_bytes_max=1 << 20))
    seen = []
    hydrate(reader, progress=told(seen))
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1] == sum(
        reader.table.key(number).length for number in range(len(reader.table.bodies))
    )  # fmt: skip
    again = []
    hydrate(reader, progress=told(again))
    assert again == [(0, 0)]
    reader.close()
