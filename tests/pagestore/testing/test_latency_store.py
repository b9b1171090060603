"""Requests that take time, on a clock that does not."""

import uuid

import pytest

from pagestore.runtime import Runtime
from pagestore.stores.memory import MemoryStore
from pagestore.testing import LatencyStore, ObjectStoreContract


class TestWithoutLatency(ObjectStoreContract):
    many_keys = 1050
    streams_in_steps = False

    @pytest.fixture
    def store(self):
        return LatencyStore(MemoryStore(uuid.uuid4().hex), 0.0)


@pytest.fixture
def waits():
    return []


@pytest.fixture
def store(waits):
    inner = MemoryStore(uuid.uuid4().hex)
    for number in range(1500):
        inner.put(f"many/{number:04}", b"x")
    return LatencyStore(inner, 0.02, runtime=Runtime(sleep_s=waits.append))


@pytest.mark.parametrize(
    ("request_of", "count"),
    [
        (lambda store: store.get("many/0000"), 1),
        (lambda store: store.get_range("many/0000", 0, 1), 1),
        (lambda store: store.put("a", b"x"), 1),
        (lambda store: store.put_if_absent("a", b"x"), 1),
        (lambda store: store.put_stream("a", [b"x"] * 5), 1),
        (lambda store: store.delete("a"), 1),
        (lambda store: store.delete_many([f"many/{number:04}" for number in range(1001)]), 2),
        (lambda store: list(store.list("many/", limit=10)), 1),
        (lambda store: list(store.list("many/")), 2),
        (lambda store: list(store.list("nothing/")), 1),
        (lambda store: list(store.unfinished_uploads()), 1),
    ],
)
def test_each_request_waits(store, waits, request_of, count):
    request_of(store)
    assert waits == [0.02] * count


def test_a_listing_waits_when_it_is_read(store, waits):
    store.list("many/")
    assert waits == []


def test_bytes_take_time_in_both_directions(store, waits):
    store.bytes_per_s = 1000
    store.put("a", b"x" * 500)
    assert store.get("a") == b"x" * 500
    store.get_range("a", 0, 100)
    assert waits == pytest.approx([0.52, 0.52, 0.12])
    waits.clear()
    store.put_stream("a", [b"x" * 100, b"y" * 200])
    assert waits == pytest.approx([0.02, 0.1, 0.2])


def test_latency_can_be_changed_at_any_time(store, waits):
    store.latency_s = 0.0
    store.put("a", b"x")
    assert waits == []
