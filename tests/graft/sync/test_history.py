"""A remote that is not, or no longer, the one that the replica knows: nothing is written to it, nothing is believed."""

import contextlib
import json
import shutil

import pytest

from graft.errors import (
    BadRequest,
    Corrupt,
    Diverged,
    GraftError,
    HistoryLost,
    NoSuchVolume,
    RemoteRefused,
    ReplicaExists,
    Unsupported,
    VolumeExists,
)
from graft.operations.compact import compact
from graft.operations.verify import verify
from graft.replica.opening import open_replica
from graft.settings import Durability
from graft.sync.clone import clone, init
from graft.sync.commit import commit as commit_at
from graft.sync.fork import fork
from graft.sync.poll import poll
from graft.sync.pull import fetch, pull
from graft.sync.push import push
from graft_sqlite_vfs.connection import connect
from metastore.lsn import LSN
from metastore.placement import commit_key
from pagestore.stores.memory import MemoryStore
from pagestore.stores.metered import MeteredStore
from pagestore.testing import FaultyStore, lost_before
from tests.graft.support import (
    Killed,
    begin,
    body,
    commit,
    content,
    dying_at,
    fast_directory,
    fresh_store,
    kill,
    leave,
    new_replica,
    segment_keys,
    small_settings,
)


class World:
    """A bucket whose objects the test may put away, and replicas of a volume in it."""

    def __init__(self, path):
        self.path = path
        self.store = FaultyStore(fresh_store())
        self.open = []
        self.writer = self.kept(new_replica(path / "writer", self.store))

    def kept(self, replica):
        self.open.append(replica)
        return replica

    def another(self, name):
        return self.kept(clone(self.path / name, f"{self.store.url}#vol", settings=small_settings(), store=self.store))

    def reopened(self, replica):
        """Close a replica and open it again, as another process would."""
        self.open.remove(replica)
        leave(replica)
        return self.kept(open_replica(replica.path, settings=small_settings(), store=self.store))

    def push(self, replica, page, tag):
        commit(replica, [page], tag)
        return push(replica).after

    def objects(self):
        return {info.key: self.store.inner.get(info.key) for info in self.store.inner.list("")}

    def restore(self, objects):
        """Make the bucket hold these objects and no others."""
        for key in self.objects().keys() - objects.keys():
            self.store.inner.delete(key)
        for key, data in objects.items():
            self.store.inner.put(key, data)

    def lsns(self, log):
        return [2**64 - 1 - int(key.rpartition("/")[2], 16) for key in self.objects() if f"{log}/commits/" in key]


@pytest.fixture
def world():
    with fast_directory() as path:
        made = World(path)
        yield made
        for replica in reversed(made.open):
            leave(replica)


def empty(world):
    world.restore({})


def another_bucket(world):
    """The same name in another bucket: another volume, another log."""
    world.restore({})
    leave(new_replica(world.path / "stranger", world.store.inner))


def rolled_back(world):
    world.store.inner.delete(commit_key(world.writer.log, LSN(max(world.lsns(world.writer.log)))))


def log_deleted(world):
    for key in world.objects():
        if key.startswith("logs/"):
            world.store.inner.delete(key)


def made_anew(world):
    log_deleted(world)
    world.store.inner.delete("volumes/vol")
    leave(new_replica(world.path / "anew", world.store.inner))


LOSSES = [empty, another_bucket, rolled_back, log_deleted, made_anew]


def write(replica):
    """Every way to write to a remote, by name."""

    def durable():
        with begin(replica) as transaction:
            transaction.write(5, body(512, 5, "durable"))
            commit_at(replica, transaction, Durability.REMOTE)

    return {
        "push": lambda: push(replica),
        "durable": durable,
        "fork": lambda: fork(replica, "forked"),
    }


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("way", ["push", "durable", "fork"])
def test_nothing_is_written_to_a_remote_that_lost_the_parent(world, loss, way):
    world.push(world.writer, 1, "first")
    world.push(world.writer, 2, "second")
    loss(world)
    replica = world.reopened(world.writer)
    if way == "push":
        commit(replica, [3], "third")
    before, shown = world.objects(), content(replica.snapshot())
    with pytest.raises(HistoryLost, match="--policy fork"):
        write(replica)[way]()
    assert world.objects() == before
    assert content(replica.snapshot()) == shown
    assert len(replica.view().pending) == (way == "push")


