"""What a power cut leaves, against what docs/explanation/durability.md promises for each level.

A run is recorded; then the power is cut after each of its steps, with everything that was not synced lost in part
(tests/graft/power_cut.py). What opens again must be a version that was committed, none older than what was promised.
"""

import contextlib
import os
import random
import shutil
from dataclasses import dataclass
from unittest import mock

import pytest

from graft import periodic as housekeeper
from graft.errors import Diverged, LocalStorageError, NotAReplica
from graft.operations.hydrate import hydrate
from graft.operations.status import status
from graft.operations.verify import verify
from graft.replica.reclaim import reclaim
from graft.settings import Durability
from graft.sync.clone import clone, init
from graft.sync.commit import commit as commit_at
from graft.sync.pull import pull
from graft.sync.push import push
from tests.graft.power_cut import Recorder, state_after
from tests.graft.support import (
    as_other_process,
    begin,
    body,
    commit,
    content,
    fast_directory,
    fresh_store,
    leave,
    repeatable,
    small_settings,
)

PAGE = 512
CHOSEN = {
    "spill_bytes": 6 * PAGE, "journal_file_bytes": 8 * PAGE, "inline_bytes_max": 600, "frame_bytes": 2 * PAGE,
    "cache_bytes_max": 24 * PAGE, "cache_file_bytes": 6 * PAGE,
}  # fmt: skip


@dataclass
class Version:
    """A content, and the steps between which it came to be and was promised to stay."""

    content: bytes
    begun: int
    promised: int | None = None
    taken_back: int | None = None


class Run:
    """A replica whose every step is recorded, and a history of what its user was told."""

    runtime_of = staticmethod(repeatable)

    def __init__(self, path, seed):
        self.path, self.chance = path, random.Random(seed)
        self.store = fresh_store()
        self.runtime = self.runtime_of(f"run {seed}")
        self.recorder = Recorder(path, self.store, random.Random(f"beside {seed}"))
        self.tag = 0
        self.pulls = False

    def __enter__(self):
        self.recorder.__enter__()
        self.replica = init(
            self.path / "a", f"{self.store.url}#vol", page_size=PAGE, settings=small_settings(**CHOSEN),
            store=self.store, runtime=self.runtime,
        )  # fmt: skip
        self.versions = [Version(b"", 0, self.now)]
        return self

    def __exit__(self, *error):
        leave(self.replica)
        self.recorder.__exit__(*error)

    @property
    def now(self):
        return len(self.recorder.events)

    def commit(self, durability, *, pages=None, fails=None):
        self.tag += 1
        version = Version(b"", self.now)
        with begin(self.replica) as transaction:
            for page in pages or self.chance.sample(range(1, 12), self.chance.randint(1, 4)):
                transaction.write(page, body(PAGE, page, self.tag))
            version.content = b"".join(transaction.read(page) for page in range(1, transaction.page_count + 1))
            self.versions.append(version)
            if fails:
                with pytest.raises(LocalStorageError), fails:
                    commit_at(self.replica, transaction, durability)
                version.taken_back = self.now
                return
            commit_at(self.replica, transaction, durability)
        if durability is not Durability.RELAXED:
            version.promised = self.now

    def push(self):
        push(self.replica)
        self.versions[-1].promised = self.now

    def pull_theirs(self, elsewhere):
        """Somebody else pushes, and the replica takes it, with what it had itself given up."""
        self.pulls = True
        pull(elsewhere)
        commit(elsewhere, self.chance.sample(range(1, 12), 3), f"theirs {self.tag}")
        push(elsewhere)
        version = Version(content(elsewhere.snapshot()), self.now)
        self.versions.append(version)
        pull(self.replica, policy="discard")
        version.promised = self.now

    def allowed(self, cut):
        """The contents that may be found after ``cut`` steps."""
        kept = (index for index, version in enumerate(self.versions) if (version.promised or cut + 1) <= cut)
        promised = max(kept, default=0)
        return [
            version.content
            for version in self.versions[promised:]
            if version.begun < cut and (version.taken_back is None or cut < version.taken_back)
        ] or [self.versions[promised].content]

    def check(self, cut, seed, target):
        """Cut the power after ``cut`` steps, and check what opens."""
        store = state_after(self.recorder.events[:cut], self.path, target, random.Random(seed))
        try:
            replica = as_other_process(target / "a", store, runtime=repeatable(f"check {seed}"), **CHOSEN)
        except NotAReplica:
            assert cut < self.versions[0].promised, "a replica that was made is gone"
            return
        try:
            found = content(replica.snapshot())
            assert found in self.allowed(cut), f"{sorted(map(len, self.allowed(cut)))}, {len(found)}"
            self.goes_on(replica, store, target)
        finally:
            leave(replica)

    def goes_on(self, replica, store, target):
        """What was found can be written to and pushed, and nothing else comes up."""
        commit(replica, [2], "after", durability=Durability.RELAXED)
        after = content(replica.snapshot())
        assert not verify(replica).problems
        try:
            push(replica)
        except Diverged:
            assert self.pulls, "nobody else pushes"
            pull(replica, policy="discard")
            after = content(replica.snapshot())
            assert after in [version.content for version in self.versions]
        assert status(replica).local_commits == 0
        assert content(replica.snapshot()) == after
        with clone(target / "b", f"{store.url}#vol", settings=small_settings(), store=store) as elsewhere:
            assert content(elsewhere.snapshot()) == after


