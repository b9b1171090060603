"""Forks children that do something with a replica and kill themselves with SIGKILL at a named point.

Reads one JSON line per child and answers with one: its exit status. A child says what it has done by a line in a file
after each step, written before the next one begins.
"""

import json
import os
import signal
import sys
import traceback
from collections import Counter
from pathlib import Path

from graft.disk import files as journal_files
from graft.failpoints import set_failpoint_hook
from graft.operations.compact import compact
from graft.replica.opening import open_replica
from graft.replica.reclaim import reclaim
from graft.settings import Durability
from graft.sync.clone import clone
from graft.sync.pull import pull
from graft.sync.push import push
from pagestore.urls import open_store
from tests.graft.support import commit, content, leave, small_settings

LARGE = range(1, 30)
STEPS = [
    ("commit", [1, 2, 3], "local"),
    ("push",),
    ("commit", LARGE, "relaxed"),
    ("commit", [2, 40], "local"),
    ("push",),
    ("read",),
    ("commit", [5, 6], "remote"),
    ("theirs", [1, 7]),
    ("pull",),
    ("read",),
    *[("commit", [4, 8, step % 30 + 1], "relaxed") for step in range(12)],
    ("commit", range(10, 22), "local"),
    *[("commit", [9, 41], "local") for step in range(10)],
    ("push",),
    ("reclaim",),
    ("theirs", range(3, 35)),
    ("pull",),
    ("read",),
    ("reclaim",),
    ("compact",),
    ("shrink", 3),
    ("push",),
    ("reclaim",),
    ("commit", [3], "local"),
]
"""Reaches every failpoint, most of them several times."""

CHOSEN = {
    "spill_bytes": 20 * 512, "journal_file_bytes": 14 * 512, "inline_bytes_max": 1200, "frame_bytes": 4 * 512,
    "cache_bytes_max": 24 * 512, "cache_file_bytes": 6 * 512, "lock_timeout_s": 20,
}  # fmt: skip


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def main():
    for line in sys.stdin:
        told = json.loads(line)
        child = os.fork()
        if not child:
            try:
                globals()[told["do"]](told)
            except BaseException as error:  # noqa: BLE001 - nothing may leave the child
                traceback.print_exception(error)
                os._exit(1)
            os._exit(0)
        sys.stdout.write(json.dumps(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])) + "\n")
        sys.stdout.flush()


def steps(told):
    """All of `STEPS`, until ``point`` is passed for the ``times``-th time; without a point, count what is passed."""
    store = open_store(told["store"])
    passed = Counter()

    def hook(name):
        passed[name] += 1
        if name == told.get("point") and passed[name] == told["times"]:
            die()

    replica = open_replica(told["path"] + "/a", settings=small_settings(**CHOSEN), store=store)
    with Path(told["path"], "done").open("ab", buffering=0) as done:
        for number, step in enumerate(STEPS):
            elsewhere = None
            if step[0] == "theirs":
                elsewhere = clone(
                    f"{told['path']}/their{number}", f"{store.url}#vol", settings=small_settings(**CHOSEN), store=store
                )
            set_failpoint_hook(hook if elsewhere is None else None)
            take(replica, elsewhere, number, step)
            done.write(b"step\n")
        set_failpoint_hook(None)
    Path(told["path"], "passed").write_text(json.dumps(passed))
    replica.close()


def take(replica, elsewhere, number, step):
    match step:
        case ("commit", pages, durability):
            commit(replica, pages, number, durability=Durability(durability))
        case ("shrink", count):
            commit(replica, [], number, page_count=count)
        case ("push",):
            push(replica)
        case ("pull",):
            pull(replica)
        case ("compact",):
            compact(replica)
        case ("reclaim",):
            reclaim(replica)
        case ("read",):
            content(replica.snapshot())
        case ("theirs", pages):
            commit(elsewhere, pages, number)
            push(elsewhere)
            leave(elsewhere)


def torn(told):
    """A commit of which only the beginning is written."""
    replica = open_replica(told["path"], settings=small_settings(spill_bytes=1 << 20), store=open_store(told["store"]))
    write = os.pwritev
    journal_files.os.pwritev = lambda descriptor, parts, position: (
        write(descriptor, [b"".join(parts)[:300]], position),
        die(),
    )
    commit(replica, [2], "second")


if __name__ == "__main__":
    main()
