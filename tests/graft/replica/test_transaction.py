"""Transactions and views at their edges, one bug each."""

import pytest

from graft.errors import BadRequest, Corrupt, DiskFull, RemoteUnavailable
from graft.operations.raw_file import open_file
from graft.operations.status import status
from graft.replica import replica as replica_module
from graft.replica.state import State
from graft.replica.view import View
from graft.sync.pull import pull
from graft.sync.push import push
from pagestore.pages import PAGE_IDX_MAX
from tests.graft.support import (
    as_other_process,
    begin,
    body,
    commit,
    content,
    fresh_store,
    kill,
    leave,
    new_replica,
)


@pytest.fixture
def store():
    return fresh_store()


@pytest.fixture(params=[0, 1 << 20], ids=["spilled", "in memory"])
def replica(tmp_path, store, request):
    made = new_replica(tmp_path / "a", store, spill_bytes=request.param)
    commit(made, [1, 2, 3], "first")
    push(made)
    yield made
    leave(made)


def test_cut_and_grown_back_is_a_change(replica):
    """The size is as before, and no page was written."""
    with begin(replica) as transaction:
        transaction.truncate(1)
        transaction.truncate(3)
        assert transaction.dirty
        transaction.commit()
    assert content(replica.snapshot()) == body(512, 1, "first") + bytes(1024)
    assert status(replica).local_commits == 1


def test_nothing_changed_is_no_commit(replica):
    with begin(replica) as transaction:
        assert not transaction.dirty
        assert transaction.commit() is transaction.base
        transaction.write(2, body(512, 2, "second"))
        transaction.rollback()
        assert not transaction.dirty
        transaction.commit()
    assert status(replica).local_commits == 0


def test_a_transaction_goes_on_after_a_full_disk(replica, monkeypatch):
    from graft.disk import files as journal_files

    def full(*_):
        raise OSError(28, "No space left on device")

    before = content(replica.snapshot())
    with begin(replica) as transaction:
        transaction.write(1, body(512, 1, "second"))
        with monkeypatch.context() as patch:
            patch.setattr(journal_files.os, "pwritev", full)
            patch.setattr(journal_files.os, "pwrite", full)
            for _ in range(2):
                with pytest.raises(DiskFull):
                    transaction.commit()
                assert content(replica.snapshot()) == before
                assert transaction.read(1) == body(512, 1, "second")
        transaction.truncate(2)
        transaction.commit()
    assert content(replica.snapshot()) == body(512, 1, "second") + body(512, 2, "first")


def test_pages_that_cannot_be(replica):
    with begin(replica) as transaction:
        for page, data in ((0, bytes(512)), (1, bytes(511)), (PAGE_IDX_MAX + 1, bytes(512))):
            with pytest.raises(BadRequest, match=f"page {page}"):
                transaction.write(page, data)
        with pytest.raises(BadRequest):
            transaction.write_run(1, bytes(700))
        with pytest.raises(BadRequest):
            transaction.resize(-1)
        assert not transaction.dirty


def test_runs_over_pages_that_were_written(replica):
    with begin(replica) as transaction:
        transaction.write(4, body(512, 4, "second"))
        transaction.write_run(3, body(512, 3, "third") + body(512, 4, "third") + body(512, 5, "third"))
        transaction.write_run(5, body(512, 5, "fourth") + body(512, 6, "fourth"))
        transaction.commit()
    tags = ["first", "first", "third", "third", "fourth", "fourth"]
    assert content(replica.snapshot()) == b"".join(body(512, page, tag) for page, tag in enumerate(tags, 1))


def test_commits_that_could_not_be_laid_over_are_kept_for_the_next_try(replica, store, monkeypatch):
    """A chunk of the index may have to be read from the remote, and the remote may be down."""
    other = as_other_process(replica.path, store)
    for number in range(3):
        commit(replica, [number + 1], "second")
    real = View.followed_by

    def down(*_, **__):
        raise RemoteUnavailable("no route to host")

    with monkeypatch.context() as patch:
        patch.setattr(View, "followed_by", down)
        for _ in range(2):
            with pytest.raises(RemoteUnavailable):
                other.snapshot()
    assert View.followed_by is real
    assert content(other.snapshot()) == content(replica.snapshot())
    assert other.snapshot().local_commits == 3
    leave(other)


def test_a_commit_that_could_not_be_laid_over_is_taken_back(replica, store, monkeypatch):
    before = content(replica.snapshot())

    def down(*_, **__):
        raise RemoteUnavailable("no route to host")

    with begin(replica) as transaction:
        transaction.write(1, body(512, 1, "second"))
        with monkeypatch.context() as patch:
            patch.setattr(View, "followed_by", down)
            with pytest.raises(RemoteUnavailable):
                transaction.commit()
        assert content(replica.snapshot()) == before
    other = as_other_process(replica.path, store)
    assert content(other.snapshot()) == before
    begin(other).close()
    assert content(other.snapshot()) == before
    leave(other)


def test_a_push_leaves_the_content_version(replica, store):
    """It changes no byte, so neither readers' caches nor a writer's snapshot become stale, here or elsewhere."""
    other = as_other_process(replica.path, store)
    commit(replica, [1], "second")
    mine, theirs = replica.snapshot(), other.snapshot()
    push(replica)
    assert replica.snapshot().content_version == mine.content_version
    assert other.snapshot().content_version == theirs.content_version
    assert other.snapshot().lsn == 2
    other.begin(theirs).close()
    replica.begin(mine).close()
    commit(other, [1], "third")
    assert replica.snapshot().content_version > mine.content_version
    pull(other, policy="discard")
    assert replica.snapshot().read(1) == body(512, 1, "second")
    assert replica.snapshot().content_version > mine.content_version + 1
    leave(other)


def test_a_replica_that_could_not_be_opened_holds_nothing(replica, store, monkeypatch):
    """Else the next try would wait for its locks for ever."""
    path = replica.path
    leave(replica)

    def broken(*_, **__):
        raise Corrupt("broken")

    for target, name in ((State, "read"), (replica_module, "recovered")):
        with monkeypatch.context() as patch:
            patch.setattr(target, name, broken)
            for _ in range(2):
                with pytest.raises(Corrupt):
                    as_other_process(path, store)
    again = as_other_process(path, store)
    assert again.snapshot().page_count == 3
    kill(again)
    replica.close = lambda: None


def test_a_closed_file(replica):
    file = open_file(replica, "r+b")
    file.write(b"x")
    file.close()
    file.close()
    for use in (lambda: file.read(1), lambda: file.write(b"y"), lambda: file.truncate(1)):
        with pytest.raises(ValueError, match="closed"):
            use()
    assert replica.snapshot().read(1)[:1] == b"x"