def test_an_outage_that_ends_in_another_bucket(world):
    world.push(world.writer, 1, "first")
    commit(world.writer, [2], "second")
    world.store.fail_next("put_if_absent", lost_before)
    world.store.fail_next("get_range", lost_before, key_part="commits")
    with pytest.raises(GraftError):
        push(world.writer)
    whole = world.objects()
    empty(world)
    with pytest.raises(HistoryLost):
        push(world.writer)
    assert world.objects() == {}
    world.restore(whole)
    assert push(world.writer).after == 2
    assert content(world.another("reader").snapshot()) == content(world.writer.snapshot())


def test_a_volume_without_any_commit(world):
    replica = world.reopened(world.writer)
    commit(replica, [1], "first")
    whole = world.objects()
    for loss in (empty, another_bucket):
        loss(world)
        before = world.objects()
        with pytest.raises(HistoryLost):
            push(replica)
        with pytest.raises(HistoryLost):
            pull(world.reopened(replica)) if loss is empty else push(replica)
        assert world.objects() == before
        replica = world.open[-1]
        shutil.rmtree(world.path / "stranger", ignore_errors=True)
    world.restore(whole)
    assert push(replica).after == 1


def test_compaction_is_not_written_either(world):
    for number in range(4):
        world.push(world.writer, number + 1, "page")
    replica = world.reopened(world.writer)
    rolled_back(world)
    before = world.objects()
    with pytest.raises(HistoryLost):
        compact(replica)
    assert world.objects() == before


@pytest.mark.parametrize("foreign", range(1, 8))
@pytest.mark.parametrize("common", [1, 2, 3, 4, 7])
def test_a_rolled_back_bucket_that_others_went_on_from(world, common, foreign):
    """The old replica is told by everything that reads a head, however many commits the others made."""
    for number in range(common):
        world.push(world.writer, 1, f"common {number}")
    other = world.another("other")
    old = world.objects()
    world.push(world.writer, 1, "lost")
    shown = content(world.writer.snapshot())
    world.restore(old)
    for number in range(foreign):
        world.push(other, 2, f"foreign {number}")
    for use in (fetch, pull, lambda replica: poll(replica, listing=True)):
        if use is fetch and foreign > 1:
            continue  # it reads no commit: one request
        with pytest.raises(HistoryLost):
            use(world.writer)
    assert verify(world.writer).problems
    commit(world.writer, [3], "mine")
    with pytest.raises((HistoryLost, Diverged)):
        push(world.reopened(world.writer))
    replica = world.open[-1]
    assert replica.view().state.lsn == common + 1
    assert content(replica.snapshot())[:512] == shown[:512]


def test_a_hole_is_not_filled(world):
    """A bucket lost its newest commit, and an old replica went on behind the hole."""
    world.push(world.writer, 1, "first")
    reader = world.another("reader")
    world.push(world.writer, 2, "second")
    world.push(world.writer, 3, "third")
    world.store.inner.delete(commit_key(world.writer.log, LSN(2)))
    reader = world.reopened(reader)
    commit(reader, [4], "mine")
    with pytest.raises(HistoryLost, match="hole"):
        push(reader)
    assert 2 not in world.lsns(reader.log)
    assert any("2" in problem for problem in verify(world.writer).problems)


@pytest.mark.parametrize("pending", [False, True])
@pytest.mark.parametrize("foreign", [0, 1, 3])
def test_the_way_forward(world, pending, foreign):
    """`pull --policy fork` saves all of what is here and goes on from the remote."""
    commit(world.writer, range(1, 30), "first")
    push(world.writer)
    other = world.another("other")
    old = world.objects()
    world.push(world.writer, 1, "lost")
    commit(world.writer, range(2, 12), "lost, too")  # a segment of its own
    push(world.writer)
    if pending:
        commit(world.writer, [13], "never pushed")
    shown = content(world.writer.snapshot())
    world.restore(old)
    for number in range(foreign):
        world.push(other, 2, f"foreign {number}")
    replica = world.reopened(world.writer)
    with pytest.raises(HistoryLost):
        pull(replica, policy="discard")
    assert content(replica.snapshot()) == shown
    done = pull(replica, policy="fork", fork_name="saved")
    assert (done.forked_to, done.after, done.discarded_commits) == ("saved", 1 + foreign, int(pending))
    assert content(replica.snapshot()) == content(other.snapshot())
    saved = world.kept(
        clone(world.path / "saved", f"{world.store.url}#saved", settings=small_settings(), store=world.store)
    )
    assert content(saved.snapshot()) == shown
    assert verify(saved).problems == verify(replica).problems == ()
    world.push(replica, 20, "goes on")
    pull(other)
    assert content(other.snapshot()) == content(replica.snapshot())
    assert pull(world.reopened(replica)).after == 2 + foreign


