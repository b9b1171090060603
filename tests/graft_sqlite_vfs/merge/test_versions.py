"""Merging branches, picking commits and undoing them."""

import json

import pytest

import graft
from graft.sync.fork import fork
from graft.sync.switch import switch
from graft_sqlite_vfs.merge import cherry_pick, merge_version, revert
from tests.graft_sqlite_vfs.merge.test_merge import USERS


@pytest.fixture
def branch(pair):
    """The other replica is on a branch that starts at LSN 1."""
    pair.start(USERS)
    fork(pair.replica, "experiment")
    switch(pair.other, "experiment")
    return pair


def _users(connection):
    return connection.execute("SELECT * FROM users ORDER BY id").fetchall()


def test_a_branch(branch):
    branch.theirs.execute("UPDATE users SET score = 5 WHERE id = 1; INSERT INTO users VALUES (10, 'branch', 0)")
    graft.push(branch.other)
    branch.ours.execute("UPDATE users SET name = 'ONE' WHERE id = 1; DELETE FROM users WHERE id = 3")
    done = merge_version(branch.replica, "experiment")
    assert (done.base, done.lsn, done.committed) == (1, 2, True)
    assert (done.merged.combined, done.merged.inserted) == (1, 1)
    assert _users(branch.ours) == [(1, "ONE", 5), (2, "two", 0), (10, "branch", 0)]
    graft.push(branch.replica)
    attributes = branch.replica.view().state.chain[0].commit.attributes
    assert json.loads(attributes["merged"])[0]["lsn"] == 2
    assert merge_version(branch.replica, "experiment").committed is False


def test_a_branch_that_is_merged_again_starts_where_it_was_merged_last(branch):
    branch.theirs.execute("UPDATE users SET score = 5 WHERE id = 1")
    graft.push(branch.other)
    merge_version(branch.replica, "experiment")
    branch.ours.execute("UPDATE users SET score = 6 WHERE id = 1")  # no conflict with what was merged before
    branch.theirs.execute("UPDATE users SET score = 7 WHERE id = 2")
    graft.push(branch.other)
    assert merge_version(branch.replica, "experiment").base == 2, "before the merge was pushed"
    graft.push(branch.replica)
    branch.ours.execute("UPDATE users SET score = 8 WHERE id = 2")
    graft.push(branch.replica)
    branch.theirs.execute("UPDATE users SET score = 9 WHERE id = 3")
    graft.push(branch.other)
    assert merge_version(branch.replica, "experiment").base == 3, "from what the commits say"
    assert [row[2] for row in _users(branch.ours)] == [6, 8, 9]


@pytest.mark.parametrize(("policy", "score"), [("ours", 1), ("theirs", 2)])
def test_ours_is_the_side_of_the_replica(branch, policy, score):
    branch.theirs.execute("UPDATE users SET score = 2 WHERE id = 1")
    graft.push(branch.other)
    branch.ours.execute("UPDATE users SET score = 1 WHERE id = 1")
    with pytest.raises(graft.MergeConflict) as raised:
        merge_version(branch.replica, "experiment")
    assert (raised.value.conflicts[0].ours["score"], raised.value.conflicts[0].theirs["score"]) == (1, 2)
    assert _users(branch.ours)[0] == (1, "one", 1)
    merge_version(branch.replica, "experiment", conflicts=policy)
    assert _users(branch.ours)[0] == (1, "one", score)


def test_one_commit_can_be_picked(branch):
    for sql in ("UPDATE users SET score = 5 WHERE id = 1", "UPDATE users SET score = 6 WHERE id = 2"):
        branch.theirs.execute(sql)
        graft.push(branch.other)
    assert cherry_pick(branch.replica, "experiment@3").merged.updated == 1
    assert [row[2] for row in _users(branch.ours)] == [0, 6, 0]


def test_one_commit_can_be_undone(pair):
    pair.start(USERS)
    pair.ours.execute("UPDATE users SET score = 5 WHERE id = 1; DELETE FROM users WHERE id = 2")
    graft.push(pair.replica)
    pair.ours.execute("UPDATE users SET name = 'later' WHERE id = 3")
    graft.push(pair.replica)
    assert revert(pair.replica, 2).committed
    assert _users(pair.ours) == [(1, "one", 0), (2, "two", 0), (3, "later", 0)]
    pair.ours.execute("UPDATE users SET name = 'latest' WHERE id = 3")
    with pytest.raises(graft.MergeConflict):
        revert(pair.replica, 3)
    assert revert(pair.replica, 3, conflicts="theirs").committed
    assert _users(pair.ours)[2] == (3, "three", 0)
    assert pair.rows("SELECT count(*) FROM users") == [(3,)]


def test_what_cannot_be_merged(pair, volumes):
    pair.start(USERS)
    volumes.connect("unrelated", remote="#unrelated").execute("CREATE TABLE t(x); PRAGMA graft_push")
    with pytest.raises(graft.BadRequest, match="no version in common"):
        merge_version(pair.replica, "unrelated")
    with pytest.raises(graft.NoSuchVersion):
        merge_version(pair.replica, "nobody")
    with pytest.raises(graft.BadRequest, match="empty version"):
        revert(pair.replica, 0)
    with pytest.raises(graft.NoSuchVersion):
        cherry_pick(pair.replica, 99)
