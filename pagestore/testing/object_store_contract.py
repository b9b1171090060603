"""What every `ObjectStore` must do, as a class of tests to inherit."""

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice, pairwise

import pytest

from pagestore.errors import ObjectNotFound, PageStoreError
from pagestore.objectstore import Data, ObjectStore, UnfinishedUpload
from pagestore.urls import open_store

RACERS = 12
AWKWARD_KEYS = sorted([
    "-", "...", "..a", "a", "a-b", "a.b", "b/a/x", "b0", "b/a0", "b/_", "A/b", "_/_", "0", "x" * 200,
    "logs/" + "f" * 16, ".hidden/.file", "c/" * 20 + "c",
])  # fmt: skip
SORTS_BEFORE_A_FOLDER = ["b-a", "b.a", "b/a.x", "b/a-x"]
"""Keys that S3 lists before the keys of the folder whose name they begin with: "b-a", "b.a", "b/a"."""
BAD_KEYS = [
    "", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", "a b", "a\n", "ä", "a?b", "a%2e", "~",
    "x" * 1000,
]  # fmt: skip

_PATIENCE_S = 300
"""Ends a test that waits in vain; it decides nothing else."""


class ObjectStoreContract:
    """The tests of an `ObjectStore`: a backend's test class inherits them and overrides ``store``.

    A backend that `open_store` knows may override ``store_url`` instead; any other one overrides ``reopened`` too. The
    attributes say what a backend's server can do.
    """

    many_keys = 40
    """How many keys the paging test writes; more than a page of 1000 where a write is fast."""
    race_rounds = 5
    streams_in_steps = True
    """Whether an upload that is under way leaves something that can be found."""
    forgets_aborted_uploads = True
    """Whether an upload that was aborted cannot be completed any more."""
    lists_folder_by_folder = False
    """Whether the server sorts "b/a" before "b-a", which no layout of ours makes it do."""

    @pytest.fixture
    def store_url(self) -> str:
        """Override this: return the URL of an empty store."""
        raise NotImplementedError("a subclass of ObjectStoreContract overrides the fixture store, or store_url")

    @pytest.fixture
    def store(self, store_url: str) -> Iterator[ObjectStore]:
        """Or override this: yield an empty store, and close it."""
        with closing(open_store(store_url)) as store:
            yield store

    def reopened(self, store: ObjectStore) -> ObjectStore:
        """Return another store of the same place, as a second process would open it."""
        return open_store(store.url)

    @pytest.mark.parametrize(
        "data",
        [b"", b"x", b"hello" * 1000, bytearray(b"array"), memoryview(b"a view")[2:], b"\x00\xff\r\n"],
        ids=["empty", "one", "long", "bytearray", "memoryview", "binary"],
    )
    def test_get_returns_what_was_put(self, store: ObjectStore, data: Data) -> None:
        store.put("some/key", data)
        assert store.get("some/key") == bytes(data)

    def test_put_replaces(self, store: ObjectStore) -> None:
        store.put("k", b"first, and longer")
        store.put("k", b"second")
        assert store.get("k") == b"second"
        assert [info.size for info in store.list("")] == [6]

    def test_an_etag_changes_with_the_bytes(self, store: ObjectStore) -> None:
        """An empty ETag is allowed: the store does not say."""
        etags = []
        for data in (b"first", b"other"):
            store.put("k", data)
            etags.append([info.etag for info in store.list("k")])
            assert [info.etag for info in store.list("k")] == etags[-1]
        assert etags[0] != etags[1] or etags[0] == [""]

    def test_missing_objects_raise(self, store: ObjectStore) -> None:
        store.put("there/is", b"one")
        for key in ("there/is-not", "there", "there/is/not", "not"):
            with pytest.raises(ObjectNotFound) as caught:
                store.get(key)
            assert caught.value.key == key
            with pytest.raises(ObjectNotFound):
                store.get_range(key, 0, 1)

    def test_an_unused_store_is_empty(self, store: ObjectStore) -> None:
        assert list(store.list("")) == []
        assert list(store.list("logs/x/commits/", limit=1)) == []
        store.delete("nothing")
        with pytest.raises(ObjectNotFound):
            store.get("nothing")
        with pytest.raises(ObjectNotFound):
            store.get_range("nothing", 5, 5)

    @pytest.mark.parametrize(
        ("start", "length", "expected"),
        [
            (0, 10, b"0123456789"),
            (0, 1, b"0"),
            (3, 4, b"3456"),
            (9, 1, b"9"),
            (5, 100, b"56789"),
            (0, 100, b"0123456789"),
            (10, 1, b""),
            (500, 7, b""),
        ],
    )
    def test_ranges(self, store: ObjectStore, start: int, length: int, expected: bytes) -> None:
        store.put("k", b"0123456789")
        assert store.get_range("k", start, length) == expected

    def test_ranges_of_an_empty_object_are_empty(self, store: ObjectStore) -> None:
        store.put("k", b"")
        assert store.get_range("k", 0, 1) == b""
        assert store.get_range("k", 7, 3) == b""

    @pytest.mark.parametrize(("start", "length"), [(-1, 5), (0, 0), (3, -2)])
    def test_a_range_that_is_none_is_refused(self, store: ObjectStore, start: int, length: int) -> None:
        store.put("k", b"0123456789")
        with pytest.raises(ValueError, match="range"):
            store.get_range("k", start, length)

    @pytest.mark.parametrize("key", BAD_KEYS)
    def test_a_key_that_is_none_is_refused(self, store: ObjectStore, key: str) -> None:
        for call in (
            lambda: store.get(key),
            lambda: store.get_range(key, 0, 1),
            lambda: store.put(key, b""),
            lambda: store.put_if_absent(key, b""),
            lambda: store.put_stream(key, [b""]),
            lambda: store.delete(key),
        ):
            with pytest.raises(ValueError, match="key"):
                call()

    def test_put_if_absent_creates_once(self, store: ObjectStore) -> None:
        assert store.put_if_absent("k", b"first") is True
        assert store.put_if_absent("k", b"second") is False
        assert store.put_if_absent("k", b"first") is False
        assert store.get("k") == b"first"
        store.delete("k")
        assert store.put_if_absent("k", b"third") is True
        assert store.get("k") == b"third"

    def test_put_if_absent_respects_a_plain_put(self, store: ObjectStore) -> None:
        store.put("k", b"")
        assert store.put_if_absent("k", b"second") is False
        assert store.get("k") == b""

    def test_one_of_many_racers_creates(self, store: ObjectStore) -> None:
        with ThreadPoolExecutor(RACERS) as threads:
            for round_number in range(self.race_rounds):
                key = f"race/{round_number}"
                bodies = [f"{round_number} {racer}".encode() for racer in range(RACERS)]
                created = list(threads.map(lambda body, key=key: store.put_if_absent(key, body), bodies))
                assert created.count(True) == 1
                assert store.get(key) == bodies[created.index(True)]

    @pytest.mark.parametrize("size", [0, 1, 100_000])
    def test_short_streams(self, store: ObjectStore, size: int) -> None:
        body = random.Random(size).randbytes(size)
        store.put("k", b"what it replaces")
        assert store.put_stream("k", (body[at : at + 999] for at in range(0, size, 999))) == size
        assert store.get("k") == body

    def test_a_long_stream_and_its_ranges(self, store: ObjectStore) -> None:
        body = random.Random(1).randbytes(20_000_003)
        chunks = (body[at : at + 700_001] for at in range(0, len(body), 700_001))
        assert store.put_stream("big", chunks) == len(body)
        assert store.get("big") == body
        boundary = 8 * 2**20
        assert store.get_range("big", boundary - 10, 20) == body[boundary - 10 : boundary + 10]
        assert store.get_range("big", len(body) - 5, 100) == body[-5:]
        assert [(info.key, info.size) for info in store.list("")] == [("big", len(body))]

    @pytest.mark.parametrize("sent_bytes", [100, 18_000_000])
    @pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, OSError])
    def test_a_stream_that_raises_leaves_nothing(
        self, store: ObjectStore, sent_bytes: int, error: type[BaseException]
    ) -> None:
        def chunks() -> Iterator[bytes]:
            for _ in range(sent_bytes // 100):
                yield b"x" * 100
            raise error("in mid-stream")

        store.put("old", b"stays")
        for key in ("new", "old"):
            with pytest.raises(error, match="in mid-stream"):
                store.put_stream(key, chunks())
        assert [info.key for info in store.list("")] == ["old"]
        assert store.get("old") == b"stays"
        with pytest.raises(ObjectNotFound):
            store.get("new")

    def test_awkward_keys_keep_their_bodies_and_list_in_order(self, store: ObjectStore) -> None:
        keys = sorted(AWKWARD_KEYS + ([] if self.lists_folder_by_folder else SORTS_BEFORE_A_FOLDER))
        for key in random.Random(2).sample(keys, len(keys)):
            store.put(key, key.encode())
        assert [store.get(key) for key in keys] == [key.encode() for key in keys]
        assert [info.key for info in store.list("")] == keys
        for prefix in ("a", "b", "b/", "b/a", "b/a.", "logs/ff", "zzz", "c/c/c/c", ".hidden/"):
            assert [info.key for info in store.list(prefix)] == [key for key in keys if key.startswith(prefix)]
        for after in keys:
            assert [info.key for info in store.list("", start_after=after)] == keys[keys.index(after) + 1 :]

    def test_list_limits_and_positions(self, store: ObjectStore) -> None:
        keys = [f"logs/l/commits/{number:016x}" for number in range(20)]
        for key in [*keys, "logs/l/commits0", "logs/k/commits/0", "segments/s"]:
            store.put(key, b"12345")
        prefix = "logs/l/commits/"
        assert [info.key for info in store.list(prefix)] == keys
        assert [info.key for info in store.list(prefix, limit=1)] == keys[:1]
        assert [info.key for info in store.list(prefix, limit=0)] == []
        assert [info.key for info in store.list(prefix, limit=99)] == keys
        assert [info.key for info in store.list(prefix, start_after=keys[4], limit=3)] == keys[5:8]
        assert [info.key for info in store.list(prefix, start_after=f"{keys[4]}-", limit=1)] == keys[5:6]
        assert [info.key for info in store.list(prefix, start_after=keys[-1])] == []
        assert [info.key for info in store.list(prefix, start_after="logs/k", limit=1)] == keys[:1]
        assert [info.key for info in store.list(prefix, start_after="segments")] == []
        assert [info.key for info in store.list("logs/l/commits")] == [*keys, "logs/l/commits0"]
        assert [info.key for info in store.list("logs/l/commits0", limit=1)] == ["logs/l/commits0"]
        assert {info.size for info in store.list(prefix)} == {5}

    def test_a_listing_that_cannot_be_is_refused(self, store: ObjectStore) -> None:
        with pytest.raises(ValueError, match="start with"):
            store.list("../")
        with pytest.raises(ValueError, match="negative"):
            store.list("", limit=-1)

    def test_listing_tells_the_time_of_writing(self, store: ObjectStore) -> None:
        store.put("k", b"x")
        [info] = store.list("k")
        assert abs(info.modified_s - time.time()) < 60

    def test_many_keys_come_in_pages(self, store: ObjectStore) -> None:
        keys = [f"many/{number:05}" for number in range(self.many_keys)]
        with ThreadPoolExecutor(16) as threads:
            list(threads.map(lambda key: store.put(key, b"x"), keys))
        assert [info.key for info in store.list("many/")] == keys
        assert [info.key for info in store.list("many/", limit=1010)] == keys[:1010]
        assert [info.key for info in islice(store.list("many/", start_after=keys[7]), 3)] == keys[8:11]
        assert all(first.key < second.key for first, second in pairwise(store.list("")))

    def test_delete_is_idempotent(self, store: ObjectStore) -> None:
        store.put("a/b", b"x")
        store.put("a/c", b"y")
        for _ in range(2):
            store.delete("a/b")
        store.delete("a")
        assert [info.key for info in store.list("")] == ["a/c"]

    def test_many_are_deleted_at_once(self, store: ObjectStore) -> None:
        keys = [f"many/{number:05}" for number in range(min(self.many_keys, 1200))]
        with ThreadPoolExecutor(16) as threads:
            list(threads.map(lambda key: store.put(key, b"x"), [*keys, "other/a"]))
        store.delete_many([*keys[:-2], "many/absent", "nothing/at/all"])
        assert [info.key for info in store.list("many/")] == keys[-2:]
        store.delete_many(keys)
        store.delete_many([])
        assert [info.key for info in store.list("")] == ["other/a"]
        with pytest.raises(ValueError, match="key"):
            store.delete_many(["other/a", "../a"])
        assert store.get("other/a") == b"x"

    def test_an_unfinished_upload_is_found_and_dropped(self, store: ObjectStore) -> None:
        """Only where a stream becomes visible in steps is there anything to find; nowhere is it an object."""
        if not self.forgets_aborted_uploads:
            pytest.skip("this server completes uploads that were aborted")
        found: list[UnfinishedUpload] = []

        def chunks() -> Iterator[bytes]:
            for _ in range(20):
                yield b"x" * 1_000_000
            give_up_s = time.monotonic() + _PATIENCE_S
            while self.streams_in_steps and not found:  # it is begun beside the first parts
                found.extend(store.unfinished_uploads())
                assert time.monotonic() < give_up_s, "a stream in steps is no unfinished upload"
            for upload in found:
                assert abs(upload.begun_s - time.time()) < 60
                store.abort_upload(upload)
                store.abort_upload(upload)
            yield b"y"

        if self.streams_in_steps:
            with pytest.raises(PageStoreError):
                store.put_stream("segments/s", chunks())
            assert len(found) == 1
        else:
            store.put_stream("segments/s", chunks())
            assert found == []
        assert list(store.unfinished_uploads()) == []
        assert [info.key for info in store.list("")] == ([] if self.streams_in_steps else ["segments/s"])

    def test_another_store_of_the_url_sees_the_same(self, store: ObjectStore) -> None:
        store.put("k", b"body")
        with closing(self.reopened(store)) as other:
            assert other.url == store.url
            assert other.get("k") == b"body"
            assert other.put_if_absent("k", b"") is False
        assert store.get("k") == b"body"

    def test_threads_share_a_store(self, store: ObjectStore) -> None:
        def work(worker: int) -> bool:
            key = f"worker/{worker}"
            for number in range(5):
                body = f"{worker} {number}".encode() * 100
                store.put(key, body)
                assert store.get(key) == body
                assert store.get_range(key, 0, 3) == body[:3]
                assert key in {info.key for info in store.list("worker/")}
            return True

        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(work, range(8)))
