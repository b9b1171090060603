"""The push protocol against a store that loses requests and replies: each change is in the history exactly once."""

import pytest

from graft.errors import DiskFull, Diverged, LocalStorageError, RemoteUnavailable, StaleSnapshot
from graft.journal import syncing
from graft.operations.log import log_entries
from graft.operations.status import status
from graft.settings import Durability
from graft.sync.clone import clone
from graft.sync.commit import commit as commit_at
from graft.sync.pull import pull
from graft.sync.push import push
from pagestore.stores.memory import MemoryStore
from pagestore.testing import (
    FaultyStore,
    interrupted,
    interrupted_before,
    lost_after,
    lost_and_retried,
    lost_before,
    preceded_by,
)
from tests.graft.support import (
    as_other_process,
    body,
    commit,
    content,
    fast_directory,
    fresh_store,
    leave,
    new_replica,
    segment_keys,
    small_settings,
)

SIZES = {"inline": 32 * 1024, "large": 0}


@pytest.fixture(params=SIZES)
def inline_bytes_max(request):
    return SIZES[request.param]


@pytest.fixture
def tmp_path():
    with fast_directory() as path:
        yield path


@pytest.fixture
def store():
    return FaultyStore(fresh_store())


@pytest.fixture
def replica(tmp_path, store, inline_bytes_max):
    made = new_replica(tmp_path / "a", store, inline_bytes_max=inline_bytes_max)
    commit(made, [1, 2, 3], "first")
    push(made)
    yield made
    leave(made)


@pytest.fixture
def elsewhere(tmp_path, store, replica):
    """Another replica, whose own requests never fail."""
    made = clone(tmp_path / "b", f"{store.url}#vol", settings=small_settings(), store=MemoryStore(store.inner.url[9:]))
    yield made
    leave(made)


def history(replica):
    """Changed pages of each remote commit, oldest first."""
    return [entry.changed_pages for entry in log_entries(replica)][::-1]


def check_settled(replica, elsewhere, pages):
    """All commits are pushed, once, and a replica elsewhere sees the same."""
    assert not status(replica).push_open
    assert status(replica).local_commits == 0
    assert history(replica) == pages
    pull(elsewhere)
    assert content(elsewhere.snapshot()) == content(replica.snapshot())


@pytest.mark.parametrize("fault", [lost_after, lost_and_retried])
def test_a_lost_reply_is_settled_at_once(replica, elsewhere, store, fault):
    commit(replica, [2], "second")
    store.fail_next("put_if_absent", fault)
    assert push(replica).after == 2
    check_settled(replica, elsewhere, [3, 1])


def test_a_lost_request_is_repeated_by_the_next_push(replica, elsewhere, store):
    commit(replica, [2], "second")
    store.fail_next("put_if_absent", lost_before)
    with pytest.raises(RemoteUnavailable):
        push(replica)
    assert status(replica).push_open
    commit(replica, [3, 4], "third")
    assert push(replica).after == 3
    check_settled(replica, elsewhere, [3, 1, 2])


@pytest.mark.parametrize("fault", [lost_after, lost_before])
def test_an_open_outcome_is_settled_by_the_next_push(replica, elsewhere, store, fault):
    commit(replica, [2], "second")
    store.fail_next("put_if_absent", fault)
    store.fail_next("get_range", lost_before)
    with pytest.raises(RemoteUnavailable):
        push(replica)
    assert status(replica).push_open
    assert status(replica).local_commits == 1
    assert push(replica).after == 2
    check_settled(replica, elsewhere, [3, 1])


@pytest.mark.parametrize("fault", [lost_after, lost_before])
def test_an_open_outcome_is_settled_by_a_pull(replica, elsewhere, store, fault):
    commit(replica, [2], "second")
    store.fail_next("put_if_absent", fault)
    store.fail_next("get_range", lost_before)
    with pytest.raises(RemoteUnavailable):
        push(replica)
    assert pull(replica).after == 2
    check_settled(replica, elsewhere, [3, 1])


def test_an_open_outcome_survives_more_outages(replica, elsewhere, store):
    commit(replica, [2], "second")
    store.fail_next("put_if_absent", lost_after)
    store.fail_next("get_range", lost_before)
    with pytest.raises(RemoteUnavailable):
        push(replica)
    store.down = True
    for _ in range(3):
        with pytest.raises(RemoteUnavailable):
            push(replica)
        with pytest.raises(RemoteUnavailable):
            pull(replica, policy="discard")
        commit(replica, [3], "more")
    store.down = False
    push(replica)
    check_settled(replica, elsewhere, [3, 1, 1])


