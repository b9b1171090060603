"""A process that counts in a replica's first page, and now and then pushes; told how by one JSON argument.

Each commit adds one to the counter in page 1 and writes the same number to another page: a reader must never see the
two disagree. Says "ready" once it has the replica open, and "made" after its first commit. Goes on until its input
ends, then says how many commits it made.
"""

import contextlib
import json
import random
import select
import sys

from graft.errors import StaleSnapshot, WriterBusy
from graft.replica.opening import open_replica
from graft.settings import Durability
from graft.sync.pull import pull
from graft.sync.push import push
from pagestore.urls import open_store
from testbed.patience import PATIENCE_S
from tests.graft.support import small_settings


def main():
    told = json.loads(sys.argv[1])
    chance = random.Random(told["seed"])
    store = open_store(told["store"])
    replica = open_replica(told["path"], settings=small_settings(lock_timeout_s=PATIENCE_S), store=store)
    say("ready")
    sys.stdin.readline()
    made = seen = 0
    while not was_told_to_stop():
        snapshot = replica.snapshot()
        found = number(snapshot, 1)
        assert found >= seen, f"the counter went from {seen} back to {found}"
        assert number(snapshot, 2 + found % 7) == found, "half a commit"
        seen = found
        with contextlib.suppress(WriterBusy, StaleSnapshot):
            increment(replica, chance)
            made += 1
            seen += 1
            if made == 1:
                say("made")
        if chance.random() < told["pushes"]:
            push(replica)
        if chance.random() < told["pushes"] / 2:
            with contextlib.suppress(WriterBusy):
                pull(replica)
    say(json.dumps({"made": made, "seen": seen}))
    replica.close()


def was_told_to_stop():
    return bool(select.select([sys.stdin], [], [], 0)[0])


def say(text):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def increment(replica, chance):
    with replica.begin(replica.snapshot()) as transaction:
        value = number(transaction, 1) + 1
        data = value.to_bytes(8, "big") * (replica.page_size // 8)
        transaction.write(1, data)
        transaction.write(2 + value % 7, data)
        if chance.random() < 0.1:
            for page in range(20, 40):
                transaction.write(page, data)
        if chance.random() < 0.05:
            transaction.rollback()
            raise StaleSnapshot
        transaction.commit(chance.choice([Durability.RELAXED, Durability.RELAXED, Durability.LOCAL]))


def number(source, page):
    return int.from_bytes(source.read(page)[:8], "big")


if __name__ == "__main__":
    main()