@pytest.mark.parametrize(("point", "moved"), [("pull: after fetch", False), ("pull: after state", True)])
def test_a_death_on_the_way_forward(world, point, moved):
    """What is here is saved before the replica moves; a replica that did not move can be saved again."""
    world.push(world.writer, 1, "first")
    old = world.objects()
    world.push(world.writer, 2, "lost")
    shown = content(world.writer.snapshot())
    world.restore(old)
    replica = world.reopened(world.writer)
    with dying_at(point), pytest.raises(Killed):
        pull(replica, policy="fork", fork_name="saved")
    world.open.remove(replica)
    kill(replica)
    replica = world.kept(open_replica(replica.path, settings=small_settings(), store=world.store))
    if moved:
        assert pull(replica).after == 1
    else:
        assert content(replica.snapshot()) == shown
        pull(replica, policy="fork", fork_name="again")
    assert replica.view().state.lsn == 1
    saved = world.kept(
        clone(world.path / "saved", f"{world.store.url}#saved", settings=small_settings(), store=world.store)
    )
    assert content(saved.snapshot()) == shown


def test_the_way_forward_where_the_name_stands_for_another_volume(world):
    world.push(world.writer, 1, "first")
    shown = content(world.writer.snapshot())
    made_anew(world)
    replica = world.reopened(world.writer)
    with pytest.raises(HistoryLost, match="another volume"):
        pull(replica)
    pull(replica, policy="fork", fork_name="saved")
    assert replica.snapshot().page_count == 0
    assert world.push(replica, 1, "anew") == 1
    saved = world.kept(
        clone(world.path / "saved", f"{world.store.url}#saved", settings=small_settings(), store=world.store)
    )
    assert content(saved.snapshot()) == shown
    assert content(world.another("reader").snapshot()) == content(replica.snapshot())


def test_what_is_not_here_cannot_be_saved(world):
    world.writer.settings = small_settings(inline_bytes_max=0)
    commit(world.writer, range(1, 30), "first")
    push(world.writer)
    reader = world.another("reader")
    for key in segment_keys(world.store):
        world.store.inner.delete(key)
    rolled_back(world)
    with pytest.raises(HistoryLost, match="cannot be saved"):
        pull(reader, policy="fork", fork_name="saved")
    assert "volumes/saved" not in world.objects()
    assert reader.snapshot().lsn == 1


class TestRequests:
    def test_the_first_push_of_an_opening_looks_closely_and_no_other(self, world):
        metered = MeteredStore(world.store.inner)
        replica = new_replica(world.path / "metered", MeteredStore(MemoryStore("of-its-own")))
        leave(replica)
        replica = world.kept(world.writer)
        world.push(replica, 1, "first")
        leave(world.open.pop())
        world.open.remove(replica)
        replica = world.kept(open_replica(replica.path, settings=small_settings(), store=metered))
        asked = []
        for number in range(4):
            commit(replica, [2], number)
            before = metered.snapshot()
            push(replica)
            asked.append((metered.snapshot() - before).requests)
        assert asked == [4, 1, 1, 1], "name, head, parent; then the commit alone"

    def test_an_up_to_date_pull_is_one_request_after_each_opening(self, world):
        world.push(world.writer, 1, "first")
        reader = world.another("reader")
        for _ in range(2):
            leave(reader)
            world.open.remove(reader)
            metered = MeteredStore(world.store.inner)
            reader = world.kept(open_replica(reader.path, settings=small_settings(), store=metered))
            pull(reader)
            assert metered.snapshot().requests == 1