def test_somebody_else_was_faster(replica, elsewhere, store, inline_bytes_max):
    commit(replica, [2], "second")
    mine = content(replica.snapshot())
    before = segment_keys(store)
    commit(elsewhere, [1], "theirs")
    pushed = []
    store.fail_next("put_if_absent", preceded_by(lambda: pushed.append(push(elsewhere).after)))
    with pytest.raises(Diverged):
        push(replica)
    assert pushed == [2]
    assert not status(replica).push_open
    assert status(replica).state == "diverged"
    assert content(replica.snapshot()) == mine
    assert segment_keys(store) == before, "the orphan is gone"
    with pytest.raises(Diverged):
        push(replica)
    pull(replica, policy="fork", fork_name="mine")
    assert content(replica.snapshot()) == content(elsewhere.snapshot())
    with clone(replica.path.parent / "fork", f"{store.url}#mine", store=store) as forked:
        assert content(forked.snapshot()) == mine


def test_a_lost_request_that_somebody_overtook(replica, elsewhere, store):
    commit(replica, [2], "second")
    mine = content(replica.snapshot())
    store.fail_next("put_if_absent", lost_before)
    with pytest.raises(RemoteUnavailable):
        push(replica)
    commit(elsewhere, [1], "theirs")
    push(elsewhere)
    for _ in range(2):
        with pytest.raises(Diverged):
            push(replica)
        assert not status(replica).push_open
        assert content(replica.snapshot()) == mine
    assert pull(replica, policy="discard").discarded_commits == 1
    check_settled(replica, elsewhere, [3, 1])


def test_a_segment_that_could_not_be_uploaded(replica, elsewhere, store):
    commit(replica, [2], "second")
    for fault in (lost_before, lost_after):
        replica.settings = small_settings(inline_bytes_max=0)
        store.fail_next("put_stream", fault)
        with pytest.raises(RemoteUnavailable):
            push(replica)
        assert not status(replica).push_open
    push(replica)
    check_settled(replica, elsewhere, [3, 1])


@pytest.mark.parametrize("method", ["put_stream", "put_if_absent"])
@pytest.mark.parametrize("fault", [interrupted, interrupted_before])
def test_ctrl_c_in_a_push(replica, elsewhere, store, method, fault, inline_bytes_max):
    if method == "put_stream" and inline_bytes_max:
        pytest.skip("nothing is streamed")
    commit(replica, [2], "second")
    store.fail_next(method, fault)
    with pytest.raises(KeyboardInterrupt):
        push(replica)
    commit(replica, [3], "third")
    push(replica)
    check_settled(replica, elsewhere, [3, 2] if method == "put_stream" else [3, 1, 1])


def test_a_full_disk_does_not_fail_a_push_that_landed(replica, elsewhere, monkeypatch):
    commit(replica, [2], "second")
    monkeypatch.setattr(replica.cache, "put", raising(DiskFull("no space")))
    assert push(replica).after == 2
    monkeypatch.undo()
    check_settled(replica, elsewhere, [3, 1])


def test_a_journal_that_cannot_be_synced_is_not_pushed(replica, elsewhere, monkeypatch):
    commit(replica, [2], "second", durability=Durability.RELAXED)
    with monkeypatch.context() as patch:
        patch.setattr(syncing, "sync_file", raising(OSError(5, "Input/output error")))
        with pytest.raises(LocalStorageError, match="syncing"):
            push(replica)
    assert replica.state.intent() is None
    assert status(replica).local_commits == 1
    assert push(replica).after == 2
    check_settled(replica, elsewhere, [3, 1])


def test_a_journal_file_that_went_meanwhile_was_pushed(replica, elsewhere, monkeypatch):
    commit(replica, [2], "second", durability=Durability.RELAXED)
    with monkeypatch.context() as patch:
        patch.setattr(syncing, "sync_file", raising(FileNotFoundError()))
        assert push(replica).after == 2
    check_settled(replica, elsewhere, [3, 1])


