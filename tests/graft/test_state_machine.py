"""Replicas against the model: two directories of one volume, each open in up to two processes, in any order of events.

A second process is a second `Replica` object on the same directory: it has its own locks, maps and connections.
"""

import contextlib
import os
import shutil
from unittest import mock

import hypothesis
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from graft.building import consolidation
from graft.building.segment_builder import ReadingOrder
from graft.errors import BadRequest, Diverged, VersionCollected
from graft.operations.compact import compact
from graft.operations.hydrate import hydrate
from graft.operations.status import audit, status
from graft.operations.verify import verify
from graft.replica.reclaim import reclaim
from graft.retention.collect import collect
from graft.settings import Durability
from graft.sync.clone import clone
from graft.sync.commit import commit as commit_at
from graft.sync.fork import fork
from graft.sync.pull import fetch, pull
from graft.sync.push import push
from graft.sync.time_travel import snapshot_at
from tests.graft.model import Local, Remote, Version
from tests.graft.support import (
    as_other_process,
    body,
    fast_directory,
    fresh_store,
    kill,
    leave,
    new_replica,
    noisy_body,
    small_settings,
)

POOL = [*range(1, 8), *range(4094, 4100), *range(8191, 8195)]
"""Few pages, spread over three chunks and both borders between them."""
COUNTS = [0, 1, 2, 3, 5, 7, 4094, 4095, 4096, 4097, 4098, 8191, 8192, 8193, 8194]

_pages = st.sampled_from(POOL)
_write = st.tuples(st.just("write"), _pages)
_run = st.tuples(st.just("run"), st.sampled_from([1, 2, 3, 4094, 4095, 8191]), st.integers(1, 4))
_many = st.tuples(st.just("many"), st.lists(_pages, min_size=5, max_size=30))
_truncate = st.tuples(st.just("truncate"), st.sampled_from(COUNTS))
_shrink = st.tuples(st.just("shrink"), st.integers(0, 3000))
_regrow = st.tuples(st.just("regrow"), st.sampled_from(COUNTS))
_operations = st.lists(st.one_of(_write, _write, _run, _many, _truncate, _shrink, _regrow), min_size=1, max_size=6)
_directory = st.integers(0, 1)
_process = st.integers(0, 1)
_durability = st.sampled_from([Durability.RELAXED, Durability.RELAXED, Durability.LOCAL, Durability.REMOTE])


