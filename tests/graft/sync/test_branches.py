"""Branches: forks that go on where their parent was, and the versions that can be reached from them."""

from datetime import UTC, datetime

import pytest

from graft.errors import BadRequest, HistoryLost, NoSuchVersion, VolumeExists
from graft.operations.compact import compact
from graft.operations.log import log_entries
from graft.operations.verify import verify
from graft.sync.clone import clone
from graft.sync.fork import fork
from graft.sync.history import in_doubt, require_safe_endpoint
from graft.sync.pull import fetch, pull
from graft.sync.push import push
from graft.sync.set_remote import set_remote
from graft.sync.time_travel import snapshot_at
from graft.sync.versions import resolve
from metastore.volumes import delete_volume, list_volumes, read_volume
from pagestore.stores.metered import MeteredStore, StoreTraffic
from tests.graft.support import as_other_process, body, commit, fresh_store, new_replica, small_settings


class Family:
    """A volume ``vol`` with four commits, page n written by commit n, and whatever is made of it."""

    def __init__(self, path):
        self.path = path
        self.store = MeteredStore(fresh_store())
        self.main = new_replica(path / "vol", self.store)
        self.open = [self.main]
        for page in range(1, 5):
            self.push(self.main, page, f"main {page}")

    def push(self, replica, page, tag):
        commit(replica, [page], tag)
        return push(replica).after

    def clone(self, name, directory=None):
        replica = clone(
            self.path / (directory or name), f"{self.store.url}#{name}", settings=small_settings(), store=self.store
        )
        self.open.append(replica)
        return replica

    def spent(self, do):
        before = self.store.snapshot()
        do()
        return self.store.snapshot() - before


@pytest.fixture
def family(tmp_path):
    made = Family(tmp_path)
    yield made
    for replica in made.open:
        replica.close()


def content(snapshot):
    return {page: bytes(snapshot.read(page)) for page in range(1, snapshot.page_count + 1)}


def written(*tags):
    return {page: body(512, page, tag) for page, tag in enumerate(tags, 1)}


MAIN = [f"main {page}" for page in range(1, 5)]


def test_a_branch_is_made_by_one_write(family):
    """And by one look whether a collector gave its version up meanwhile."""
    spent = family.spent(lambda: fork(family.main, "b"))
    assert spent == StoreTraffic(conditional_puts=1, lists=1, bytes_up=len(family.store.get("volumes/b")))
    record = read_volume(family.store, "b")
    assert (record.parent.volume, record.parent.log, record.parent.lsn) == (family.main.volume, family.main.log, 4)


def test_so_is_one_of_a_replica_that_was_just_cloned(family):
    other = family.clone("vol", "other")
    require_safe_endpoint(other)  # once for each replica
    assert family.spent(lambda: fork(other, "b")).requests == 2


def test_where_the_remote_was_not_seen_lately_it_is_asked(family):
    """Whether it has the version, and, once the name is there, whether a collector gave it up meanwhile."""
    in_doubt(family.main)
    spent = family.spent(lambda: fork(family.main, "b"))
    assert (spent.range_gets, spent.conditional_puts, spent.lists, spent.requests) == (1, 1, 1, 3)


def test_a_branch_shows_its_parents_version(family):
    assert fork(family.main, "b").lsn == 4
    branch = family.clone("b")
    assert content(branch.snapshot()) == written(*MAIN)
    assert branch.snapshot().lsn == 4
    assert pull(branch).after == fetch(branch).head == 4
    assert verify(branch).problems == ()


def test_pushing_to_a_branch_changes_only_that(family):
    fork(family.main, "b")
    branch = family.clone("b")
    require_safe_endpoint(branch)
    assert family.spent(lambda: family.push(branch, 1, "branch 5")).requests == 1
    assert branch.snapshot().lsn == 5
    family.push(branch, 5, "branch 6")
    family.push(family.main, 2, "main 5")
    pull(family.main)
    assert content(family.main.snapshot()) == written("main 1", "main 5", "main 3", "main 4")
    other = family.clone("b", "other")
    assert content(other.snapshot()) == written("branch 5", "main 2", "main 3", "main 4", "branch 6")
    assert content(branch.snapshot()) == content(other.snapshot())
    assert verify(other).problems == ()


def test_a_reader_of_an_unstarted_branch_pulls_its_first_commits(family):
    fork(family.main, "b")
    branch, reader, late = family.clone("b"), family.clone("b", "reader"), family.clone("b", "late")
    family.push(branch, 1, "branch 5")
    assert (pull(reader).before, reader.snapshot().lsn) == (4, 5)
    for number in range(6, 40):
        family.push(branch, 1 + number % 5, f"branch {number}")
    for replica in (reader, late):
        assert pull(replica).after == 39
        assert content(replica.snapshot()) == content(branch.snapshot())


def test_another_process_opens_a_branch_that_was_not_pushed_to(family):
    fork(family.main, "b")
    branch = family.clone("b")
    commit(branch, [1], "local")
    other = as_other_process(branch.path, family.store)
    try:
        assert content(other.snapshot()) == written("local", *MAIN[1:])
        assert push(other).after == 5
    finally:
        other.close_now()
    assert branch.snapshot().lsn == 5