class TestRemoteDurability:
    """A commit that waits for its push: an error means that nothing was committed, or says that the outcome is open."""

    @pytest.fixture(params=[1 << 20, 0], ids=["in memory", "spilled"])
    def spill_bytes(self, request, replica):
        replica.settings = small_settings(spill_bytes=request.param, inline_bytes_max=replica.settings.inline_bytes_max)

    def test_it_lands(self, replica, elsewhere, spill_bytes):
        commit(replica, [2], "second", durability=Durability.REMOTE)
        check_settled(replica, elsewhere, [3, 1])

    def test_it_takes_earlier_commits_along(self, replica, elsewhere, spill_bytes):
        commit(replica, [1], "second")
        commit(replica, [2], "third", durability=Durability.REMOTE)
        check_settled(replica, elsewhere, [3, 2])

    def test_the_remote_is_down(self, replica, elsewhere, store, spill_bytes, inline_bytes_max):
        before = content(replica.snapshot())
        with replica.begin(replica.snapshot()) as transaction:
            transaction.write(2, body(512, 2, "second"))
            transaction.write(7, body(512, 7, "second"))
            store.down = True
            with pytest.raises(RemoteUnavailable) as caught:
                commit_at(replica, transaction, Durability.REMOTE)
            store.down = False
            if inline_bytes_max:  # the append may be on its way
                assert "open" in str(caught.value)
                with pytest.raises(StaleSnapshot):
                    commit_at(replica, transaction, Durability.REMOTE)
            else:
                assert content(replica.snapshot()) == before
                assert status(replica).local_commits == 0
                commit_at(replica, transaction, Durability.REMOTE)
        push(replica)
        assert replica.snapshot().read(7) == body(512, 7, "second")
        check_settled(replica, elsewhere, [3, 2])

    def test_it_loses(self, replica, elsewhere, store, spill_bytes, tmp_path):
        commit(elsewhere, [1], "theirs")
        push(elsewhere)
        before = content(replica.snapshot())
        with replica.begin(replica.snapshot()) as transaction:
            transaction.write(2, body(512, 2, "second"))
            for _ in range(2):
                with pytest.raises(Diverged):
                    commit_at(replica, transaction, Durability.REMOTE)
                assert transaction.read(2) == body(512, 2, "second")
                assert content(replica.snapshot()) == before
        assert status(replica).local_commits == 0
        pull(replica)
        check_settled(replica, elsewhere, [3, 1])
        leave_and_return(replica, elsewhere)

    @pytest.mark.parametrize("fault", [lost_after, lost_before])
    def test_the_outcome_is_open(self, replica, elsewhere, store, spill_bytes, fault):
        store.fail_next("put_if_absent", fault)
        store.fail_next("get_range", lost_before)
        with pytest.raises(RemoteUnavailable, match="open"):
            commit(replica, [2], "second", durability=Durability.REMOTE)
        assert replica.snapshot().read(2) == body(512, 2, "second")
        assert status(replica).push_open
        push(replica)
        check_settled(replica, elsewhere, [3, 1])

    @pytest.mark.parametrize("fault", [interrupted, interrupted_before])
    def test_ctrl_c(self, replica, elsewhere, store, spill_bytes, fault):
        store.fail_next("put_if_absent", fault)
        with pytest.raises(KeyboardInterrupt):
            commit(replica, [2], "second", durability=Durability.REMOTE)
        commit(replica, [3], "third", durability=Durability.REMOTE)
        check_settled(replica, elsewhere, [3, 1, 1])


def leave_and_return(replica, elsewhere):
    """What was taken back stays away when the directory is opened anew."""
    from graft.replica.opening import open_replica

    leave(replica)
    with open_replica(replica.path, settings=small_settings(), store=elsewhere.remote.store) as again:
        assert again.snapshot().local_commits == 0
        assert content(again.snapshot()) == content(elsewhere.snapshot())
    replica.close = lambda: None
    replica.close_now = lambda: None


def raising(error):
    def fault(*_, **__):
        raise error

    return fault


def test_a_commit_that_lost_to_another_writer_leaves_a_replica_that_opens(tmp_path):
    """With durability ``remote``, the journal is on the disk before the push; what is taken back must not be missed."""
    store = fresh_store()
    first = new_replica(tmp_path / "a", store)
    other = clone(tmp_path / "b", f"{store.url}#vol", settings=small_settings(), store=store)
    commit(first, [1], "x")
    push(first)
    with pytest.raises(Diverged):
        commit(other, [1], "y", durability=Durability.REMOTE)
    leave(other)
    again = as_other_process(tmp_path / "b", store)
    assert not again.view().pending
    assert pull(again).after == 1
    leave(again)
    leave(first)
