"""The server's maintenance: what it does at each turn, and what it says of a remote that fails."""

import logging
from contextlib import closing

from graft.remote.address import parse_remote
from graft.settings import Settings
from graft.sync.clone import init
from graft.sync.push import push
from graft_server.maintenance import Maintenance
from metastore.collected import read_remaining
from pagestore.stores.memory import MemoryStore
from pagestore.testing import FaultyStore


def test_old_versions_of_documents_are_collected(tmp_path, caplog):
    store = MemoryStore("server-maintenance")
    with closing(init(tmp_path / "d", f"{store.url}#document", store=store)) as replica:
        for number in range(5):
            with replica.begin(replica.snapshot()) as transaction:
                transaction.write(1, bytes([number + 1]) * replica.page_size)
                transaction.commit()
            push(replica)
        log = replica.log
    rules = Settings(keep_last=2, keep_for_s=0)
    maintenance = Maintenance(parse_remote(store.url), store, 0.0, rules)
    with maintenance, caplog.at_level(logging.INFO, "graft_server.maintenance"):
        done = maintenance.run_once()
    assert done.collected.commits > 0
    assert read_remaining(store, log).floor == 4
    assert "commits" in caplog.text


def test_a_remote_that_fails_is_told_and_tried_again(caplog):
    faulty = FaultyStore(MemoryStore("server-maintenance-down"))
    faulty.down = True
    maintenance = Maintenance(parse_remote(faulty.url), faulty, 0.0, Settings())
    with caplog.at_level(logging.WARNING, "graft_server.maintenance"):
        assert maintenance.run_once() is None
    assert "maintenance of memory://server-maintenance-down" in caplog.text
    faulty.down = False
    assert maintenance.run_once() is not None


def test_the_thread_takes_its_turns_and_ends():
    store = MemoryStore("server-maintenance-turns")
    maintenance = Maintenance(parse_remote(store.url), store, 0.001, Settings())
    turns = []
    import threading

    enough = threading.Event()

    def turn():
        turns.append(1)
        if len(turns) == 3:
            enough.set()

    maintenance.run_once = turn
    with maintenance:
        enough.wait()
    assert not maintenance._thread.is_alive()
