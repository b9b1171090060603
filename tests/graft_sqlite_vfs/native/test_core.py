"""The C side alone, on made-up chunks, frames and journal files: what it answers, what it leaves to Python, bounds."""

import gc
import mmap
import os
import struct
import threading
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graft.pagemap import locations

native = pytest.importorskip("graft_sqlite_vfs._accelerator", reason="the accelerator was not built")

PAGE = 512
CHUNK = 4096


class Chunk:
    def __init__(self, places: dict[int, int] | None = None, *, built: bool = True) -> None:
        self._locations = np.zeros(CHUNK, np.uint64)
        for index, location in (places or {}).items():
            self._locations[index] = location
        self.view = None
        if built:
            self.build()

    def build(self) -> None:
        self.view = self._locations.data.cast("B").cast("Q")


class Body:
    def __init__(self, pages: list[int], data: bytes | None = None) -> None:
        self.pages = memoryview(struct.pack(f"={len(pages)}I", *pages)).cast("I")
        self.data = memoryview(data if data is not None else b"".join(content(page) for page in pages))


def content(page: int) -> bytes:
    return struct.pack("<Q", page) * (PAGE // 8)


def framed(frame: int, slot: int) -> int:
    return locations.FRAME_TAG | frame << locations.SLOT_BITS | slot


def snapshot(places: dict[int, int], *, slots=None, views=None, pages: int = 3 * CHUNK):
    """A snapshot of three chunks; ``places`` by page."""
    chunks = [
        Chunk({page - 1 - n * CHUNK: at for page, at in places.items() if (page - 1) // CHUNK == n}) for n in range(3)
    ]
    return native.NativeSnapshot(slots or native.FrameSlots(PAGE), pages, chunks, views or {})


def reader(made, probe: bytes | None = None):
    result = native.Reader(None)
    result.publish(made, 3 * CHUNK * PAGE, None, 0, probe)
    return result


def page_of(made, page: int, amount: int = PAGE, start: int = 0):
    return reader(made).read(amount, (page - 1) * PAGE + start)


def test_layout_is_the_one_of_python(monkeypatch):
    from graft_sqlite_vfs.readpath import Accelerated, available

    monkeypatch.delenv("GRAFT_PURE", raising=False)
    assert isinstance(available(), Accelerated)


class TestFrames:
    def test_pages_are_found_by_slot(self):
        slots = native.FrameSlots(PAGE)
        slots.attached(7, Body([2, 5, 4097]))
        made = snapshot({2: framed(7, 0), 5: framed(7, 1), 4097: framed(7, 2)}, slots=slots)
        for page in (2, 5, 4097):
            assert page_of(made, page) == content(page)
            assert page_of(made, page, 16, 8) == content(page)[8:24]
            assert page_of(made, page, 1, PAGE - 1) == content(page)[-1:]

    def test_what_is_not_attached_is_left_to_python(self):
        slots = native.FrameSlots(PAGE)
        made = snapshot({2: framed(7, 0)}, slots=slots)
        assert page_of(made, 2) is None
        slots.attached(7, Body([2]))
        assert page_of(made, 2) == content(2)
        slots.detached([7, 8, 1 << 31, 7])
        assert page_of(made, 2) is None
        slots.attached(7, Body([2]))
        assert page_of(made, 2) == content(2)

    def test_a_frame_that_does_not_hold_the_page_is_left_to_python(self):
        slots = native.FrameSlots(PAGE)
        slots.attached(0, Body([2, 3]))
        made = snapshot(
            {2: framed(0, 1), 3: framed(0, 2), 4: framed(0, 65535), 5: framed((1 << 46) - 1, 0)}, slots=slots
        )
        assert [page_of(made, page) for page in (2, 3, 4, 5)] == [None] * 4

    @pytest.mark.parametrize(
        ("pages", "size"), [([2, 3], PAGE), ([2, 3], 2 * PAGE - 1), ([2], 0), (list(range(100)), 99 * PAGE)]
    )
    def test_a_body_that_is_too_short_is_refused(self, pages, size):
        slots = native.FrameSlots(PAGE)
        with pytest.raises(ValueError, match="cannot hold"):
            slots.attached(0, Body(pages, bytes(size)))
        assert page_of(snapshot({2: framed(0, 0)}, slots=slots), 2) is None

    def test_bad_bodies_and_numbers_are_refused(self):
        slots = native.FrameSlots(PAGE)
        odd = Body([2])
        odd.pages = memoryview(b"12345")
        with pytest.raises(ValueError, match="cannot hold"):
            slots.attached(0, odd)
        for owner in (None, object()):
            with pytest.raises(AttributeError):
                slots.attached(0, owner)
        with pytest.raises(ValueError, match="too large"):
            slots.attached(1 << 32, Body([2]))
        with pytest.raises(TypeError):
            slots.detached([0, "one"])
        with pytest.raises(OverflowError):
            slots.detached([-1])
        for size in (0, 511, 513, 131072):
            with pytest.raises(ValueError, match="no page has"):
                native.FrameSlots(size)

    def test_many_frames(self):
        slots = native.FrameSlots(PAGE)
        numbers = [0, 1023, 1024, 5000, 200_000]
        for number in reversed(numbers):
            slots.attached(number, Body([2 + number % 97]))
        for number in numbers:
            page = 2 + number % 97
            assert page_of(snapshot({page: framed(number, 0)}, slots=slots), page) == content(page)

    def test_bodies_are_kept_as_long_as_they_are_attached(self):
        slots = native.FrameSlots(PAGE)
        body = Body([2])
        alive = weakref.ref(body)
        slots.attached(3, body)
        del body
        assert page_of(snapshot({2: framed(3, 0)}, slots=slots), 2) == content(2)
        slots.detached([3])
        assert alive() is None
        other, slots_body = Body([2]), weakref.ref(other := Body([2]))
        slots.attached(3, other)
        slots.attached(3, Body([2]))  # takes its place
        del other
        gc.collect()
        assert slots_body() is None


class TestJournal:
    def test_bodies_by_file_and_offset(self):
        view = memoryview(b"header!!" + content(2) + content(9))
        made = snapshot(
            {2: locations.in_journal(5, 8), 9: locations.in_journal(5, 8 + PAGE)}, views={5: view, 3: memoryview(b"")}
        )
        assert page_of(made, 2) == content(2)
        assert page_of(made, 9, 10, 3) == content(9)[3:13]

    @pytest.mark.parametrize(
        ("file", "offset"), [(5, 9), (5, PAGE * 2), (5, (1 << 42) - 1), (4, 0), (6, 0), (3, 0), ((1 << 21) - 1, 0)]
    )
    def test_beyond_the_file_and_unknown_files_are_left_to_python(self, file, offset):
        made = snapshot(
            {2: locations.in_journal(file, offset)}, views={5: memoryview(bytes(8 + PAGE)), 3: memoryview(b"")}
        )
        assert page_of(made, 2) is None

    def test_file_numbers_that_cannot_be(self):
        for views in ({0: memoryview(b""), 1 << 40: memoryview(b"")}, {-1: memoryview(b"")}, {"x": memoryview(b"")}):
            with pytest.raises((ValueError, OverflowError, TypeError)):
                snapshot({}, views=views)
        with pytest.raises(TypeError):
            snapshot({}, views={1: "no buffer"})

    def test_a_mapped_file_cannot_go_while_a_snapshot_needs_it(self):
        view = memoryview(content(2))
        made = snapshot({2: locations.in_journal(0, 0)}, views={0: view})
        with pytest.raises(BufferError):
            view.release()
        assert page_of(made, 2) == content(2)
        del made
        view.release()


class TestSnapshots:
    def test_pages_without_a_body_are_zeros(self):
        made = snapshot({}, pages=CHUNK + 1)
        assert page_of(made, 2) == bytes(PAGE)
        assert page_of(made, CHUNK + 1) == bytes(PAGE)

    def test_page_one_the_end_and_ranges_over_pages_are_left_to_python(self):
        made = snapshot({}, pages=100)
        assert page_of(made, 1) is None
        assert page_of(made, 101) is None
        assert page_of(made, 2, PAGE + 1) is None
        assert page_of(made, 2, 2, PAGE - 1) is None
        assert page_of(snapshot({}, pages=10 * CHUNK), 3 * CHUNK + 1) is None
        for amount, offset in ((0, PAGE), (-1, PAGE), (16, -16), (1, 2**63 - 1), (2**31 - 1, PAGE)):
            assert reader(made).read(amount, offset) is None

    def test_a_chunk_is_used_once_it_is_built(self):
        chunk = Chunk(built=False)
        made = native.NativeSnapshot(native.FrameSlots(PAGE), 100, [chunk], {})
        read = reader(made)
        assert read.read(PAGE, PAGE) is None
        chunk.build()
        assert read.read(PAGE, PAGE) is None
        read.learn(bytes(PAGE), PAGE)
        assert read.read(PAGE, PAGE) == bytes(PAGE)
        read.learn(bytes(PAGE), 10 * CHUNK * PAGE)  # beyond the end there is nothing to learn

    @pytest.mark.parametrize("bad", [b"", bytes(8 * CHUNK - 8), memoryview(bytes(8 * CHUNK + 8))[4 : 8 * CHUNK + 4], 7])
    def test_bad_chunks_are_refused(self, bad):
        chunk = Chunk(built=False)
        chunk.view = bad
        with pytest.raises((ValueError, TypeError)):
            native.NativeSnapshot(native.FrameSlots(PAGE), 100, [chunk], {})

    def test_a_successor_shares_what_did_not_change(self):
        old_chunks = [Chunk({1: locations.in_journal(0, 0)}), Chunk(built=False), Chunk()]
        views = {0: memoryview(content(2) + content(3))}
        slots = native.FrameSlots(PAGE)
        old = native.NativeSnapshot(slots, 3 * CHUNK, old_chunks, views)
        new_chunks = [old_chunks[0], old_chunks[1], Chunk({2: locations.in_journal(0, PAGE)}), Chunk()]
        new = native.NativeSnapshot(slots, 4 * CHUNK, new_chunks, views, old)
        assert page_of(new, 2) == content(2)
        assert page_of(new, CHUNK + 2) is None
        assert page_of(new, 2 * CHUNK + 3) == content(3)
        assert page_of(new, 3 * CHUNK + 3) == bytes(PAGE)
        assert page_of(old, 2 * CHUNK + 3) == bytes(PAGE)
        del old, old_chunks
        assert page_of(new, 2) == content(2)
        shorter = native.NativeSnapshot(slots, 10, new_chunks[:1], {0: memoryview(content(9))}, new)
        assert page_of(shorter, 2) == content(9)

    def test_wrong_types(self):
        slots = native.FrameSlots(PAGE)
        for arguments in (
            (None, 1, [], {}),
            (slots, 1, None, {}),
            (slots, 1, [], []),
            (slots, 1, [None], {}),
            (slots, 1, [], {}, object()),
        ):
            with pytest.raises((TypeError, AttributeError)):
                native.NativeSnapshot(*arguments)


class TestReader:
    def test_nothing_is_read_before_and_after_a_publication(self):
        read = native.Reader(None)
        assert read.read(PAGE, PAGE) is None
        assert not read.lock_shared()
        assert not read.unlock()
        read.publish(snapshot({}), 0, None, 0, None)
        assert read.read(PAGE, PAGE) == bytes(PAGE)
        assert (read.hits, read.misses) == (1, 0)
        read.withdraw()
        assert read.read(PAGE, PAGE) is None
        assert read.snapshot is None
        read.close()
        read.close()

    def test_the_probe(self):
        read = reader(snapshot({}))
        assert read.read(16, 24) is None
        read.learn(b"p" * 16, 24)
        assert read.read(16, 24) == b"p" * 16
        assert read.read(15, 24) is None
        read.publish(snapshot({}), 0, None, 0, b"q" * 16)
        assert read.read(16, 24) == b"q" * 16
        read.publish(snapshot({}), 0, None, 0, None)
        assert read.read(16, 24) is None
        with pytest.raises(ValueError, match="a probe of 3 bytes"):
            read.publish(snapshot({}), 0, None, 0, b"abc")

    def test_a_lock_is_kept_only_while_nothing_newer_was_published(self):
        words = memoryview(bytearray(64)).cast("Q")
        words[1], words[2] = 10, 20
        read = native.Reader(words)
        made = snapshot({})
        read.publish(made, 0, 10, 20, None)
        for _ in range(2):
            assert read.unlock()
            assert read.read(PAGE, PAGE) is None  # nobody reads without a lock
            assert read.lock_shared()
            assert read.read(PAGE, PAGE) == bytes(PAGE)
        assert not read.lock_shared()
        assert read.unlock()
        words[2] = 21
        assert not read.lock_shared()
        read.publish(made, 0, 10, 21, None)
        assert read.unlock()
        words[1] = 11
        assert not read.lock_shared()
        read.publish(made, 0, 10, 21, None)
        assert not read.unlock()  # outdated already
        read.publish(made, 0, None, 21, None)
        assert not read.unlock()
        read.close()
        words.release()

    def test_a_version_of_the_past_is_always_kept(self):
        read = reader(snapshot({}))
        assert read.unlock()
        assert read.lock_shared()

    def test_bad_counters(self):
        for counters in (memoryview(bytearray(16)), memoryview(bytearray(65))[1:]):
            with pytest.raises(ValueError, match="counters"):
                native.Reader(counters)
        with pytest.raises(TypeError):
            native.Reader(7)

    def test_counters_are_held_until_it_is_closed(self):
        words = memoryview(bytearray(64)).cast("Q")
        read = native.Reader(words)
        with pytest.raises(BufferError):
            words.release()
        read.close()
        words.release()


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**64 - 1), st.integers(2, 3 * CHUNK), st.integers(0, PAGE - 1), st.integers(1, 2 * PAGE))
def test_no_location_can_make_it_read_elsewhere(location, page, start, amount):
    slots = native.FrameSlots(PAGE)
    slots.attached(0, Body([page, page + 1]))
    view = memoryview(content(page) * 3)
    found = page_of(snapshot({page: location}, slots=slots, views={0: view}), page, amount, start)
    assert found is None or len(found) == amount <= PAGE - start


def test_readers_and_evictions_in_a_race():
    """Bodies are unmapped under readers that run without the GIL, which find the right bytes or nothing."""
    size, frames, per_frame = 65536, 4, 4  # large pages, so that copying one takes a while
    slots = native.FrameSlots(size)
    pages = list(range(2, 2 + frames * per_frame))
    chunk = Chunk({page - 1: framed((page - 2) // per_frame, (page - 2) % per_frame) for page in pages})
    made = native.NativeSnapshot(slots, CHUNK, [chunk], {})
    done = threading.Event()
    wrong, hits = [], []

    def mapped_body(frame: int) -> Body:
        members = pages[frame * per_frame : (frame + 1) * per_frame]
        mapped = mmap.mmap(-1, len(members) * size)
        for slot, page in enumerate(members):
            mapped[slot * size : slot * size + 8] = mapped[(slot + 1) * size - 8 : (slot + 1) * size] = content(page)[
                :8
            ]
        body = Body(members)
        body.data = memoryview(mapped)
        return body

    def read_all() -> None:
        mine = reader(made)
        while not done.is_set():
            for page in pages:
                found = mine.read(size, (page - 1) * size)
                if found is not None and not found[:8] == found[-8:] == content(page)[:8]:
                    wrong.append(page)
        hits.append(mine.hits)

    threads = [threading.Thread(target=read_all) for _ in range(3)]
    for thread in threads:
        thread.start()
    for turn in range(600):
        for frame in range(frames):
            slots.attached(frame, mapped_body(frame))
        slots.detached(range(turn % 3, frames))
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert min(hits) > 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_is_not_kept_waiting_by_its_parents_readers():
    slots = native.FrameSlots(PAGE)
    slots.attached(0, Body([2]))
    read = reader(snapshot({2: framed(0, 0)}, slots=slots))
    child = os.fork()
    if not child:
        slots.detached([0])
        os._exit(0 if read.read(PAGE, PAGE) is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert read.read(PAGE, PAGE) == content(2)
