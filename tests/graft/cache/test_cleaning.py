"""Cleaning a cache: dead frames leave it, live ones stay readable byte for byte, also while others read."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graft.cache import cleaning_plan
from graft.cache.cache import Cache
from graft.cache.cleaning_plan import (
    BLOCK,
    FileUse,
    live_only,
    place,
    runs,
    survey_is_due,
    taken_bytes,
    too_much,
    victim,
)
from graft.pagemap.frame_table import FrameKey
from metastore.placement import OwnObject, SegmentRef
from pagestore.ids import SegmentId
from pagestore.runtime import SYSTEM
from pagestore.segments.format import DecodedFrame
from tests.graft.support import fast_directory

PAGE = 4096
FRAME_PAGES = 8
FILE = 4 * FRAME_PAGES * PAGE

masks = st.lists(st.booleans(), min_size=1, max_size=40)


@settings(deadline=None)
@given(masks)
def test_runs_are_what_is_kept(mask):
    listed = np.arange(1, len(mask) + 1).astype("<u4") * np.array(mask, "<u4")
    found = [slot for start, end in runs(listed) for slot in range(start, end)]
    assert found == [slot for slot, kept in enumerate(mask) if kept]
    assert all(start < end for start, end in runs(listed))


@settings(deadline=None)
@given(masks, st.sampled_from([512, 1024, 4096, 65536]), st.integers(0, 100_000))
def test_what_is_kept_lies_behind_what_was_used_and_takes_what_is_said(mask, page_size, used):
    kept = live_only(np.arange(1, len(mask) + 1).astype("<u4"), np.array(mask))
    assert kept[kept != 0].tolist() == [slot + 1 for slot, live in enumerate(mask) if live]
    if not len(kept):
        return
    assert kept[-1]
    position = place(kept, page_size, used)
    blocks = {
        block
        for start, end in runs(kept)
        for block in range((position + start * page_size) // BLOCK, -(-(position + end * page_size) // BLOCK))
    }
    assert min(blocks) * BLOCK >= used
    assert position % BLOCK == 0
    assert len(blocks) * BLOCK == taken_bytes(kept, page_size)


def use(file, taken, live, **given):
    return FileUse(file, 1 << 24, taken, taken, live, **given)


def test_the_file_with_the_largest_useless_part_is_cleaned_first():
    files = [use(1, 100 * PAGE, 90 * PAGE), use(2, 10 * PAGE, 2 * PAGE), use(3, 50 * PAGE, 30 * PAGE)]
    assert victim(files, PAGE, 40) == files[1]
    given_up = use(4, 9 * PAGE, 0, given_up=1)
    assert victim([*files, given_up], PAGE, 40) == files[1]
    assert too_much([*files, given_up], 100 * PAGE) == 60 * PAGE


def test_a_small_useless_part_is_tolerated():
    files = [use(1, 100 * PAGE, 98 * PAGE), use(2, 100 * PAGE, 98 * PAGE)]
    assert victim(files, PAGE, 20) is None
    assert victim(files, PAGE, 25) == files[0]
    assert victim([], PAGE, 40) is None


def test_the_rest_of_a_files_last_block_is_no_reason_to_copy_it():
    small = FileUse(1, 1 << 20, 2048, 2048, 2048)
    assert small.excess == 2048
    assert victim([small], 512, 20) is None
    assert victim([FileUse(1, 1 << 20, 2048, 2048, 0)], 512, 20) is not None


def test_one_looks_what_is_of_use_once_it_is_too_much_and_not_in_vain_for_ever():
    live = 400 * PAGE
    assert not survey_is_due(-100 * PAGE, 0, live, 20)
    assert not survey_is_due(20 * PAGE, 0, live, 20)
    assert survey_is_due(21 * PAGE, 0, live, 20)
    assert not survey_is_due(50 * PAGE, 30 * PAGE, live, 20)
    assert survey_is_due(51 * PAGE, 30 * PAGE, live, 20)
    assert survey_is_due(PAGE, 0, 0, 20), "there is nothing in the volume any more"


class Frames:
    """A cache with frames that a test knows the content and the use of."""

    def __init__(self, path, **chosen):
        self.evicted = []
        given = {"bytes_max": 64 * FILE, "file_bytes": FILE, "alone": True, "on_release": self.evicted.append}
        self.cache = Cache(path / "cache", PAGE, **{**given, **chosen})
        self.path = path / "cache"
        self.keys, self.contents = [], []
        self.of_use = []
        """Which slots, by frame."""

    def put(self, count, chance):
        batch = []
        for _ in range(count):
            key = FrameKey(SegmentRef(SegmentId.new(SYSTEM), OwnObject()), 64 + len(self.keys), 100)
            bodies = [chance.randbytes(PAGE) for _ in range(FRAME_PAGES)]
            batch.append((key, DecodedFrame(np.arange(1, FRAME_PAGES + 1, dtype=np.uint32), b"".join(bodies))))
            self.keys.append(key)
            self.contents.append(bodies)
            self.of_use.append([True] * FRAME_PAGES)
        return self.cache.put(batch)

    def live(self, frames):
        known = {(key.ref.segment.raw, key.offset): number for number, key in enumerate(self.keys)}
        return [
            np.array(self.of_use[known[frame.segment, frame.offset]][: len(frame.pages) // 4], np.bool_)
            for frame in frames
        ]

    def clean(self, slack=20, bytes_max=1 << 30):
        steps = 0
        while self.cache.clean(self.live, live_bytes=self.live_bytes, slack=slack, bytes_max=bytes_max):
            steps += 1
            assert steps < 1000
        return steps

    def check(self):
        """All that is of use is there, as it was put in."""
        for key, bodies, of_use in zip(self.keys, self.contents, self.of_use, strict=True):
            body = self.cache.get(key)
            for slot, wanted in enumerate(of_use):
                if wanted:
                    assert body.pages[slot] == slot + 1
                    assert body.data[slot * PAGE :][:PAGE] == bodies[slot]
                elif body is not None:
                    assert body.lacks(slot) or body.data[slot * PAGE :][:PAGE] == bodies[slot]

    @property
    def live_bytes(self):
        return sum(map(sum, self.of_use)) * PAGE

    @property
    def disk_bytes(self):
        return sum(path.stat().st_blocks * 512 for path in self.path.glob("*.frames"))


@pytest.fixture
def frames():
    made = []

    def make(**chosen):
        made.append(Frames(path, **chosen))
        return made[-1]

    with fast_directory() as path:
        yield make
        for each in made:
            each.cache.close()


@pytest.mark.parametrize("seed", range(4))
def test_what_is_of_no_use_leaves_the_disk(frames, seed):
    chance = random.Random(seed)
    frames = frames()
    for _ in range(12):
        frames.put(chance.randrange(1, 12), chance)
        for of_use in frames.of_use:
            for slot in range(FRAME_PAGES):
                if chance.random() < chance.choice([0, 0.05, 0.4]):
                    of_use[slot] = False
        frames.clean()
        frames.check()
        assert frames.cache.use().bytes == frames.disk_bytes
        assert frames.disk_bytes <= frames.live_bytes * 1.05 + PAGE


def test_a_step_copies_no_more_than_it_may(frames):
    chance = random.Random(5)
    frames = frames(file_bytes=1 << 20)
    frames.put(30, chance)
    for of_use in frames.of_use:
        of_use[0] = False
    assert frames.clean(bytes_max=2 * FRAME_PAGES * PAGE) >= 14
    frames.check()
    assert frames.disk_bytes == frames.live_bytes


def test_little_is_left_alone(frames):
    chance = random.Random(6)
    frames = frames()
    frames.put(100, chance)
    frames.of_use[3][2] = False
    assert frames.clean() == 0
    assert frames.cache.use().bytes == 100 * FRAME_PAGES * PAGE


def test_pages_that_cannot_be_freed_are_not_looked_for_again_and_again(frames):
    """Where a page is smaller than a block, a useless one may stay beside one that is of use."""
    frames = frames()
    frames.put(20, random.Random(12))
    looked = []

    def unknown(given):
        looked.extend(given)
        return [np.ones(len(frame.pages) // 4, np.bool_) for frame in given]

    def clean(live_bytes):
        return frames.cache.clean(unknown, live_bytes=live_bytes, slack=20, bytes_max=1 << 30)

    whole = frames.live_bytes
    assert not clean(whole // 2)
    assert len(looked) == 20
    assert not clean(whole // 2)
    assert not clean(whole // 2 - 2 * PAGE)
    assert len(looked) == 20
    assert not clean(whole // 4)
    assert len(looked) == 40
    frames.check()


def test_a_part_of_a_volume_is_left_alone(frames):
    """It takes less than the volume, whatever of it is of use."""
    frames = frames()
    frames.put(20, random.Random(13))
    frames.of_use = [[slot < 4 for slot in range(FRAME_PAGES)] for _ in frames.of_use]
    assert not frames.cache.clean(frames.live, live_bytes=20 * FRAME_PAGES * PAGE, slack=20, bytes_max=1 << 30)
    assert frames.cache.use().pages == 20 * FRAME_PAGES


def test_everything_of_no_use(frames):
    chance = random.Random(7)
    frames = frames()
    frames.put(9, chance)
    frames.of_use = [[False] * FRAME_PAGES for _ in frames.of_use]
    frames.clean()
    assert frames.disk_bytes == frames.cache.use().bytes == 0
    assert not list(frames.path.glob("*.frames"))


def test_bodies_that_somebody_holds_stay_as_they_are(frames):
    """In this process and in another one: a file that is mapped there is given up, not changed, and goes later."""
    chance = random.Random(8)
    frames = frames()
    held = frames.put(8, chance)
    other = Cache(frames.path, PAGE, bytes_max=64 * FILE, file_bytes=FILE, alone=False, on_release=lambda file: None)
    theirs = [other.get(key) for key in frames.keys]
    for of_use in frames.of_use:
        of_use[::2] = [False] * (FRAME_PAGES // 2)
    frames.clean()
    frames.check()
    assert set(frames.evicted) == {1, 2}
    for body, bodies in zip([*held, *theirs], 2 * frames.contents, strict=True):
        assert bytes(body.data) == b"".join(bodies)
    assert frames.disk_bytes > frames.live_bytes
    del held, theirs, body
    other.evict()
    frames.cache.evict()
    assert frames.disk_bytes == frames.live_bytes
    assert [other.get(key).data[PAGE : 2 * PAGE] for key in frames.keys] == [each[1] for each in frames.contents]
    other.close()


def test_a_frame_that_was_cleaned_and_comes_whole_again(frames):
    chance = random.Random(9)
    frames = frames()
    frames.put(8, chance)
    for of_use in frames.of_use:
        of_use[:4] = [False] * 4
    frames.clean()
    assert not frames.cache.get(frames.keys[0]).whole
    key, bodies = frames.keys[0], frames.contents[0]
    frames.of_use[0] = [True] * FRAME_PAGES
    (body,) = frames.cache.put([(key, DecodedFrame(np.arange(1, FRAME_PAGES + 1, dtype=np.uint32), b"".join(bodies)))])
    assert body.whole
    frames.check()
    frames.clean()
    frames.check()
    assert frames.cache.get(key).whole
    assert frames.cache.use().pages == frames.live_bytes // PAGE


def test_there_is_no_room_to_copy(frames):
    chance = random.Random(10)
    frames = frames(bytes_max=8 * FRAME_PAGES * PAGE)
    frames.put(8, chance)
    for of_use in frames.of_use:
        of_use[0] = False
    assert frames.clean() == 0
    frames.check()
    assert frames.disk_bytes <= 8 * FRAME_PAGES * PAGE


def test_a_damaged_frame_is_not_copied(frames):
    chance = random.Random(11)
    frames = frames()
    frames.put(4, chance)
    for of_use in frames.of_use:
        of_use[0] = False
    (path,) = frames.path.glob("*.frames")
    with path.open("r+b") as file:
        file.seek(2 * PAGE)
        file.write(b"damage")
    frames.clean()
    assert frames.cache.get(frames.keys[0]) is None
    frames.of_use[0] = [False] * FRAME_PAGES
    frames.check()


def test_blocks_are_counted_as_file_systems_give_them_out():
    assert cleaning_plan.in_blocks(0) == 0
    assert cleaning_plan.in_blocks(1) == BLOCK
    assert cleaning_plan.in_blocks(BLOCK) == BLOCK
