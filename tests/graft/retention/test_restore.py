"""Restoring an older version: a commit that lists places."""

import random

import pytest

from graft.errors import BadRequest, Diverged, NoSuchVersion
from graft.operations.compact import compact
from graft.operations.log import log_entries
from graft.operations.verify import verify
from graft.remote.carried import CARRIED, decode_carried
from graft.retention.collect import collect_in
from graft.retention.policy import Retention
from graft.retention.restore import restore
from graft.sync.fork import fork
from graft.sync.pull import pull
from graft.sync.push import push
from graft.sync.tags import tag
from graft.sync.time_travel import snapshot_at
from tests.graft.support import as_other_process, commit
from tests.graft.sync.test_branches import MAIN, Family, content, written


@pytest.fixture
def family(tmp_path):
    made = Family(tmp_path)
    yield made
    for replica in made.open:
        replica.close()


def test_no_body_moves(family):
    """Five requests: the version is pinned and found to remain, the commit appended, and the pin released."""
    before = {found.key for found in family.store.list("segments/")}
    spent = family.spent(lambda: restore(family.main, 2))
    assert {found.key for found in family.store.list("segments/")} == before
    assert spent.conditional_puts == 1
    assert spent.requests <= 6
    assert spent.bytes_up < 2 * 512
    assert content(family.main.snapshot()) == written(*MAIN[:2])
    newest = next(log_entries(family.main))
    assert (newest.lsn, newest.message) == (5, "restore LSN 2")


def test_everybody_sees_it(family):
    tag(family.main, "v1", 3)
    reader, cold = family.clone("vol", "reader"), None
    other = as_other_process(family.main.path, family.store)
    try:
        other.snapshot()
        done = restore(family.main, "v1")
        assert (done.restored, done.before, done.after) == (3, 4, 5)
        assert content(other.snapshot()) == written(*MAIN[:3])
        commit(other, [1], "after")
        push(other)
    finally:
        other.close_now()
    pull(reader)
    cold = family.clone("vol", "cold")
    for replica in (family.main, reader, cold):
        assert content(replica.snapshot()) == written("after", *MAIN[1:3])
        assert verify(replica).problems == ()
    assert content(snapshot_at(cold, 5)) == written(*MAIN[:3])
    assert content(snapshot_at(cold, 4)) == written(*MAIN)


def test_a_version_of_another_branch(family):
    fork(family.main, "b", at=2)
    branch = family.clone("b")
    family.push(branch, 1, "branch 3")
    family.push(branch, 7, "branch 4")
    restore(family.main, "b")
    assert content(family.main.snapshot()) == content(branch.snapshot())
    restore(branch, "vol@4")
    assert content(branch.snapshot()) == written(*MAIN)
    assert verify(family.clone("vol", "cold")).problems == ()


def test_what_is_there_already(family):
    assert restore(family.main, 4).after == 4
    assert restore(family.main, 2).after == 5
    assert restore(family.main, 2).after == 5


def test_what_is_refused(family):
    for at in (9, "nothing", 0):
        with pytest.raises(NoSuchVersion):
            restore(family.main, at)
    other = family.clone("vol", "other")
    family.push(other, 1, "other")
    with pytest.raises(Diverged, match="nothing was restored"):
        restore(family.main, 2)
    assert content(family.main.snapshot()) == written(*MAIN)
    pull(family.main)
    commit(family.main, [1], "local")
    with pytest.raises(BadRequest, match="push them first"):
        restore(family.main, 2)
    assert [found.key for found in family.store.list("pins/")] == []


@pytest.mark.parametrize("seed", range(6))
def test_random_histories(tmp_path, seed):
    """Growth, cuts, holes, compactions and restores, read warm, by a lagging reader, and cold."""
    family, chance = Family(tmp_path), random.Random(seed)
    try:
        main, reader = family.main, family.clone("vol", "reader")
        known = {lsn: content(snapshot_at(main, lsn)) for lsn in range(1, 5)}
        for number in range(40):
            do = chance.random()
            if do < 0.35:
                restore(main, chance.choice(sorted(known)))
            elif do < 0.4:
                compact(main)
            else:
                pages = chance.sample(range(1, 24), chance.randint(1, 4))
                if chance.random() < 0.4:
                    commit(main, pages, number, page_count=chance.randint(0, 20))
                else:
                    commit(main, pages, number)
                push(main)
            lsn = main.snapshot().lsn
            known.setdefault(lsn, content(main.snapshot()))
            assert content(snapshot_at(main, lsn)) == known[lsn]
            if chance.random() < 0.2:
                pull(reader)
                assert content(reader.snapshot()) == known[lsn]
        cold = family.clone("vol", "cold")
        for lsn, shown in known.items():
            assert content(snapshot_at(cold, lsn)) == shown
        assert verify(cold).problems == ()
        collect_in(main.remote, Retention(keep_last=3, keep_for_s=None, grace_s=0.0))
        assert verify(family.clone("vol", "after")).problems == ()
        assert content(family.clone("vol", "later").snapshot()) == known[max(known)]
    finally:
        for replica in family.open:
            replica.close()


def test_a_restored_page_counts_as_changed_since_the_restore(family):
    """A push that consolidates carries it with the LSN of the restore: a reader in between has another body."""
    for number in range(5, 9):
        family.push(family.main, 1, f"main {number}")
    reader = family.clone("vol", "reader")
    assert content(reader.snapshot())[1] == written("main 8")[1]
    restore(family.main, 6)
    for number in range(10, 17):
        family.push(family.main, 2, f"main {number}")
    index = family.main.view().state.chain[0]
    assert CARRIED in index.commit.attributes
    carried = decode_carried(index.commit)
    assert dict(zip(carried.pages.tolist(), carried.since.tolist(), strict=True))[1] == 9
    pull(reader)
    assert content(reader.snapshot()) == content(family.main.snapshot())
    assert content(reader.snapshot())[1] == written("main 6")[1]
