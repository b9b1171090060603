"""A process that dies at any named point: what was promised is there, once, and the next push settles the rest."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from graft.clone import clone
from graft.errors import Diverged
from graft.failpoints import FAILPOINTS
from graft.log import log_entries
from graft.pull import pull
from graft.push import push
from graft.settings import Durability
from graft.status import status
from pagestore.localdir import LocalDirStore
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
    small_settings,
)

COMMIT_POINTS = [point for point in FAILPOINTS if point.startswith("commit")]
PUSH_POINTS = [point for point in FAILPOINTS if point.startswith("push")]
PULL_POINTS = [point for point in FAILPOINTS if point.startswith("pull")]
SPILLS = {"in memory": 1 << 20, "spilled": 0}


def test_every_failpoint_is_here():
    assert sorted([*COMMIT_POINTS, *PUSH_POINTS, *PULL_POINTS]) == sorted(FAILPOINTS)


@pytest.fixture
def tmp_path():
    with fast_directory() as path:
        yield path


@pytest.fixture(params=[False, True], ids=["alone", "beside another process"])
def beside(request):
    return request.param


class Stage:
    """A replica that dies, perhaps another process on its directory that lives on, and a replica elsewhere."""

    def __init__(self, path, *, beside, **settings):
        self.path, self.settings = path / "a", settings
        self.store = fresh_store()
        self.replica = new_replica(self.path, self.store, **settings)
        commit(self.replica, [1, 2, 3], "first")
        push(self.replica)
        self.elsewhere = clone(path / "b", f"{self.store.url}#vol", settings=small_settings(), store=self.store)
        self.other = as_other_process(self.path, self.store, **settings) if beside else None
        self.open = [self.elsewhere]

    def die(self, transaction=None):
        """Return the replica as the survivor sees it, or as it is when it is opened again."""
        kill(self.replica, transaction)
        self.replica = self.other or as_other_process(self.path, self.store, **self.settings)
        self.open.append(self.replica)
        return self.replica

    def settle(self):
        push(self.replica)
        assert not status(self.replica).push_open
        assert status(self.replica).local_commits == 0
        pull(self.elsewhere)
        assert content(self.elsewhere.snapshot()) == content(self.replica.snapshot())
        again = as_other_process(self.path, self.store, **self.settings)
        self.open.append(again)
        assert content(again.snapshot()) == content(self.replica.snapshot())

    def history(self):
        return [entry.changed_pages for entry in log_entries(self.elsewhere)][::-1]

    def close(self):
        for replica in self.open:
            leave(replica)


@pytest.fixture
def stage(tmp_path, beside):
    stages = []

    def make(**settings):
        stages.append(Stage(tmp_path, beside=beside, **settings))
        return stages[0]

    yield make
    stages[0].close()


@pytest.mark.parametrize("spill", SPILLS)
@pytest.mark.parametrize("durability", list(Durability))
@pytest.mark.parametrize("point", COMMIT_POINTS)
def test_death_in_a_commit(stage, point, durability, spill):
    stage = stage(spill_bytes=SPILLS[spill])
    replica = stage.replica
    transaction = replica.begin(replica.snapshot())
    transaction.write(2, body(512, 2, "second"))
    transaction.truncate(2)
    with dying_at(point), pytest.raises(Killed):
        # A failpoint in the middle raises where a process would be gone: what tidies up after an error must not run.
        transaction._take_back = lambda commit: None
        transaction.commit(durability)
    survivor = stage.die(transaction)
    landed = point != "commit: before journal"
    with begin(survivor) as transaction:  # the next writer takes in what is whole
        transaction.write(1, body(512, 1, "third"))
        transaction.commit()
    expected = [body(512, 1, "third"), body(512, 2, "second" if landed else "first")]
    assert content(survivor.snapshot()) == b"".join(expected if landed else [*expected, body(512, 3, "first")])
    stage.settle()
    assert sum(stage.history()) == 3 + landed + 1
    assert not list((stage.path / "journal").glob("*.tmp"))


@pytest.mark.parametrize("inline", [0, 32 * 1024], ids=["large", "inline"])
@pytest.mark.parametrize("point", PUSH_POINTS)
def test_death_in_a_push(stage, point, inline):
    stage = stage(inline_bytes_max=inline)
    commit(stage.replica, [2], "second")
    commit(stage.replica, [2, 5], "third")
    if stage.other:
        stage.other.snapshot()
    before = content(stage.replica.snapshot())
    with dying_at(point), pytest.raises(Killed):
        push(stage.replica)
    survivor = stage.die()
    assert content(survivor.snapshot()) == before
    commit(survivor, [3], "fourth")
    after = content(survivor.snapshot())
    stage.settle()
    assert content(survivor.snapshot()) == after
    settled_alone = PUSH_POINTS.index(point) >= PUSH_POINTS.index("push: after intent")
    assert stage.history() == ([3, 2, 1] if settled_alone else [3, 3])


@pytest.mark.parametrize("point", PUSH_POINTS)
def test_death_in_a_push_that_somebody_overtakes(stage, point):
    stage = stage(inline_bytes_max=0)
    commit(stage.replica, [2], "second")
    mine = content(stage.replica.snapshot())
    with dying_at(point), pytest.raises(Killed):
        push(stage.replica)
    survivor = stage.die()
    commit(stage.elsewhere, [1], "theirs")
    if PUSH_POINTS.index(point) >= PUSH_POINTS.index("push: after append"):
        with pytest.raises(Diverged):
            push(stage.elsewhere)
        pull(stage.elsewhere, policy="discard")
    else:
        push(stage.elsewhere)
        with pytest.raises(Diverged):
            push(survivor)
        assert content(survivor.snapshot()) == mine
        pull(survivor, policy="discard")
    stage.settle()
    assert stage.history() == [3, 1]


@pytest.mark.parametrize("point", PUSH_POINTS)
@pytest.mark.parametrize("spill", SPILLS)
def test_death_in_a_commit_that_waits_for_its_push(stage, point, spill):
    stage = stage(spill_bytes=SPILLS[spill], inline_bytes_max=0)
    replica = stage.replica
    transaction = replica.begin(replica.snapshot())
    transaction.write(2, body(512, 2, "second"))
    with dying_at(point), pytest.raises(Killed):
        transaction._take_back = lambda commit: None
        transaction.commit(Durability.REMOTE)
    survivor = stage.die(transaction)
    commit(survivor, [3], "third")
    assert survivor.snapshot().read(2) == body(512, 2, "second")
    stage.settle()
    assert sum(stage.history()) == 5


@pytest.mark.parametrize("mine", [[], [2]], ids=["no local commit", "discarding"])
@pytest.mark.parametrize("point", PULL_POINTS)
def test_death_in_a_pull(stage, point, mine):
    stage = stage()
    if mine:
        commit(stage.replica, mine, "mine")
    commit(stage.elsewhere, [1, 3], "theirs")
    push(stage.elsewhere)
    if stage.other:
        stage.other.snapshot()
    with dying_at(point), pytest.raises(Killed):
        pull(stage.replica, policy="discard")
    survivor = stage.die()
    if point == "pull: after fetch":
        pull(survivor, policy="discard")
    else:  # the state has moved; whoever writes next must build on that
        begin(survivor).close()
    assert content(survivor.snapshot()) == content(stage.elsewhere.snapshot())
    commit(survivor, [2], "fourth")
    stage.settle()
    assert stage.history() == [3, 2, 1]


def test_a_record_left_by_a_dead_writer_is_not_laid_over_another_base(tmp_path):
    """It was made on what the pull replaced."""
    stage = Stage(tmp_path, beside=False)
    commit(stage.elsewhere, [1], "theirs")
    push(stage.elsewhere)
    other = as_other_process(stage.path, stage.store)
    transaction = stage.replica.begin(stage.replica.snapshot())
    transaction.write(2, body(512, 2, "unsaid"))
    with dying_at("commit: after journal"), pytest.raises(Killed):
        transaction._take_back = lambda commit: None
        transaction.commit()
    kill(stage.replica, transaction)
    with pytest.raises(Diverged, match="during the pull"):
        pull(other)
    with dying_at("pull: after state"), pytest.raises(Killed):
        pull(other, policy="discard")
    stage.replica = other
    survivor = stage.die()
    assert content(survivor.snapshot()) == content(stage.elsewhere.snapshot())
    stage.close()


def test_ctrl_c_between_journal_and_publication(tmp_path):
    stage = Stage(tmp_path, beside=True)
    for spill in SPILLS.values():
        stage.replica.settings = small_settings(spill_bytes=spill)
        before = content(stage.replica.snapshot())
        with dying_at("commit: after journal"), pytest.raises(Killed):
            commit(stage.replica, [2, 9], "second")
        assert content(stage.replica.snapshot()) == content(stage.other.snapshot()) == before
        commit(stage.replica, [3], f"third {spill}")
        assert stage.replica.snapshot().page_count == 3
        assert content(stage.replica.snapshot()) == content(stage.other.snapshot())
    stage.open += [stage.replica, stage.other]
    stage.settle()
    stage.close()


ROOT = Path(__file__).parents[2]


def dies(path, store, **what):
    """Run the worker, which kills itself with SIGKILL."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.graft.crash_worker", json.dumps({"path": str(path), "store": store.url, **what})],
        check=False, cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize(
    "what",
    [
        {"do": "commit", "point": "commit: after journal"},
        {"do": "commit", "point": "commit: after journal", "spill": 0},
        {"do": "push", "point": "push: after intent"},
        {"do": "push", "point": "push: after append"},
        {"do": "push", "point": "push: after state"},
        {"do": "pull", "point": "pull: after state"},
        {"do": "torn"},
    ],
    ids=lambda what: what.get("point", "") + str(what.get("spill", "")) or what["do"],
)
def test_sigkill(tmp_path, beside, what):
    store = LocalDirStore(tmp_path / "store")
    replica = new_replica(tmp_path / "a", store)
    commit(replica, [1, 2, 3], "first")
    push(replica)
    elsewhere = clone(tmp_path / "b", f"{store.url}#vol", settings=small_settings(), store=store)
    if what["do"] == "pull":
        commit(elsewhere, [3], "theirs")
        push(elsewhere)
    if not beside:
        leave(replica)
    dies(tmp_path / "a", store, **what)
    if not beside:
        replica = as_other_process(tmp_path / "a", store)
    begin(replica).close()
    expected = "first" if what["do"] in {"torn", "pull"} else "second"
    assert replica.snapshot().read(2) == body(512, 2, expected)
    assert replica.snapshot().read(3) == body(512, 3, "theirs" if what["do"] == "pull" else "first")
    commit(replica, [1], "last")
    push(replica)
    pull(elsewhere)
    assert content(elsewhere.snapshot()) == content(replica.snapshot())
    assert sum(entry.changed_pages for entry in log_entries(replica)) == {"torn": 4, "pull": 5}.get(what["do"], 5)
    leave(replica)
    leave(elsewhere)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_shares_no_lock_with_its_parent(tmp_path):
    store = LocalDirStore(tmp_path / "store")
    replica = new_replica(tmp_path / "a", store)
    commit(replica, [1], "first")
    transaction = replica.begin(replica.snapshot())
    child = os.fork()
    if not child:
        os._exit(_in_child(replica, store))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    transaction.write(1, body(512, 1, "second"))
    transaction.commit()
    transaction.close()
    assert replica.snapshot().read(1) == body(512, 1, "second")
    leave(replica)


def _in_child(replica, store):
    from graft.errors import BadRequest, WriterBusy
    from graft.replica import open_replica

    try:
        for use in (replica.snapshot, lambda: push(replica), lambda: commit(replica, [1], "child")):
            try:
                use()
            except BadRequest as error:
                assert "fork" in str(error)  # noqa: PT017 - no pytest in the child
            else:
                return 1
        own = open_replica(replica.path, settings=small_settings(), store=store)
        if own is replica:
            return 2
        try:
            own.begin(own.snapshot())
        except WriterBusy:
            own.close()
            return 0
        else:
            return 3
    except BaseException:  # noqa: BLE001 - nothing may leave the child
        return 4
