"""Workers on one replica, as a web server has them: they write, read, push and pull, and are killed at any moment.

What each of them was told is checked against a serial history: the events by id.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from graft.operations.status import status
from graft.replica.opening import open_replica
from graft.settings import Durability
from graft.sync.clone import clone
from graft.sync.pull import pull
from graft.sync.push import push
from graft_sqlite_vfs import connect
from tests.e2e.web_worker import ACCOUNTS, SCHEMA, SETTINGS
from tests.graft.support import disk_bytes, fast_directory

ROOT = Path(__file__).parents[2]


@dataclass
class Write:
    worker: int
    n: int
    begun: int
    ended: int | None = None
    """None if its worker died before it was told."""
    event: int | None = None
    level: str | None = None


@dataclass
class Read:
    begun: int
    ended: int
    newest: int


class Site:
    """A master, its workers, and what they said."""

    def __init__(self, path, seed, *, preload):
        self.path, self.chance, self.preload = path / "app", random.Random(seed), preload
        self.remote = path / "bucket"
        self.writes, self.reads, self.pushes, self.workers = {}, [], [], {}
        self.started, self.kills, self.status, self.told = 0, 0, None, 0
        connection = connect(self.path, remote=self.remote, settings=SETTINGS)
        connection.execute(SCHEMA)
        connection.pragma("graft_push")
        connection.close()
        self.master = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.e2e.web_worker"], cwd=ROOT, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def start(self):
        self.started += 1
        self.tell(
            worker=self.started, seed=self.chance.random(), path=str(self.path), preload=self.preload,
            durability=self.chance.choice(["local", "local", "relaxed", "remote"]),
        )  # fmt: skip
        self.listen(lambda: self.started in self.workers)

    def kill(self, worker):
        self.kills += 1
        os.kill(self.workers[worker], signal.SIGKILL)
        assert self.ended(worker) == -signal.SIGKILL

    def end(self, worker):
        os.kill(self.workers[worker], signal.SIGTERM)
        assert self.ended(worker) == 0

    def ended(self, worker):
        process = self.workers.pop(worker)
        self.status = None
        self.tell(wait=process)
        self.listen(lambda: self.status is not None)
        return self.status

    def tell(self, **what):
        self.master.stdin.write(json.dumps(what) + "\n")
        self.master.stdin.flush()

    def listen(self, until):
        while not until():
            line = self.master.stdout.readline()
            assert line, "the master is gone"
            self.take(*json.loads(line))

    def take(self, kind, *said):
        match kind, said:
            case "started", [worker, process]:
                self.workers[worker] = process
            case "ended", [_, status]:
                self.status = status
            case "try", [worker, n, begun]:
                self.writes[worker, n] = Write(worker, n, begun)
            case "ack", [worker, n, begun, ended, event, level]:
                self.writes[worker, n] = Write(worker, n, begun, ended, event, level)
                self.told += 1
            case "read", [_, begun, ended, newest]:
                self.reads.append(Read(begun, ended, newest))
            case "failed", [trace]:
                raise AssertionError(trace)
            case "push", [_, begun, _]:
                self.pushes.append(begun)
            case _:
                raise AssertionError(f"{kind}, {said}")

    def acknowledged(self):
        return [write for write in self.writes.values() if write.ended is not None]

    def work(self, count):
        """Wait until ``count`` more writes are acknowledged."""
        goal = self.told + count
        self.listen(lambda: self.told >= goal)

    def close(self):
        self.master.stdin.close()
        self.master.wait()
        self.master.stdout.close()


class Elsewhere:
    """A replica on another machine, that only pulls: it sees a prefix of the history, and more each time."""

    def __init__(self, site, path):
        self.site = site
        self.replica = clone(path, f"{self.site.remote}#app", settings=SETTINGS)
        self.connection = connect(path, settings=SETTINGS)
        self.seen = []

    def look(self):
        pushed = max(self.site.pushes, default=0)
        must = [
            write.event
            for write in self.site.acknowledged()
            if write.ended < pushed or write.level == Durability.REMOTE
        ]
        pull(self.replica)
        self.seen = history(self.connection)
        assert len(self.seen) >= max(must, default=0), "what was pushed is not there"
        return self.seen

    def close(self):
        self.connection.close()
        self.replica.close()


def history(connection):
    """The events in order; one transaction."""
    assert connection.execute("SELECT sum(balance) FROM accounts").get == 100 * ACCOUNTS
    events = list(connection.execute("SELECT id, worker, n FROM events ORDER BY id"))
    assert [event for event, *_ in events] == list(range(1, len(events) + 1))
    return [(worker, n) for _, worker, n in events]


def check(site, found):
    """What the workers were told is what happened, in one order that time allows."""
    assert len(set(found)) == len(found), "an event happened twice"
    place = {event: number for number, event in enumerate(found, 1)}
    assert set(found) <= set(site.writes), "an event that nobody wrote"
    for write in site.acknowledged():
        assert place.get((write.worker, write.n)) == write.event, f"{write} is not there"
    begun = 0
    for event in found:
        write = site.writes[event]
        assert write.ended is None or write.ended >= begun, "an event comes after one that began when it had ended"
        begun = max(begun, write.begun)
    ends = sorted((write.ended, write.event) for write in site.acknowledged())
    newest, position = 0, 0
    for read in sorted(site.reads, key=lambda read: read.begun):
        while position < len(ends) and ends[position][0] < read.begun:
            newest, position = max(newest, ends[position][1]), position + 1
        assert read.newest >= newest, "a read that did not see what was committed before"
        assert not read.newest or site.writes[found[read.newest - 1]].begun < read.ended, "a read of the future"


def serve(path, seed, *, workers, kills, preload):
    with contextlib.closing(Site(path, seed, preload=preload)) as site:
        for _ in range(workers):
            site.start()
        with contextlib.closing(Elsewhere(site, path / "elsewhere")) as elsewhere:
            for _ in range(kills):
                site.work(site.chance.randint(1, 2 * workers))
                site.kill(site.chance.choice(list(site.workers)))
                site.start()
                if site.kills % 4 == 0:
                    elsewhere.look()
            site.work(workers)
            for worker in list(site.workers):
                site.end(worker)
            lost = [write for write in site.writes.values() if write.ended is None]
            assert len(lost) <= site.kills
            with (
                contextlib.closing(connect(site.path, settings=SETTINGS)) as connection,
                open_replica(site.path) as replica,
            ):
                found = history(connection)
                check(site, found)
                assert connection.pragma("integrity_check") == "ok"
                push(replica)
                assert status(replica).local_commits == 0
                assert not status(replica).push_open
            before = elsewhere.seen
            assert elsewhere.look() == found
            assert found[: len(before)] == before, "the remote's history is another one"
            assert elsewhere.connection.pragma("integrity_check") == "ok"
        assert not list((site.path / "journal").glob("*.tmp"))
        used = disk_bytes((site.path / "cache").glob("*.frames"))
        assert used <= SETTINGS.cache_bytes_max


@pytest.mark.parametrize("preload", [False, True], ids=["opened by workers", "opened before the fork too"])
def test_workers_that_are_killed_at_any_moment(preload):
    with fast_directory() as path:
        serve(path, 1, workers=4, kills=8, preload=preload)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(6))
def test_many_workers_that_are_killed_at_any_moment(seed):
    with fast_directory() as path:
        serve(path, f"long {seed}", workers=6, kills=120, preload=bool(seed % 2))