class TestUnsafeEndpoints:
    """An endpoint that ignores conditions is refused before the first push of every replica."""

    @staticmethod
    def ignoring(method, key, data):
        method.__self__.put(key, data)
        return True

    def test_a_clone_proves_it_before_its_first_push(self, world):
        world.push(world.writer, 1, "first")
        other = world.another("other")
        world.push(world.writer, 2, "theirs")
        commit(other, [2], "mine")
        before = world.objects()
        for _ in range(8):
            world.store.fail_next("put_if_absent", self.ignoring)
        with pytest.raises(RemoteRefused, match="overwrites objects on conditional writes"):
            push(other)
        assert world.objects() == before
        world.store.faults.clear()
        with pytest.raises(Diverged):
            push(other)

    def test_it_is_proved_once(self, world):
        world.push(world.writer, 1, "first")
        other = world.another("other")
        world.push(other, 2, "second")
        before = world.store.faults
        other = world.reopened(other)
        world.store.fail_next("put_if_absent", self.ignoring, key_part="probe/")
        world.push(other, 3, "third")
        assert before["put_if_absent"], "nothing was probed"


class TestListings:
    """A listing that is old or in another order is no loss, and no reason to stay behind."""

    @staticmethod
    def old(listed):
        def fault(method, prefix, **options):
            return iter(listed)

        return fault

    def listed(self, world):
        return list(world.store.inner.list(f"logs/{world.writer.log}/commits/", limit=8))

    @pytest.mark.parametrize("since", [1, 2, 9])
    def test_a_clone_is_of_the_newest_version(self, world, since):
        world.push(world.writer, 1, "first")
        old = self.listed(world)
        for number in range(since):
            world.push(world.writer, 1, number)
        world.store.fail_next("list", self.old(old))
        assert world.another("reader").snapshot().lsn == 1 + since

    def test_a_listing_without_the_log(self, world):
        world.push(world.writer, 1, "first")
        world.store.fail_next("list", self.old([]))
        assert world.another("reader").snapshot().lsn == 1

    @pytest.mark.parametrize("use", [pull, fetch, lambda replica: poll(replica, listing=True)])
    def test_older_than_seen_is_an_old_answer(self, world, use):
        world.push(world.writer, 1, "first")
        old = self.listed(world)
        for number in range(3):
            world.push(world.writer, 1, number)
        world.store.fail_next("list", self.old(old))
        use(world.writer)
        reader = world.another("reader")
        world.push(world.writer, 1, "more")
        world.store.fail_next("list", self.old(old))
        use(reader)
        assert reader.snapshot().lsn == (5 if use is not fetch else 4)

    @pytest.mark.parametrize("behind", [0, 1, 5])
    def test_a_pull_through_a_listing_of_what_is_here(self, world, behind):
        world.push(world.writer, 1, "first")
        reader = world.another("reader")
        for number in range(behind):
            world.push(world.writer, 1, number)
        old = self.listed(world)
        for number in range(3):
            world.push(world.writer, 1, number)
        world.store.fail_next("list", self.old(old))
        assert pull(reader).after == 4 + behind
        assert content(reader.snapshot()) == content(world.writer.snapshot())

    def test_another_order(self, world):
        for number in range(12):
            world.push(world.writer, 1, number)
        every = list(world.store.inner.list(f"logs/{world.writer.log}/commits/"))
        world.store.fail_next("list", self.old(every[::-1][:8]))
        reader = world.another("reader")
        assert reader.snapshot().lsn == 12
        world.store.fail_next("list", self.old(every[::-1][:8]))
        assert pull(reader).after == 12