class Replicas(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self._resources = contextlib.ExitStack()
        self.root = self._resources.enter_context(fast_directory())
        self.store = fresh_store()
        self.tag = 0
        self.forks = 0
        self.kept = []
        """Snapshots that stay open: the replica object, the snapshot, and what it must show."""
        self.floor = 0
        """The oldest version that collections left, but for LSN 0."""
        self.begun_at = set()
        """Versions at which branches began: collections keep them."""
        self.open = {}
        self.locals = []

    @initialize(
        page_size=st.sampled_from([512, 512, 4096]),
        inline=st.sampled_from([0, 400, 32 * 1024]),
        spill=st.sampled_from([0, 2048, 1 << 20]),
        frame=st.sampled_from([512, 2048, 65536]),
        codec=st.sampled_from(["raw", "lz4", "zstd"]),
        one_frame=st.sampled_from([0, 4096, 65536]),
        roomy=st.booleans(),
        eager=st.booleans(),
        noisy=st.booleans(),
    )
    def start(self, page_size, inline, spill, frame, codec, one_frame, roomy, eager, noisy):
        self.page_size = page_size
        self.body = noisy_body if noisy else body
        self.eager = eager
        self.chosen = {
            "inline_bytes_max": inline, "spill_bytes": spill, "frame_bytes": frame,
            "codec": codec, "one_frame_bytes_max": one_frame,
            "cache_bytes_max": 200 * page_size if roomy else 6 * page_size + 16384, "cache_file_bytes": 2 * page_size,
            "journal_file_bytes": 8 * page_size,
        }  # fmt: skip
        self.remote = Remote([Version(page_size)])
        first = new_replica(self.root / "0", self.store, page_size=page_size, **self.chosen)
        second = clone(
            self.root / "1", f"{self.store.url}#vol", settings=small_settings(**self.chosen), store=self.store
        )
        self.open = {(0, 0): first, (1, 0): second}
        self.locals = [Local(), Local()]

    # what a user does

    @rule(
        directory=_directory,
        process=_process,
        operations=_operations,
        durability=_durability,
        end=st.sampled_from(["commit", "commit", "commit", "rollback", "twice", "kill"]),
        data=st.data(),
    )
    def write(self, directory, process, operations, durability, end, data):
        replica = self.replica(directory, process)
        local = self.locals[directory]
        base = local.content(self.remote)
        transaction = replica.begin(replica.snapshot())
        version = self.apply(transaction, base, operations)
        self.check_transaction(transaction, version)
        if end == "kill":
            self.forget(directory, process)
            kill(replica, transaction)
            return
        with transaction:
            if end == "rollback":
                transaction.rollback()
                self.check_transaction(transaction, base)
                return
            version = self.commit(transaction, local, base, version, durability)
            if end == "twice" and version is not None:
                again = self.apply(transaction, version, data.draw(_operations))
                self.commit(transaction, local, version, again, Durability.RELAXED)

    @rule(directory=_directory, process=_process)
    def push(self, directory, process):
        replica, local = self.replica(directory, process), self.locals[directory]
        before = local.lsn
        if local.push(self.remote):
            result = push(replica, message="a push")
            assert (result.before, result.after) == (before, local.lsn)
        else:
            with pytest.raises(Diverged):
                push(replica)

    @rule(directory=_directory, process=_process, policy=st.sampled_from(["abort", "abort", "discard", "fork"]))
    def pull(self, directory, process, policy):
        replica, local = self.replica(directory, process), self.locals[directory]
        before, mine, lsn = local.content(self.remote), bool(local.commits), local.lsn
        self.forks += 1
        name = f"fork{self.forks}"
        if not local.pull(self.remote, policy):
            with pytest.raises(Diverged):
                pull(replica, policy=policy, fork_name=name)
            return
        result = pull(replica, policy=policy, fork_name=name)
        assert result.after == local.lsn
        assert (result.forked_to == name) == (mine and policy == "fork")
        if result.forked_to:
            self.begun_at.add(lsn)
            self.check_fork(name, before)

    @rule(directory=_directory, process=_process, scattered=st.booleans(), interior=st.lists(_pages, max_size=3))
    def compact(self, directory, process, scattered, interior):
        replica, local = self.replica(directory, process), self.locals[directory]
        if local.commits or local.lsn != self.remote.head:
            with pytest.raises(BadRequest):
                compact(replica, scattered_only=scattered)
            return
        layout = (lambda _: ReadingOrder(interior)) if interior else None
        done = compact(replica, scattered_only=scattered, layout=layout)
        if done.after != done.before:
            assert local.compact(self.remote)
            # Else a push's frame may be larger, or the entry frame has one of its own.
            if self.chosen["one_frame_bytes_max"] <= self.chosen["frame_bytes"] and not interior:
                assert done.frames_after <= done.frames_before
        assert (done.after, replica.snapshot().lsn) == (local.lsn, local.lsn)
        self.check(replica.snapshot(), local.content(self.remote))

    @rule(directory=_directory, process=_process)
    def fetch(self, directory, process):
        replica = self.replica(directory, process)
        result = fetch(replica)
        assert (result.lsn, result.head) == (self.locals[directory].lsn, self.remote.head)
        assert status(replica).remote_head == self.remote.head

    @rule(directory=_directory, process=_process, data=st.data())
    def fork(self, directory, process, data):
        replica, local = self.replica(directory, process), self.locals[directory]
        at = data.draw(st.none() | st.integers(0, self.remote.head))
        self.forks += 1
        if self.is_collected(at):
            with pytest.raises(VersionCollected):
                fork(replica, f"fork{self.forks}", at=at)
            return
        fork(replica, f"fork{self.forks}", at=at)
        self.begun_at.add(local.lsn if at is None else at)
        self.check_fork(f"fork{self.forks}", local.content(self.remote) if at is None else self.remote.versions[at])

    @rule(directory=_directory, process=_process, data=st.data())
    def travel(self, directory, process, data):
        replica = self.replica(directory, process)
        lsn = data.draw(st.integers(0, self.remote.head))
        if self.is_collected(lsn):
            with pytest.raises(VersionCollected):
                snapshot_at(replica, lsn)
            return
        snapshot = snapshot_at(replica, lsn)
        assert snapshot.lsn == lsn
        self.check(snapshot, self.remote.versions[lsn])
        self.kept.append((replica, snapshot, self.remote.versions[lsn]))

    @rule(more=st.integers(0, 2))
    def collect(self, more):
        """Keep what the replicas are on, and a few versions more."""
        keep_last = self.remote.head - min(local.lsn for local in self.locals) + 1 + more
        done = collect(self.store.url, keep_last=keep_last, grace_s=0, store=self.store, settings=small_settings())
        self.floor = max(self.floor, self.remote.head - keep_last + 1)
        self.kept = [kept for kept in self.kept if not self.is_collected(kept[1].lsn)]
        assert not done.dry_run

    def is_collected(self, lsn):
        return lsn is not None and 0 < lsn < self.floor and lsn not in self.begun_at

    @rule(directory=_directory, process=_process)
    def hydrate(self, directory, process):
        with contextlib.suppress(BadRequest):  # the cache is too small
            replica = self.replica(directory, process)
            hydrate(replica)
            assert audit(replica).missing_pages == 0

    @rule(directory=_directory, process=_process)
    def reclaim(self, directory, process):
        reclaim(self.replica(directory, process))

    @rule(directory=_directory, process=_process)
    def look(self, directory, process):
        replica = self.replica(directory, process)
        snapshot, version = replica.snapshot(), self.locals[directory].content(self.remote)
        self.check_whole(snapshot, version)
        found = audit(replica)
        assert found.page_count == version.page_count
        assert found.live_pages == found.local_pages + found.cached_pages + found.missing_pages
        assert found.live_pages <= version.page_count
        assert not verify(replica).problems

    @rule(directory=_directory, process=_process)
    def keep_snapshot(self, directory, process):
        replica = self.replica(directory, process)
        self.kept.append((replica, replica.snapshot(), self.locals[directory].content(self.remote)))

    # what happens to processes and directories

    @rule(directory=_directory, process=_process)
    def close(self, directory, process):
        if (directory, process) in self.open:
            replica = self.open[directory, process]
            self.forget(directory, process)
            leave(replica)

    @rule(directory=_directory, process=_process)
    def kill(self, directory, process):
        if (directory, process) in self.open:
            replica = self.open[directory, process]
            self.forget(directory, process)
            kill(replica)

    @rule(directory=_directory)
    def lose_cache(self, directory):
        if not any(place[0] == directory for place in self.open):
            shutil.rmtree(self.root / str(directory) / "cache", ignore_errors=True)

    # what must hold

    @invariant()
    def replicas_equal_the_model(self):
        for (directory, _), replica in self.open.items():
            local = self.locals[directory]
            version = local.content(self.remote)
            snapshot = replica.snapshot()
            assert snapshot.lsn == local.lsn
            assert snapshot.local_commits == len(local.commits)
            assert (snapshot.byte_size, snapshot.page_count) == (version.byte_size, version.page_count)
            if self.eager:
                self.check(snapshot, version)

    @invariant()
    def kept_snapshots_stay(self):
        if self.eager:
            for _, snapshot, version in self.kept[-3:]:
                self.check(snapshot, version)

    def teardown(self):
        for directory in range(len(self.locals)):
            self.check_whole(self.replica(directory, 0).snapshot(), self.locals[directory].content(self.remote))
        for _, snapshot, version in self.kept:
            self.check(snapshot, version)
        for replica in self.open.values():
            leave(replica)
        self._resources.close()

    # how it is done

    def replica(self, directory, process):
        """The replica as that process sees it, opened if need be."""
        place = directory, process
        if place not in self.open:
            self.open[place] = as_other_process(self.root / str(directory), self.store, **self.chosen)
        return self.open[place]

    def forget(self, directory, process):
        gone = self.open.pop((directory, process))
        self.kept = [kept for kept in self.kept if kept[0] is not gone]

    def apply(self, transaction, version, operations):
        size = self.page_size
        for operation, *arguments in operations:
            self.tag += 1
            match operation, arguments:
                case "write", [page]:
                    transaction.write(page, self.body(size, page, self.tag))
                    version = version.written(page, self.body(size, page, self.tag))
                case "many", [pages]:
                    for page in pages:
                        transaction.write(page, self.body(size, page, self.tag))
                        version = version.written(page, self.body(size, page, self.tag))
                case "run", [first, count]:
                    bodies = [self.body(size, page, self.tag) for page in range(first, first + count)]
                    transaction.write_run(first, b"".join(bodies))
                    for page, data in enumerate(bodies, first):
                        version = version.written(page, data)
                case (("truncate" | "regrow"), [count]):
                    transaction.truncate(count)
                    version = version.resized(count * size)
                case "shrink", [count]:
                    transaction.resize(max(0, transaction.byte_size - count))
                    version = version.resized(max(0, version.byte_size - count))
        return version

    def commit(self, transaction, local, base, version, durability):
        """Commit, if the model can; return the content that the transaction goes on from."""
        changed = version != base or transaction.dirty
        if changed and durability is Durability.REMOTE and local.lsn != self.remote.head:
            with pytest.raises(Diverged):
                commit_at(transaction._replica, transaction, durability)
            self.check_transaction(transaction, version)
            return None
        snapshot = commit_at(transaction._replica, transaction, durability)
        if changed:
            local.commits.append(version)
            if durability is Durability.REMOTE:
                assert local.push(self.remote)
        self.check(snapshot, version)
        self.check_transaction(transaction, version)
        return version

    def check_transaction(self, transaction, version):
        assert transaction.byte_size == version.byte_size
        for page in POOL:
            if page <= version.page_count:
                assert transaction.read(page) == version.page(page)

    def check(self, snapshot, version):
        """All pages that were ever written; that the map names no others is for `check_whole`."""
        assert snapshot.byte_size == version.byte_size
        for page in POOL:
            assert snapshot.read(page) == version.page(page), f"page {page}"

    def check_whole(self, snapshot, version):
        self.check(snapshot, version)
        snapshot.prefetch(page for page in POOL if page <= snapshot.page_count)
        for number, chunk in enumerate(snapshot.page_map.chunks):
            live = np.flatnonzero(chunk.locations()) + number * 4096 + 1
            assert set(live.tolist()) <= set(version.pages)
        for page in range(1, snapshot.page_count + 1, 1 if os.environ.get("GRAFT_TEST_WHOLE") else 97):
            assert snapshot.read(page) == version.page(page)

    def check_fork(self, name, version):
        path = self.root / name
        with clone(
            path, f"{self.store.url}#{name}", settings=small_settings(**self.chosen), store=self.store
        ) as forked:
            self.check(forked.snapshot(), version)
            assert forked.snapshot().local_commits == 0
        shutil.rmtree(path)


_quick = settings(
    max_examples=200, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)


class TestReplicas(Replicas.TestCase):
    settings = settings(_quick, phases=[hypothesis.Phase.explicit, hypothesis.Phase.reuse, hypothesis.Phase.generate])


@pytest.mark.long
class TestReplicasAtLength(Replicas.TestCase):
    settings = settings(_quick, max_examples=1500, stateful_step_count=60)


class CarryingReplicas(Replicas):
    """Every second push carries, so that short histories do at several levels."""

    def __init__(self):
        super().__init__()
        self._resources.enter_context(mock.patch.object(consolidation, "RADIX", 2))


class TestReplicasThatCarry(CarryingReplicas.TestCase):
    settings = settings(_quick, max_examples=60, phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate])


