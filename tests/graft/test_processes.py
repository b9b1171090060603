"""Several processes and threads on one replica: nothing is lost, nobody sees half a commit, the dead block nobody."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from graft.operations.status import status
from graft.sync.clone import clone
from graft.sync.push import push
from pagestore.stores.local_dir import LocalDirStore
from testbed.patience import PATIENCE_S
from tests.graft.contender import number
from tests.graft.support import (
    as_other_process,
    begin,
    body,
    commit,
    content,
    disk_bytes,
    failpoint_hook,
    fast_directory,
    fresh_store,
    leave,
    new_replica,
    small_settings,
)

ROOT = Path(__file__).parents[2]


class Contenders:
    def __init__(self, path, store, seeds):
        told = {"path": str(path), "store": store.url, "pushes": 0.02}
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "tests.graft.contender", json.dumps({**told, "seed": seed})],
                cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
            for seed in seeds
        ]  # fmt: skip

    def go(self):
        for process in self.processes:
            assert process.stdout.readline() == "ready\n", process.stderr.read()
        for process in self.processes:
            process.stdin.write("\n")
            process.stdin.flush()

    def stop(self):
        """Let each of them end after it has made a commit."""
        for process in self.processes:
            assert process.stdout.readline() == "made\n", process.stderr.read()
        for process in self.processes:
            process.stdin.close()
            process.stdin = None

    def results(self):
        found = []
        for process in self.processes:
            out, err = process.communicate(timeout=PATIENCE_S)
            if process.returncode != -9:
                assert process.returncode == 0, err
                found.append(json.loads(out))
        return found


@pytest.fixture
def tmp_path():
    with fast_directory() as path:
        yield path


@pytest.fixture
def store(tmp_path):
    return LocalDirStore(tmp_path / "store")


def test_every_commit_counts_once(tmp_path, store):
    replica = new_replica(tmp_path / "a", store)
    contenders = Contenders(tmp_path / "a", store, range(4))
    contenders.go()
    while number(replica.snapshot(), 1) < 200:
        assert all(process.poll() is None for process in contenders.processes)
    contenders.stop()
    results = contenders.results()
    made = sum(result["made"] for result in results)
    assert made >= 200
    assert min(result["made"] for result in results) > 0
    assert number(replica.snapshot(), 1) == made
    push(replica)
    assert status(replica).local_commits == 0
    with clone(tmp_path / "b", f"{store.url}#vol", store=store) as elsewhere:
        assert number(elsewhere.snapshot(), 1) == made
        assert content(elsewhere.snapshot()) == content(replica.snapshot())
    leave(replica)
    with_again = as_other_process(tmp_path / "a", store)
    assert number(with_again.snapshot(), 1) == made
    leave(with_again)


def test_the_killed_block_nobody(tmp_path, store):
    replica = new_replica(tmp_path / "a", store)
    commits = 0
    for round_ in range(3):
        contenders = Contenders(tmp_path / "a", store, (round_, round_ + 3))
        contenders.go()
        goal = number(replica.snapshot(), 1) + 15
        while number(replica.snapshot(), 1) < goal:
            assert all(process.poll() is None for process in contenders.processes)
        for process in contenders.processes:
            process.kill()
        assert contenders.results() == []
        before = number(replica.snapshot(), 1)
        with begin(replica) as transaction:
            found = number(transaction, 1)
            assert found - before in {0, 1, 2}, "what a dying writer had in the journal"
            data = (found + 1).to_bytes(8, "big") * 64
            transaction.write(1, data)
            transaction.write(2 + (found + 1) % 7, data)
            transaction.commit()
        push(replica)
        commits = found + 1
    with clone(tmp_path / "b", f"{store.url}#vol", store=store) as elsewhere:
        assert number(elsewhere.snapshot(), 1) == commits
    leave(replica)


@pytest.mark.parametrize("spill", [0, 1 << 20], ids=["spilled", "in memory"])
def test_a_commit_of_another_process_during_a_push_stays(tmp_path, spill):
    """The files of what was pushed are deleted; the newest one may be newer than anything that the pusher has read."""
    store = fresh_store()
    pusher = new_replica(tmp_path / "a", store)
    other = as_other_process(tmp_path / "a", store, spill_bytes=spill)
    for round_ in range(1, 6):
        commit(pusher, [1], f"before {round_}")

        def hook(point, round_=round_):
            if point == "push: after append":
                commit(other, [2], f"meanwhile {round_}")

        with failpoint_hook(hook):
            push(pusher)
        for replica in (pusher, other):
            assert replica.snapshot().read(2) == body(512, 2, f"meanwhile {round_}")
            assert status(replica).local_commits == 1
    for replica in (pusher, other):
        leave(replica)
    again = as_other_process(tmp_path / "a", store)
    assert again.snapshot().read(2) == body(512, 2, "meanwhile 5")
    leave(again)


def test_threads_read_while_the_cache_is_emptied_under_them(tmp_path):
    """A body may be detached between the look and the use: it must be fetched again, never missed or mixed up."""
    store = fresh_store()
    writer = new_replica(tmp_path / "w", store, inline_bytes_max=0)
    pages = range(1, 200)
    commit(writer, pages, "first")
    push(writer)
    expected = [bytes(writer.snapshot().read(page)) for page in pages]
    reader = clone(
        tmp_path / "r", f"{store.url}#vol",
        settings=small_settings(cache_bytes_max=8 * 1024, cache_file_bytes=4 * 1024, frame_bytes=1024), store=store,
    )  # fmt: skip
    other = as_other_process(tmp_path / "r", store, cache_bytes_max=8 * 1024, cache_file_bytes=4 * 1024)
    errors = []

    def read(replica, step):
        try:
            for round_ in range(4):
                for offset in range(len(expected)):
                    index = (offset * step + round_) % len(expected)
                    assert replica.snapshot().read(index + 1) == expected[index]
        except BaseException as error:
            errors.append(error)
            raise

    threads = [
        threading.Thread(target=read, args=(replica, step)) for step in (1, 7, 13) for replica in (reader, other)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert not errors
    assert disk_bytes((tmp_path / "r" / "cache").glob("*.frames")) <= 24 * 1024
    for replica in (writer, reader, other):
        leave(replica)


def test_threads_commit_and_push_at_once(tmp_path):
    """The journal is read, written and deleted by three threads."""
    store = fresh_store()
    replica = new_replica(tmp_path / "a", store, lock_timeout_s=20)
    done, errors = threading.Event(), []

    def pushing():
        try:
            while not done.is_set():
                push(replica)
        except BaseException as error:
            errors.append(error)
            raise

    def reading():
        try:
            seen = 0
            while not done.is_set():
                snapshot = replica.snapshot()
                found = number(snapshot, 1)
                assert found >= seen
                assert number(snapshot, 2) == found
                seen = found
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=target) for target in (pushing, reading)]
    for thread in threads:
        thread.start()
    try:
        for value in range(1, 200):
            with replica.begin(replica.snapshot()) as transaction:
                for page in (1, 2):
                    transaction.write(page, value.to_bytes(8, "big") * 64)
                transaction.commit()
    finally:
        done.set()
        for thread in threads:
            thread.join(PATIENCE_S)
    assert not errors
    assert number(replica.snapshot(), 1) == 199
    leave(replica)
    again = as_other_process(tmp_path / "a", store)
    assert number(again.snapshot(), 1) == 199
    leave(again)
