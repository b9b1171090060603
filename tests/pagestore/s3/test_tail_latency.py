"""Reads from S3 where two in a hundred never come: nobody waits for them, at a bounded number of second requests."""

import threading
from contextlib import closing, suppress
from queue import Empty

import pytest

from pagestore.stores.hedged import HedgeCounts, HedgedStore
from pagestore.urls import open_store
from testbed.faulty_proxy import Held
from testbed.patience import PATIENCE_S

LEARNED = 120
READS = 150
SLOW_EVERY = 50


@pytest.fixture
def release():
    """Lets the reads go on that were held, when the test is over."""
    event = threading.Event()
    yield event
    event.set()


def test_two_reads_in_a_hundred_that_do_not_come_are_not_waited_for(faulty_s3, release):
    held = READS // SLOW_EVERY

    def wait_until_held(answers, _seconds):
        """Call a read late when the proxy holds it, whatever else makes this machine slow meanwhile."""
        while True:
            with suppress(Empty):
                return answers.get(timeout=0.01)
            if len(faulty_s3.held) > hedged.counts().hedges:
                return None

    with closing(open_store(faulty_s3.url)) as store:
        assert isinstance(store, HedgedStore)
        hedged = HedgedStore(store.inner, wait=wait_until_held)
        hedged.put("segments/s", bytes(range(256)) * 64)
        for _ in range(LEARNED):
            hedged.get_range("segments/s", 0, 256)
        before = len(faulty_s3.requests)
        for number in range(READS):
            if number % SLOW_EVERY == SLOW_EVERY - 1:
                faulty_s3.faults.append(Held(release))
            assert hedged.get_range("segments/s", 256 * (number % 64), 256) == bytes(range(256))
        assert len(faulty_s3.held) == held, "they have not been answered to this moment"
        assert hedged.counts() == HedgeCounts(reads=LEARNED + READS, hedges=held, wins=held)
        assert len(faulty_s3.requests) - before == READS + held


def test_without_second_requests_one_held_read_holds_its_reader(faulty_s3, release):
    with closing(open_store(f"{faulty_s3.url}&hedge_budget=0")) as store:
        store.put("segments/s", b"body")
        faulty_s3.faults.append(Held(release))
        begun = threading.Event()

        def read():
            begun.set()
            assert store.get("segments/s") == b"body"

        reader = threading.Thread(target=read)
        reader.start()
        begun.wait(PATIENCE_S)
        while not faulty_s3.held:
            pass  # until the proxy holds the read
        assert store.get("segments/s") == b"body", "another reader is not held up"
        assert reader.is_alive()
        release.set()
        reader.join(PATIENCE_S)
        assert not reader.is_alive()
