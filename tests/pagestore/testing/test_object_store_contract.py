"""The contract fails for stores that would lose data: each breaks one promise, and one of its tests notices."""

import threading
import uuid

import pytest

from pagestore.objectstore import ObjectInfo
from pagestore.stores.memory import MemoryStore
from pagestore.testing import ObjectStoreContract
from pagestore.testing.object_store_contract import RACERS


class Overwriting(MemoryStore):
    def put_if_absent(self, key, data):
        self.put(key, data)
        return True


class Racing(MemoryStore):
    """Looks first and writes then, and all that look at once create the object."""

    def __init__(self, name):
        super().__init__(name)
        self._gate = threading.Barrier(RACERS)

    def put_if_absent(self, key, data):
        found = next(self.list(key, limit=1), None)
        self._gate.wait()
        if found is None:
            self.put(key, data)
        return found is None


class Unordered(MemoryStore):
    def list(self, prefix, **options):
        return iter(list(super().list(prefix, **options))[::-1])


class Inclusive(MemoryStore):
    """Lists what ``start_after`` names."""

    def list(self, prefix, *, start_after="", limit=None):
        here = [ObjectInfo(start_after, 5, 0.0)] if start_after.startswith(prefix) and start_after else []
        return iter([*here, *super().list(prefix, start_after=start_after, limit=limit)])


class Padding(MemoryStore):
    def get_range(self, key, start, length):
        return super().get_range(key, start, length).ljust(length, b"\0")


class Partial(MemoryStore):
    """Keeps what a stream had written before it raised."""

    def put_stream(self, key, chunks):
        body = b""
        try:
            for chunk in chunks:
                body += chunk
        finally:
            self.put(key, body)
        return len(body)


@pytest.mark.parametrize(
    ("broken", "test", "arguments"),
    [
        (Overwriting, ObjectStoreContract.test_put_if_absent_creates_once, ()),
        (Overwriting, ObjectStoreContract.test_put_if_absent_respects_a_plain_put, ()),
        (Racing, ObjectStoreContract.test_one_of_many_racers_creates, ()),
        (Unordered, ObjectStoreContract.test_awkward_keys_keep_their_bodies_and_list_in_order, ()),
        (Inclusive, ObjectStoreContract.test_list_limits_and_positions, ()),
        (Padding, ObjectStoreContract.test_ranges, (5, 100, b"56789")),
        (Partial, ObjectStoreContract.test_a_stream_that_raises_leaves_nothing, (100, ZeroDivisionError)),
    ],
)
def test_a_broken_store_is_found_out(broken, test, arguments):
    store = broken(uuid.uuid4().hex)
    with pytest.raises(AssertionError):
        test(ObjectStoreContract(), store, *arguments)
    test(ObjectStoreContract(), MemoryStore(uuid.uuid4().hex), *arguments)
