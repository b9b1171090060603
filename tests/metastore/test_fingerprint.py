"""Fingerprints against the same in Python's integers."""

import random

import numpy as np
import pytest

from metastore.fingerprint import fingerprint, frame_seeds, mixed, placement_fingerprint
from metastore.placement import EMPTY, OwnObject, SegmentRef, placements_of
from pagestore.ids import SegmentId
from pagestore.segments.format import FrameExtent
from tests.metastore import volume_model
from tests.metastore.volume_model import Place

SEGMENT = SegmentId(bytes(range(16)))


def test_fixed_values():
    """Those of docs/formats/commit.md."""
    seeds = frame_seeds([(SEGMENT.raw, 40)])
    assert seeds.tolist() == [0x39986ADBE42BB5C0]
    assert mixed(np.array([1], np.uint64), seeds).tolist() == [0x52A4B09901A9EC38]
    assert mixed_one(1, 0x39986ADBE42BB5C0) == 0x52A4B09901A9EC38


def mixed_one(page, seed):
    """The formula of docs/formats/commit.md, in plain integers."""
    x = (seed + page * 0x9E3779B97F4A7C15) % 2**64
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
    return x ^ (x >> 31)


def test_one_at_a_time():
    chance = random.Random(7)
    pages = [chance.randrange(1, 2**32) for _ in range(500)]
    seeds = [chance.randrange(2**64) for _ in pages]
    together = mixed(np.array(pages, np.uint64), np.array(seeds, np.uint64)).tolist()
    assert list(map(mixed_one, pages, seeds)) == together


@pytest.mark.parametrize("number", [0, 1, 1_048_575])
def test_a_chunk(number):
    chance = random.Random(number)
    pages = [number * 4096 + low + 1 for low in sorted(chance.sample(range(4096), 200))]
    pages = [page for page in pages if page < 2**32 - 1]
    frames = [FrameExtent(40 + start * 999, 9, tuple(pages[start : start + 8])) for start in range(0, len(pages), 8)]
    expected = 0
    for frame in frames:
        for slot, page in enumerate(frame.pages):
            expected ^= volume_model.mixed(page, Place(SEGMENT, frame.offset, slot))
    placement = placements_of(frames, 0)[number]
    assert placement_fingerprint(number, placement, (SegmentRef(SEGMENT, OwnObject()),)) == expected


def test_nothing_has_none():
    assert fingerprint(np.empty(0, np.uint64), np.empty(0, np.uint64)) == 0
    assert placement_fingerprint(7, EMPTY, ()) == 0


def test_pages_and_frames_all_count():
    seeds = frame_seeds([(SEGMENT.raw, 40), (SEGMENT.raw, 41), (bytes(16), 40)]).tolist()
    mixes = {
        int(mixed(np.array([page], np.uint64), np.array([seed], np.uint64))[0]) for page in (1, 2) for seed in seeds
    }
    assert len(mixes) == 6