def failing_sync():
    """The sync of the record fails, the one of its wiping does not."""
    sync, errors = os.fdatasync, [OSError(5, "Input/output error")]

    def fdatasync(descriptor):
        if errors:
            raise errors.pop()
        sync(descriptor)

    return mock.patch.object(os, "fdatasync", fdatasync)


def mixed_run(run):
    levels = [Durability.RELAXED, Durability.RELAXED, Durability.LOCAL, Durability.REMOTE]
    for step in range(24):
        run.commit(run.chance.choice(levels))
        if step % 7 == 3:
            run.commit(Durability.RELAXED, pages=range(1, 10))  # spills
        if step % 6 == 5:
            run.push()
            reclaim(run.replica)
        if step % 11 == 10:
            run.commit(Durability.LOCAL, fails=failing_sync())
    run.push()


def local_run(run):
    for step in range(30):
        run.commit(Durability.LOCAL, pages=range(1, 9) if step == 17 else None)
        if step in {9, 23}:
            run.commit(Durability.LOCAL, fails=failing_sync())
        if step == 12:
            run.push()
            reclaim(run.replica)


def relaxed_run(run):
    for step in range(30):
        run.commit(Durability.RELAXED)
        if step in {8, 9, 20}:
            run.push()
            reclaim(run.replica)


def pulling_run(run):
    elsewhere = clone(
        run.path.parent / "b", f"{run.store.url}#vol", settings=small_settings(), store=run.store, runtime=run.runtime
    )
    with contextlib.closing(elsewhere):
        for step in range(6):
            for _ in range(run.chance.randint(0, 3)):
                run.commit(run.chance.choice([Durability.RELAXED, Durability.LOCAL]))
            if step % 2:
                run.push()
            run.pull_theirs(elsewhere)
            with contextlib.suppress(Exception):
                hydrate(run.replica)
            content(run.replica.snapshot())
            reclaim(run.replica)


RUNS = [mixed_run, local_run, relaxed_run, pulling_run]


def cut_everywhere(play, seed, *, times, every):
    with mock.patch.object(housekeeper, "_EVERY_S", 3600), fast_directory() as path:
        (path / "run").mkdir()
        with Run(path / "run", seed) as run:
            play(run)
            end = run.now
        for cut in range(1 + seed % every, end + 1, every):
            for time in range(times):
                target = path / "cut"
                try:
                    run.check(cut, f"{seed}/{cut}/{time}", target)
                except BaseException as error:
                    error.add_note(f"{play.__name__}, seed {seed}: cut after step {cut} of {end}, time {time}")
                    raise
                shutil.rmtree(target)


@pytest.mark.parametrize("play", RUNS)
def test_what_was_promised_survives_a_power_cut(play):
    cut_everywhere(play, 1, times=1, every=5)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("play", RUNS)
def test_what_was_promised_survives_many_power_cuts(play, seed):
    cut_everywhere(play, seed, times=6, every=1)