@pytest.mark.long
class TestReplicasThatCarryAtLength(CarryingReplicas.TestCase):
    settings = settings(_quick, max_examples=1500, stateful_step_count=60)


class DifferingReplicas(Replicas):
    """The volume is in a segment of its own, and pushes are too long for their commits but for differences."""

    @initialize(inline=st.sampled_from([1000, 1700]), frame=st.sampled_from([512, 2048, 65536]), roomy=st.booleans())
    def start(self, inline, frame, roomy):
        super().start(
            page_size=512, inline=inline, spill=1 << 20, frame=frame, codec="zstd", one_frame=0, roomy=roomy,
            eager=False, noisy=True,
        )  # fmt: skip
        replica, local = self.replica(0, 0), self.locals[0]
        base = local.content(self.remote)
        with replica.begin(replica.snapshot()) as transaction:
            version = self.apply(transaction, base, [("many", POOL)])
            self.commit(transaction, local, base, version, Durability.LOCAL)
        self.push(directory=0, process=0)
        self.pull(directory=1, process=0, policy="abort")

    @rule(directory=_directory, process=_process, pages=st.lists(_pages, min_size=3, max_size=6))
    def change(self, directory, process, pages):
        operations = [("write", page) for page in pages]
        self.write(directory, process, operations, Durability.RELAXED, "commit", None)
        self.push(directory=directory, process=process)

    @rule()
    def read_afresh(self):
        self.check_fork("vol", self.remote.versions[self.remote.head])


class TestReplicasWithDifferences(DifferingReplicas.TestCase):
    settings = settings(_quick, max_examples=40, phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate])


@pytest.mark.long
class TestReplicasWithDifferencesAtLength(DifferingReplicas.TestCase):
    settings = settings(_quick, max_examples=1500, stateful_step_count=60)
