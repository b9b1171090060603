"""Opens a replica, does something, and kills itself with SIGKILL in the middle; told how by one JSON argument."""

import json
import os
import signal
import sys

from graft import journal_files
from graft.failpoints import set_failpoint_hook
from graft.pull import pull
from graft.push import push
from graft.replica import open_replica
from pagestore.urls import open_store
from tests.graft.support import commit, small_settings


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def main():
    told = json.loads(sys.argv[1])
    store = open_store(told["store"])
    replica = open_replica(told["path"], settings=small_settings(spill_bytes=told.get("spill", 1 << 20)), store=store)
    if told["do"] == "torn":
        write = os.pwritev
        journal_files.os.pwritev = lambda descriptor, parts, position: (
            write(descriptor, [b"".join(parts)[:300]], position),
            die(),
        )
    else:
        set_failpoint_hook(lambda name: die() if name == told["point"] else None)
    if told["do"] != "pull":
        commit(replica, [2], "second")
    if told["do"] == "push":
        push(replica)
    if told["do"] == "pull":
        pull(replica)


if __name__ == "__main__":
    main()
