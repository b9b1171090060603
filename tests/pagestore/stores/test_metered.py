import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from pagestore.errors import ObjectNotFound
from pagestore.stores.memory import MemoryStore
from pagestore.stores.metered import MeteredStore, StoreTraffic


@pytest.fixture
def store():
    return MeteredStore(MemoryStore(uuid.uuid4().hex))


def test_each_verb_is_counted_with_its_bytes(store):
    store.put("a", b"12345")
    assert store.put_if_absent("b", b"123") is True
    assert store.put_if_absent("b", b"1234") is False
    store.get("a")
    store.get_range("a", 3, 100)
    store.delete("a")
    assert store.snapshot() == StoreTraffic(
        puts=1, conditional_puts=2, gets=1, range_gets=1, deletes=1, bytes_up=12, bytes_down=7
    )
    assert store.snapshot().requests == 6


def test_a_span_is_a_difference(store):
    store.put("a", b"12345")
    before = store.snapshot()
    store.get("a")
    assert store.snapshot() - before == StoreTraffic(gets=1, bytes_down=5)
    assert before + StoreTraffic(gets=1, bytes_down=5) == store.snapshot()


def test_a_request_that_fails_was_made(store):
    with pytest.raises(ObjectNotFound):
        store.get("a")
    assert store.snapshot() == StoreTraffic(gets=1)


@pytest.mark.parametrize(("keys", "taken", "pages"), [(0, None, 1), (1000, None, 1), (1001, None, 2), (2500, 1500, 2)])
def test_listings_count_their_pages(store, keys, taken, pages):
    for number in range(keys):
        store.put(f"{number:04}", b"")
    before = store.snapshot()
    assert sum(1 for _ in store.list("", limit=taken)) == (taken or keys)
    assert store.snapshot() - before == StoreTraffic(lists=pages)


def test_a_listing_asks_nothing_before_it_is_read(store):
    store.list("")
    assert list(store.list("", limit=0)) == []
    assert store.snapshot() == StoreTraffic()


@pytest.mark.parametrize(("size", "requests"), [(0, 1), (10, 1), (11, 4), (30, 5), (31, 6)])
def test_streams_count_their_parts(size, requests):
    store = MeteredStore(MemoryStore(uuid.uuid4().hex), part_bytes=10)
    assert store.put_stream("k", [b"x"] * size) == size
    assert store.snapshot() == StoreTraffic(stream_puts=requests, bytes_up=size)


def test_threads_lose_no_count(store):
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: store.put(str(number), b"xy"), range(400)))
    assert store.snapshot() == StoreTraffic(puts=400, bytes_up=800)


def test_it_is_the_inner_store_otherwise(store):
    assert store.url.startswith("memory://")
    assert store.parallelism == 1
