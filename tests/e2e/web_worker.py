"""A master that forks workers on one replica, as web servers do; each works until it is killed or told to end.

The master reads one JSON line per worker to start, and one per worker to wait for. What a worker did, it says in JSON
lines on the standard output that all share: before each write, and after each write, read and push, with the moments
(monotonic, ns) between which it happened. What was said stays said when its author is killed.
"""

import json
import os
import random
import signal
import sys
import time
import traceback

from graft.settings import Settings
from graft_sqlite_vfs import connect

SETTINGS = Settings(cache_bytes_max=1 << 20, journal_file_bytes=64 << 10, spill_bytes=32 << 10, lock_timeout_s=120)
ACCOUNTS = 8
SCHEMA = f"""
CREATE TABLE events(id INTEGER PRIMARY KEY AUTOINCREMENT, worker INTEGER, n INTEGER, filler TEXT);
CREATE INDEX events_by_worker ON events(worker, n);
CREATE TABLE accounts(id INTEGER PRIMARY KEY, balance INTEGER);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ACCOUNTS})
INSERT INTO accounts SELECT i, 100 FROM n;
"""


def say(*what):
    os.write(1, (json.dumps(what) + "\n").encode())


def main():
    kept = []
    for line in sys.stdin:
        told = json.loads(line)
        if "wait" in told:
            say("ended", told["wait"], os.waitstatus_to_exitcode(os.waitpid(told["wait"], 0)[1]))
            continue
        if told["preload"] and not kept:  # an application that opens its database before it forks
            kept.append(connect(told["path"], settings=SETTINGS))
            kept[0].execute("SELECT count(*) FROM events").get  # noqa: B018
        child = os.fork()
        if not child:
            status = 1
            try:
                Worker(told).work()
                status = 0
            except BaseException:  # noqa: BLE001 - nothing may leave the child
                say("failed", traceback.format_exc())
            finally:
                os._exit(status)
        say("started", told["worker"], child)


class Worker:
    def __init__(self, told):
        self.number = told["worker"]
        self.chance = random.Random(told["seed"])
        self.n = 0
        self.going = True
        signal.signal(signal.SIGTERM, self.end)
        self.path, self.level = told["path"], told["durability"]
        self.connection = connect(told["path"], durability=self.level, settings=SETTINGS)
        self.connection.set_busy_timeout(300_000)

    def end(self, *_):
        self.going = False

    def work(self):
        while self.going:
            self.chance.choices([self.write, self.read, self.push, self.pull, self.reopened], [60, 25, 10, 4, 1])[0]()
        self.connection.close()

    def write(self):
        self.n += 1
        begun = time.monotonic_ns()
        say("try", self.number, self.n, begun)
        event = self.number, self.n, "x" * self.chance.choice([10, 10, 10, 9000, 90_000])
        if self.chance.random() < 0.5:  # plain autocommit
            self.connection.execute("INSERT INTO events(worker, n, filler) VALUES (?, ?, ?)", event)
            found = self.connection.last_insert_rowid()
        else:
            found = self.transfer(event)
        say("ack", self.number, self.n, begun, time.monotonic_ns(), found, self.level)

    def transfer(self, event):
        amount, *accounts = self.chance.randint(1, 9), *self.chance.sample(range(1, ACCOUNTS + 1), 2)
        self.connection.execute("BEGIN IMMEDIATE")
        self.connection.execute("UPDATE accounts SET balance = balance - ? WHERE id = ?", (amount, accounts[0]))
        self.connection.execute("INSERT INTO events(worker, n, filler) VALUES (?, ?, ?)", event)
        found = self.connection.last_insert_rowid()
        self.connection.execute("UPDATE accounts SET balance = balance + ? WHERE id = ?", (amount, accounts[1]))
        self.connection.execute("COMMIT")
        return found

    def read(self):
        begun = time.monotonic_ns()
        self.connection.execute("BEGIN")
        first = self.look()
        again = self.look()
        self.connection.execute("COMMIT")
        assert first == again, "a read transaction saw two versions"
        newest, count, total, length = first
        assert newest == count, "an event is missing"
        assert total == 100 * ACCOUNTS, "half a transaction"
        assert length >= 10 * count
        say("read", self.number, begun, time.monotonic_ns(), newest)

    def look(self):
        return self.connection.execute(
            "SELECT coalesce(max(id), 0), count(*), (SELECT sum(balance) FROM accounts), "
            "coalesce(sum(length(filler)), 0) FROM events"
        ).fetchone()

    def push(self):
        begun = time.monotonic_ns()
        self.connection.pragma("graft_push")
        say("push", self.number, begun, time.monotonic_ns())

    def pull(self):
        self.connection.pragma("graft_pull")

    def reopened(self):
        self.connection.close()
        self.connection = connect(self.path, durability=self.level, settings=SETTINGS)


if __name__ == "__main__":
    main()