class TestNames:
    """The name object is lost or damaged: nobody is shown, or makes, an empty volume in its place."""

    @pytest.fixture
    def remote(self, tmp_path):
        remote = tmp_path / "remote"
        for name in ("app", "other"):
            with contextlib.closing(connect(tmp_path / name, remote=f"{remote}#{name}")) as database:
                database.execute("CREATE TABLE t(x)")
                database.pragma("graft_push")
        return remote

    @pytest.mark.parametrize("create", [None, True])
    @pytest.mark.parametrize("name", ["app", "third"])
    def test_no_volume_is_made_beside_a_log_without_a_name(self, remote, tmp_path, create, name):
        whole = (remote / "volumes" / "app").read_bytes()
        (remote / "volumes" / "app").unlink()
        with pytest.raises(HistoryLost, match=r"no volume's name stands for .* with 1 commits.*graft remote set"):
            connect(tmp_path / "new", remote=f"{remote}#{name}", create=create)
        with pytest.raises(HistoryLost):
            init(tmp_path / "new", f"{remote}#{name}")
        with pytest.raises(NoSuchVolume):
            connect(tmp_path / "new", remote=f"{remote}#app", create=False)
        assert not (tmp_path / "new").exists()
        assert {found.name for found in (remote / "volumes").iterdir()} == {"other"}
        (remote / "volumes" / "app").write_bytes(whole)
        with contextlib.closing(connect(tmp_path / "new", remote=f"{remote}#app")) as database:
            assert database.execute("SELECT * FROM t").fetchall() == []

    def test_every_damaged_byte(self, remote, tmp_path):
        path = remote / "volumes" / "app"
        whole = path.read_bytes()
        for place in range(len(whole)):
            path.write_bytes(bytes([*whole[:place], whole[place] ^ 1, *whole[place + 1 :]]))
            with pytest.raises((Corrupt, Unsupported)):
                connect(tmp_path / "new", remote=f"{remote}#app")
        assert not (tmp_path / "new").exists()

    def test_a_damaged_log_id_in_an_object_without_a_checksum(self, remote, tmp_path):
        path = remote / "volumes" / "app"
        fields = json.loads(path.read_bytes())
        del fields["checksum"]
        digit = fields["log"][-1]
        path.write_text(json.dumps(fields | {"format": 1}))
        with contextlib.closing(connect(tmp_path / "old", remote=f"{remote}#app")) as database:
            assert database.execute("SELECT * FROM t").fetchall() == []
        path.write_text(json.dumps(fields | {"format": 1, "log": fields["log"][:-1] + ("1" if digit != "1" else "2")}))
        with pytest.raises(HistoryLost, match="deleted or damaged"):
            connect(tmp_path / "new", remote=f"{remote}#app")

    def test_a_fork_that_was_given_up_is_in_nobodys_way(self, remote, tmp_path):
        with contextlib.closing(open_replica(tmp_path / "app")) as replica:
            fork(replica, "forked")
        (remote / "volumes" / "forked").unlink()
        connect(tmp_path / "new", remote=f"{remote}#new").close()

    def test_making_and_opening_are_told_apart(self, remote, tmp_path):
        with pytest.raises(NoSuchVolume):
            connect(tmp_path / "new", remote=f"{remote}#typo", create=False)
        with pytest.raises(NoSuchVolume):
            connect(tmp_path / "new", remote=f"{tmp_path / 'typo'}#app", create=False)
        assert not (tmp_path / "typo").exists()
        with pytest.raises(VolumeExists):
            connect(tmp_path / "new", remote=f"{remote}#app", create=True)
        with pytest.raises(ReplicaExists):
            connect(tmp_path / "app", remote=f"{remote}#app", create=True)
        with pytest.raises(BadRequest, match="pass a remote"):
            connect(tmp_path / "new", create=True)
        assert not (tmp_path / "new").exists()
        connect(tmp_path / "app", remote=f"{remote}#app", create=False).close()
        connect(tmp_path / "cloned", remote=f"{remote}#app", create=False).close()
        connect(tmp_path / "made", remote=f"{remote}#made", create=True).close()


def test_a_name_in_a_directory_that_is_gone_makes_no_directory(tmp_path):
    """A drive that is not mounted: its folder is missing, or empty."""
    remote = tmp_path / "drive" / "store"
    remote.parent.mkdir()
    replica = init(tmp_path / "a", f"{remote}#app")
    with contextlib.closing(replica):
        commit(replica, [1], "first")
        push(replica)
    shutil.move(remote, tmp_path / "away")
    for empty_folder in (False, True):
        if empty_folder:
            remote.mkdir()
        with contextlib.closing(open_replica(tmp_path / "a")) as replica:
            if not empty_folder:
                commit(replica, [2], "second")
            for use in (push, pull, lambda each: fork(each, "other")):
                with pytest.raises(GraftError, match="mounted"):
                    use(replica)
            assert len(replica.view().pending) == 1
        assert list(remote.iterdir() if empty_folder else remote.parent.iterdir()) == []
    remote.rmdir()
    shutil.move(tmp_path / "away", remote)
    with contextlib.closing(open_replica(tmp_path / "a")) as replica:
        assert push(replica).after == 2
    with contextlib.closing(clone(tmp_path / "b", f"{remote}#app")) as reader:
        assert reader.snapshot().lsn == 2
