"""Journal files that a push deletes while others read, recover or write beside them."""

import pytest

from graft.errors import LimitReached
from graft.journal import tail as journal_tail
from graft.journal.mapped_files import OpenFiles
from graft.operations.status import status
from graft.settings import Durability
from graft.sync.push import push
from tests.graft.support import (
    Killed,
    as_other_process,
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
)

PAGE = 512
ALL = range(1, 31)


@pytest.fixture
def path():
    with fast_directory() as directory:
        yield directory / "a"


def journal_of(path):
    return sorted(file.name for file in (path / "journal").iterdir())


def die_while_committing(path, store, pages, point, **settings):
    """Let a writer die at a point of its commit, and leave what it had begun."""
    dying = as_other_process(path, store, **settings)
    transaction = begin(dying)
    for page in pages:
        transaction.write(page, body(PAGE, page, "lost"))
    with dying_at(point), pytest.raises(Killed):
        transaction.commit()
    kill(dying, transaction)


def survives(replica, store, path):
    """What a replica shows is there for who opens the directory anew."""
    shown = content(replica.snapshot())
    leave(replica)
    again = as_other_process(path, store)
    assert content(again.snapshot()) == shown
    leave(again)


@pytest.mark.parametrize("point", ["rotation: after file", "rotation: after name"])
@pytest.mark.parametrize("first", [range(1, 3), range(1, 4)], ids=["room left", "full"])
@pytest.mark.parametrize("durability", [Durability.LOCAL, Durability.RELAXED], ids=str)
def test_a_writer_that_died_with_a_new_file_while_the_old_one_was_pushed(path, point, first, durability):
    store = fresh_store()
    survivor = new_replica(path, store, journal_file_bytes=2048)
    pusher = as_other_process(path, store)
    commit(survivor, first, "first", durability=durability)
    die_while_committing(path, store, ALL, point, spill_bytes=1 << 20)
    assert len(journal_of(path)) == 2
    push(pusher)
    assert journal_of(path) == [f"{2:016x}.log"], "what was pushed is deleted under the survivor"
    commit(survivor, [1], "second", durability=durability)
    for replica in (survivor, pusher):
        assert replica.snapshot().read(1) == body(PAGE, 1, "second")
        assert replica.snapshot().read(2) == body(PAGE, 2, "first")
        assert status(replica).local_commits == 1
    leave(pusher)
    survives(survivor, store, path)


@pytest.mark.parametrize("spill", [0, 1 << 20], ids=["spilled", "appended"])
@pytest.mark.parametrize("point", ["rotation: after sync", "rotation: after name"])
def test_a_push_that_takes_what_the_survivor_is_about_to_read(path, monkeypatch, spill, point):
    """A commit that was pushed and deleted before it was read must not look as if it had never been written."""
    store = fresh_store()
    survivor = new_replica(path, store)
    pusher = as_other_process(path, store)
    commit(survivor, [1, 2], "first")
    other = as_other_process(path, store, spill_bytes=spill)
    commit(other, range(3, 20), "by another process")
    die_while_committing(path, store, ALL, point, spill_bytes=1 << 20)

    read_new = survivor.journal.read_new
    pushes = iter([pusher])

    def read_new_after_a_push(upto=None):
        if upto is None and (who := next(pushes, None)):
            push(who)
        return read_new(upto)

    monkeypatch.setattr(survivor.journal, "read_new", read_new_after_a_push)
    commit(survivor, [1], "second")
    assert next(pushes, None) is None, "the push came between"
    for replica in (survivor, pusher, other):
        assert replica.snapshot().read(1) == body(PAGE, 1, "second")
        assert replica.snapshot().read(3) == body(PAGE, 3, "by another process")
        assert status(replica).local_commits == 1
    leave(pusher)
    leave(other)
    survives(survivor, store, path)


def test_a_pushed_spilled_commit_before_a_writer_that_died(path):
    """There is nothing to wait for on the disk in a file that a push deleted."""
    store = fresh_store()
    survivor = new_replica(path, store, spill_bytes=0)
    pusher = as_other_process(path, store)
    commit(survivor, [1, 2], "spilled")
    assert survivor.journal._files.newest.path.suffix == ".bulk"
    die_while_committing(path, store, [1], "rotation: after sync", spill_bytes=1 << 20)
    push(pusher)
    assert journal_of(path) == []
    survivor.settings = survivor.settings.model_copy(update={"spill_bytes": 1 << 20})
    commit(survivor, [1], "second")
    assert survivor.snapshot().read(1) == pusher.snapshot().read(1) == body(PAGE, 1, "second")
    leave(pusher)
    survives(survivor, store, path)


@pytest.mark.parametrize("failing", ["name", "map"])
def test_a_new_file_that_could_not_be_opened_does_not_end_the_one_before_it(path, monkeypatch, failing):
    """A smaller commit goes on in the file before: a push must not take that for wholly pushed."""
    store = fresh_store()
    writer = new_replica(path, store, journal_file_bytes=4096, spill_bytes=1 << 20)
    pusher = as_other_process(path, store)
    commit(writer, [1, 2], "first")
    with begin(writer) as transaction:
        for page in range(1, 20):
            transaction.write(page, body(PAGE, page, "too large"))
        with monkeypatch.context() as patch:

            def fails(*_):
                raise OSError(24, "Too many open files")

            if failing == "name":
                patch.setattr(journal_tail, "sync_directory", fails)
            else:
                patch.setattr(OpenFiles, "open", fails)
            with pytest.raises(LimitReached, match="limit of open files"):
                transaction.commit()
        transaction.rollback()
        transaction.write(1, body(PAGE, 1, "second"))
        transaction.commit()
    pusher.snapshot()
    with begin(writer) as transaction:
        transaction.write(2, body(PAGE, 2, "third"))
        push(pusher)
        transaction.commit()
    assert journal_of(path) == [f"{1:016x}.log"]
    for replica in (writer, pusher):
        assert replica.snapshot().read(1) == body(PAGE, 1, "second")
        assert replica.snapshot().read(2) == body(PAGE, 2, "third")
    leave(pusher)
    survives(writer, store, path)


def test_what_says_that_commits_are_pushed_is_synced_before_they_are_deleted(path, monkeypatch):
    """And only then: a push that deletes nothing leaves its sync point to the next one, or to the intent."""
    store = fresh_store()
    replica = new_replica(path, store, journal_file_bytes=2048)
    told = []
    sync = replica.state.sync
    monkeypatch.setattr(replica.state, "sync", lambda: (told.append(journal_of(path)), sync()))
    commit(replica, [1], "first")
    push(replica)
    assert not told
    commit(replica, ALL, "second")
    commit(replica, [1], "third")
    before = journal_of(path)
    assert len(before) > 1
    push(replica)
    assert told == [before]
    assert len(journal_of(path)) < len(before)
    leave(replica)


def test_a_sync_of_the_state_writes_to_it(path):
    """SQLite syncs nothing for a transaction that changes nothing."""
    replica = new_replica(path, fresh_store())
    wal = path / "state.db-wal"
    before = wal.read_bytes() if wal.exists() else b""
    state = replica.state.read()
    replica.state.sync()
    assert wal.read_bytes() != before
    assert replica.state.read() == state
    leave(replica)
