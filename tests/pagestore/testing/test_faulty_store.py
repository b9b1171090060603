"""Faults: which call meets one, and what is in the store afterwards."""

import uuid

import pytest

from pagestore.errors import StoreUnavailable
from pagestore.stores.memory import MemoryStore
from pagestore.testing import (
    FaultyStore,
    ObjectStoreContract,
    interrupted,
    interrupted_before,
    lost_after,
    lost_and_retried,
    lost_before,
    preceded_by,
)


class TestWithoutFaults(ObjectStoreContract):
    """A faulty store without faults is as good as the one below."""

    many_keys = 1050
    streams_in_steps = False

    @pytest.fixture
    def store(self):
        return FaultyStore(MemoryStore(uuid.uuid4().hex))


@pytest.fixture
def store():
    return FaultyStore(MemoryStore(uuid.uuid4().hex))


@pytest.mark.parametrize(
    ("fault", "error", "landed"),
    [
        (lost_before, StoreUnavailable, False),
        (lost_after, StoreUnavailable, True),
        (interrupted_before, KeyboardInterrupt, False),
        (interrupted, KeyboardInterrupt, True),
    ],
)
def test_a_fault_meets_one_call(store, fault, error, landed):
    store.fail_next("put", fault)
    with pytest.raises(error):
        store.put("a", b"first")
    assert [info.key for info in store.list("")] == (["a"] if landed else [])
    store.put("a", b"second")
    assert store.get("a") == b"second"


def test_a_reply_that_is_lost_below_makes_a_creation_look_refused(store):
    store.fail_next("put_if_absent", lost_and_retried)
    assert store.put_if_absent("a", b"mine") is False
    assert store.get("a") == b"mine"


def test_somebody_is_faster(store):
    store.fail_next("put_if_absent", preceded_by(lambda: store.inner.put("a", b"theirs")))
    assert store.put_if_absent("a", b"mine") is False
    assert store.get("a") == b"theirs"


def test_a_fault_waits_for_its_method_and_key(store):
    store.fail_next("get", lost_before, key_part="commits/")
    store.put("logs/commits/1", b"c")
    store.put("logs/tags/1", b"t")
    assert store.get("logs/tags/1") == b"t"
    assert store.get_range("logs/commits/1", 0, 1) == b"c"
    with pytest.raises(StoreUnavailable):
        store.get("logs/commits/1")
    assert store.get("logs/commits/1") == b"c"


def test_a_deletion_of_many_meets_a_fault_for_any_of_its_keys(store):
    store.put("a", b"")
    store.fail_next("delete_many", lost_before, key_part="b")
    store.delete_many(["a"])
    with pytest.raises(StoreUnavailable):
        store.delete_many(["a", "b"])


def test_a_store_that_is_down_answers_nothing_and_uses_up_no_fault(store):
    store.put("a", b"x")
    store.fail_next("get", interrupted_before)
    store.down = True
    calls = (
        lambda: store.get("a"), lambda: store.get_range("a", 0, 1), lambda: store.put("a", b""),
        lambda: store.put_if_absent("b", b""), lambda: store.put_stream("a", []), lambda: list(store.list("")),
        lambda: store.delete("a"), lambda: store.delete_many(["a"]), lambda: list(store.unfinished_uploads()),
    )  # fmt: skip
    for call in calls:
        with pytest.raises(StoreUnavailable, match=r"memory://\w+ does not answer"):
            call()
    store.down = False
    with pytest.raises(KeyboardInterrupt):
        store.get("a")
    assert store.get("a") == b"x"


def test_what_always_happens_comes_after_what_waits(store):
    store.put("a", b"x")
    store.always = lost_before
    store.fail_next("get", lambda method, key: method(key) + b" and more")
    assert store.get("a") == b"x and more"
    with pytest.raises(StoreUnavailable, match="no route"):
        store.get("a")
