"""A process that is killed for good while it works on documents; started by test_crashes.py.

It reads jobs from its input, one JSON object a line, does each in a child (a fork, so that nothing is imported twice),
and writes how the child ended: 0, or minus the signal that killed it.
"""

import json
import os
import signal
import sys
from pathlib import Path

from graft import failpoints as graft_failpoints
from graft.errors import GraftError
from sqlsync import failpoints
from sqlsync.coordination.coordinator import Coordinator
from sqlsync.coordination.local_link import LocalLink
from sqlsync.documents.document import Document
from sqlsync.errors import MutationRejected, SqlSyncError
from tests.graft.support import small_settings
from tests.sqlsync.simulation import LoggingNotes

CLIENTS = ("ann", "bob", "direct")
CALLS = [("put", "a"), ("append", "a"), ("take", "a"), ("remove", "b"), ("append", "b"), ("take", "c"), ("remove", "a")]


def work(directory, name, rounds, *, serve):
    """Call mutations as three clients, and apply them as a coordinator; ``told`` says what the callers were told."""
    with World(Path(directory), name, serve=serve) as world:
        for number in range(rounds):
            for place, client in enumerate(world.clients):
                world.mutate(client, number * len(CLIENTS) + place)
                world.quietly(client.sync)
                world.quietly(world.coordinator.step)
                world.quietly(client.sync)


def finish(directory, name, *, serve):
    """Bring everything to its end, and write down what came of it."""
    with World(Path(directory), name, serve=serve) as world:
        for _ in range(4):
            for client in world.clients:
                client.sync()
            while world.coordinator.step():
                pass
        ends = [
            {
                "applied": [uid for (uid,) in client.query("SELECT uid FROM applied ORDER BY place")],
                "notes": client.query("SELECT key, value FROM notes ORDER BY key"),
                "rejected": [refusal.mutation.body.arguments["uid"] for refusal in client.refusals()],
                "pending": len(client.pending()),
            }
            for client in world.clients
        ]
    (Path(directory) / f"end-{name}.json").write_text(json.dumps(ends))


class World:
    """A coordinator, two clients of it and a direct one, in one process; the remote is a directory."""

    def __init__(self, directory, name, *, serve):
        self.directory, self.name = directory, name
        where = {"remote": f"{directory / 'remote'}#doc", "settings": small_settings()}
        self.coordinator = Coordinator(directory / f"{name}-coordinator", reducer=LoggingNotes(), **where)
        self.clients = [
            Document(
                directory / f"{name}-{client}", reducer=LoggingNotes(), actor=f"{name}-{client}", on_rejected="keep",
                link=None if client == "direct" else LocalLink(self.coordinator), **where,
            )
            for client in CLIENTS[: 3 if serve else 2]
        ]  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for found in (*self.clients, self.coordinator):
            found.close()

    def mutate(self, client, number):
        name, key = CALLS[number % len(CALLS)]
        uid = f"{client._actor}/{number}"
        arguments = {"key": key, "uid": uid} | ({} if name == "remove" else {"value": f"<{uid}>"})
        try:
            client.mutate(name, **arguments)
        except MutationRejected:
            return
        self._told(uid)

    def quietly(self, do):
        """Somebody else may be faster."""
        try:
            do()
        except (GraftError, SqlSyncError):
            return

    def _told(self, uid):
        with (self.directory / f"told-{self.name}").open("a") as file:
            file.write(f"{uid}\n")


JOBS = {"work": work, "finish": finish}


def die_at(point, times):
    left = times

    def hook(name):
        nonlocal left
        if name == point:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    failpoints.set_failpoint_hook(hook)
    graft_failpoints.set_failpoint_hook(hook)


def child(job):
    die_at(job.pop("point", None), job.pop("times", 1))
    JOBS[job.pop("do")](**job)


def main():
    for line in sys.stdin:
        pids = []
        for job in json.loads(line):
            pid = os.fork()
            if pid == 0:
                try:
                    child(job)
                except BaseException:  # noqa: BLE001 - a child never goes on as the parent
                    sys.excepthook(*sys.exc_info())
                    os._exit(1)
                os._exit(0)
            pids.append(pid)
        ends = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        sys.stdout.write(json.dumps(ends) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