def test_every_version_before_the_fork_can_be_reached_from_the_branch(family):
    fork(family.main, "b", at=3)
    branch = family.clone("b")
    family.push(branch, 1, "branch 4")
    for lsn in range(4):
        assert content(snapshot_at(branch, lsn)) == written(*MAIN[:lsn])
    assert content(snapshot_at(branch, 4)) == written("branch 4", "main 2", "main 3")
    assert content(snapshot_at(family.main, 4)) == written(*MAIN)
    with pytest.raises(NoSuchVersion, match="has LSN 0 to 4, not 5"):
        snapshot_at(branch, 5)


def test_a_branch_of_a_branch(family):
    fork(family.main, "b", at=2)
    branch = family.clone("b")
    family.push(branch, 1, "branch 3")
    family.push(branch, 2, "branch 4")
    fork(branch, "c")
    fork(branch, "d", at=3)
    fork(branch, "e", at=1)
    deep, early = family.clone("c"), family.clone("e")
    family.push(deep, 3, "deep 5")
    assert content(deep.snapshot()) == written("branch 3", "branch 4", "deep 5")
    assert [content(snapshot_at(deep, lsn)) for lsn in (1, 2, 3)] == [
        written("main 1"), written("main 1", "main 2"), written("branch 3", "main 2"),
    ]  # fmt: skip
    assert content(family.clone("d").snapshot()) == written("branch 3", "main 2")
    assert content(early.snapshot()) == written("main 1")
    assert read_volume(family.store, "e").parent.volume == family.main.volume
    assert [entry.lsn for entry in log_entries(deep)] == [5, 4, 3, 2, 1]


def test_times_before_the_fork(family):
    times = [datetime.fromtimestamp(entry.time_us / 1e6, UTC) for entry in log_entries(family.main)][::-1]
    fork(family.main, "b")
    branch = family.clone("b")
    family.push(branch, 1, "branch 5")
    for lsn, moment in enumerate(times, 1):
        assert resolve(branch, moment).lsn == lsn
    assert resolve(branch, times[-1].replace(year=2100)).lsn == 5


def test_local_commits_are_the_first_commit_of_a_fork(family):
    commit(family.main, [1], "local")
    assert fork(family.main, "b").lsn == 5
    branch = family.clone("b")
    assert content(branch.snapshot()) == written("local", *MAIN[1:])
    assert family.main.snapshot().local_commits == 1
    family.push(branch, 2, "branch 6")
    assert content(family.clone("b", "other").snapshot()) == written("local", "branch 6", *MAIN[2:])


def test_a_fork_of_an_empty_volume(family, tmp_path):
    empty = new_replica(tmp_path / "e", fresh_store())
    family.open.append(empty)
    assert fork(empty, "b").lsn == 0
    commit(empty, [1], "local")
    assert fork(empty, "c").lsn == 1
    found = clone(tmp_path / "c", f"{empty.remote.store.url}#c", settings=small_settings(), store=empty.remote.store)
    family.open.append(found)
    assert content(found.snapshot()) == written("local")


def test_a_fork_at_the_empty_version(family):
    assert fork(family.main, "b", at=0).lsn == 0
    branch = family.clone("b")
    assert branch.snapshot().page_count == 0
    assert family.push(branch, 1, "branch 1") == 1


def test_compacting_a_branch_that_was_not_pushed_to(family):
    for page in range(1, 40):
        commit(family.main, [page], "much")
    push(family.main)
    fork(family.main, "b")
    branch = family.clone("b")
    reader = family.clone("b", "reader")
    before = content(branch.snapshot())
    assert compact(branch).after == 6
    assert content(branch.snapshot()) == before
    pull(reader)
    assert content(reader.snapshot()) == before
    assert verify(reader).problems == ()


def test_a_taken_name_is_refused(family):
    fork(family.main, "b")
    with pytest.raises(VolumeExists, match="a volume named b exists already"):
        fork(family.main, "b")
    commit(family.main, [1], "local")
    with pytest.raises(VolumeExists):
        fork(family.main, "b")
    with pytest.raises(BadRequest, match="not a volume name"):
        fork(family.main, "no/name")


def test_a_parent_that_is_lost_makes_no_branch(family):
    in_doubt(family.main)
    for key in [found.key for found in family.store.list("logs/")]:
        family.store.delete(key)
    with pytest.raises(HistoryLost):
        fork(family.main, "b")
    with pytest.raises(HistoryLost, match="commit 2 of log"):
        fork(family.main, "b", at=2)
    assert list_volumes(family.store) == ["vol"]


def test_an_unstarted_branch_that_was_deleted_is_not_pushed_to(family):
    fork(family.main, "b")
    branch = family.clone("b")
    delete_volume(family.store, "b")
    in_doubt(branch)
    commit(branch, [1], "local")
    with pytest.raises(HistoryLost, match="no name object volumes/b"):
        push(branch)
    with pytest.raises(HistoryLost, match="no name object volumes/b"):
        pull(branch)


def test_a_lost_name_of_a_branch_is_written_again(family):
    fork(family.main, "b")
    branch = family.clone("b")
    branch.close()
    family.open.remove(branch)
    record = read_volume(family.store, "b")
    delete_volume(family.store, "b")
    assert set_remote(branch.path, f"{family.store.url}#b", store=family.store).named
    found = read_volume(family.store, "b")
    assert (found.log, found.earlier) == (record.log, record.earlier)
    assert content(family.clone("b", "again").snapshot()) == written(*MAIN)
