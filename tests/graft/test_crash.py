"""A process that dies at any named point: what was promised is there, once, and the next push settles the rest."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from graft.errors import Diverged
from graft.failpoints import FAILPOINTS
from graft.operations.log import log_entries
from graft.operations.status import status
from graft.operations.verify import verify
from graft.settings import Durability
from graft.sync.clone import clone
from graft.sync.commit import commit as commit_at
from graft.sync.pull import pull
from graft.sync.push import push
from pagestore.stores.local_dir import LocalDirStore
from tests.graft.crash_worker import CHOSEN, STEPS
from tests.graft.model import Version
from tests.graft.support import (
    Killed,
    as_other_process,
    begin,
    body,
    commit,
    content,
    disk_bytes,
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
REPLICA_POINTS = [point for point in FAILPOINTS if not point.startswith(("gc", "rm", "mv", "cp"))]
"""Those of one replica's life; tests/graft/retention has the others."""
PULL_POINTS = [point for point in FAILPOINTS if point.startswith("pull")]
SPILLS = {"in memory": 1 << 20, "spilled": 0}


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
        transaction.take_back = lambda commit: None
        commit_at(replica, transaction, durability)
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
        transaction.take_back = lambda commit: None
        commit_at(replica, transaction, Durability.REMOTE)
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
    else:  # the state has moved; the next writer must build on that
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
        transaction.take_back = lambda commit: None
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


class Zygote:
    """A process that forks others which die as told."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.graft.crash_worker"], cwd=ROOT, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def runs(self, **told):
        """Return the exit status of a child."""
        self.process.stdin.write(json.dumps(told) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def dies(self, **told):
        assert self.runs(**told) == -signal.SIGKILL

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="module")
def zygote():
    with contextlib.closing(Zygote()) as made:
        yield made


class Life:
    """A directory in which a process takes the steps of the worker, and what it must hold after each of them."""

    def __init__(self, path, *, beside):
        path.mkdir()
        self.path, self.store = path, LocalDirStore(path / "store")
        first = new_replica(path / "a", self.store, **CHOSEN)
        self.other = first if beside else None
        if not beside:
            leave(first)

    @staticmethod
    def contents():
        """The local content and the remote one, before the first step and after each."""
        local = remote = Version(512)
        yield local, remote
        for number, step in enumerate(STEPS):
            if step[0] in {"commit", "theirs"}:
                changed = local if step[0] == "commit" else remote
                for page in step[1]:
                    changed = changed.written(page, body(512, page, number))
                local, remote = (changed, remote) if step[0] == "commit" else (local, changed)
            if step[0] == "shrink":
                local = local.resized(step[1] * 512)
            if step[0] == "push" or step[-1] == "remote":
                remote = local
            if step[0] == "pull":
                local = remote
            yield local, remote

    def survives(self):
        """What is there after the death is what was there before or after the step that it came in."""
        contents = list(self.contents())
        done = self.path / "done"
        taken = len(done.read_bytes().splitlines()) if done.exists() else 0
        before, after = contents[taken], contents[min(taken + 1, len(STEPS))]
        replica = self.other or as_other_process(self.path / "a", self.store, **CHOSEN)
        try:
            begin(replica).close()  # the next writer takes in what is whole
            found = self.whole(replica)
            assert found in (before[0], after[0])
            try:
                push(replica)
            except Diverged:
                assert before[0] != before[1]
                pull(replica, policy="discard")
                assert self.whole(replica) in (before[1], after[1])
            else:
                assert self.whole(replica) == found
                pull(replica)
                assert self.whole(replica) in (found, before[1], after[1])
            assert not status(replica).push_open
            self.goes_on(replica)
        finally:
            leave(replica)

    def goes_on(self, replica):
        commit(replica, [2, 50], "after")
        push(replica)
        assert not verify(replica).problems
        with clone(self.path / "b", f"{self.store.url}#vol", settings=small_settings(), store=self.store) as elsewhere:
            pull(replica)
            assert self.whole(elsewhere) == self.whole(replica)
        content(replica.snapshot())
        cache = self.path / "a" / "cache"
        assert disk_bytes(cache.glob("*.frames")) <= CHOSEN["cache_bytes_max"] + 4096 * 6
        assert len(list(cache.glob("*.frames"))) <= 6
        assert not list((self.path / "a" / "journal").glob("*.tmp"))

    def whole(self, replica):
        snapshot = replica.snapshot()
        pages = {page: bytes(snapshot.read(page)) for page in range(1, snapshot.page_count + 1)}
        return Version(512, snapshot.byte_size, {page: data for page, data in pages.items() if any(data)})


@pytest.fixture(scope="module")
def passed(zygote, tmp_path_factory):
    """How often each point is passed in a life that nothing cuts short."""
    with fast_directory() as path:
        life = Life(path / "life", beside=False)
        assert zygote.runs(do="steps", path=str(life.path), store=life.store.url) == 0
        found = json.loads((life.path / "passed").read_text())
        life.survives()
    return found


def test_the_steps_pass_every_failpoint(passed):
    assert set(passed) == set(REPLICA_POINTS)


@pytest.mark.parametrize("point", REPLICA_POINTS)
def test_sigkill_at(point, zygote, passed, tmp_path, beside):
    _killed(zygote, tmp_path, point, beside, [(passed[point] + 1) // 2] if beside else sorted({1, passed[point]}))


@pytest.mark.long
@pytest.mark.parametrize("point", REPLICA_POINTS)
def test_sigkill_at_every_passing_of(point, zygote, passed, tmp_path, beside):
    _killed(zygote, tmp_path, point, beside, range(1, passed[point] + 1))


def _killed(zygote, path, point, beside, passings):
    for wanted in passings:
        # Threads of its own decide with the clock how often a life comes by some points: once at least.
        for times in range(wanted, 0, -1):
            life = Life(path / f"life{wanted}-{times}", beside=beside)
            ended = zygote.runs(do="steps", path=str(life.path), store=life.store.url, point=point, times=times)
            life.survives()
            if ended == -signal.SIGKILL:
                break
            assert ended == 0
        else:
            pytest.fail(f"no life came by {point!r}")


def test_sigkill_in_the_middle_of_a_write(tmp_path, zygote, beside):
    store = LocalDirStore(tmp_path / "store")
    replica = new_replica(tmp_path / "a", store)
    commit(replica, [1, 2, 3], "first")
    if not beside:
        leave(replica)
    zygote.dies(do="torn", path=str(tmp_path / "a"), store=store.url)
    if not beside:
        replica = as_other_process(tmp_path / "a", store)
    begin(replica).close()
    assert [replica.snapshot().read(page) for page in (1, 2, 3)] == [body(512, page, "first") for page in (1, 2, 3)]
    commit(replica, [1], "last")
    assert replica.snapshot().read(1) == body(512, 1, "last")
    leave(replica)


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
    from graft.replica.opening import open_replica

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
