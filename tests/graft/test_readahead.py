"""Readahead by its promises: scans in few requests, no waste on random reads, bounded windows."""

import random

import pytest

from graft.readahead import NumberOrder, Readahead

PAGES = 16_000
PER_FRAME = 16


class Reader:
    """Reads pages through a readahead, as a snapshot does, and counts."""

    def __init__(self, frames_max=64):
        self.here = set()
        self.requests = 0
        self.read_frames = set()
        self.readahead = Readahead(frames_max)

    def missing(self, page):
        frame = (page - 1) // PER_FRAME
        return None if frame in self.here else frame

    def read(self, page, order):
        frame = self.missing(page)
        if frame is not None:
            planned = self.readahead.plan(page, frame, order, self.missing)
            assert planned[0] == frame
            assert len(set(planned)) == len(planned)
            assert not self.here & set(planned)
            self.here |= set(planned)
            self.requests += 1
        self.read_frames.add((page - 1) // PER_FRAME)

    @property
    def wasted(self):
        return len(self.here - self.read_frames)


class ListOrder:
    """Any order at all."""

    def __init__(self, pages):
        self.pages = pages
        self.position = {page: i for i, page in enumerate(pages)}

    def following(self, page, direction):
        i = self.position[page]
        yield from self.pages[i + 1 :] if direction > 0 else reversed(self.pages[:i])


@pytest.mark.parametrize("step", [1, -1])
def test_a_scan_by_number_needs_few_requests(step):
    reader = Reader()
    for page in range(1, PAGES + 1)[::step]:
        reader.read(page, NumberOrder(PAGES))
    frames = PAGES // PER_FRAME
    assert reader.requests <= 8 + frames / 64
    assert reader.wasted == 0
    assert reader.readahead.use.frames == frames - reader.requests


def test_a_scan_in_key_order_over_scattered_pages():
    pages = list(range(1, PAGES + 1))
    random.Random(3).shuffle(pages)
    order, reader = ListOrder(pages), Reader()
    for page in pages:
        reader.read(page, order)
    assert reader.requests <= 30


def test_a_strided_scan():
    reader = Reader()
    for page in range(5, PAGES, 40):
        reader.read(page, NumberOrder(PAGES, stride=40))
    assert reader.requests <= 20
    assert reader.wasted == 0


def test_random_lookups_waste_little():
    reader, rng = Reader(), random.Random(5)
    for _ in range(300):
        reader.read(rng.randint(1, PAGES), NumberOrder(PAGES))
    assert reader.wasted <= len(reader.here) / 10


def test_a_short_range_fetches_little_more_than_itself():
    reader = Reader()
    for page in range(8000, 8160):
        reader.read(page, NumberOrder(PAGES))
    assert reader.wasted <= 8


def test_a_scan_that_turns_elsewhere_starts_small_again():
    reader = Reader()
    for page in range(1, 4000):
        reader.read(page, NumberOrder(PAGES))
    before = len(reader.here)
    reader.read(12_000, NumberOrder(PAGES))
    assert len(reader.here) == before + 1


def test_the_window_is_bounded():
    reader = Reader(frames_max=4)
    most = 0
    for page in range(1, PAGES):
        before = len(reader.here)
        reader.read(page, NumberOrder(PAGES))
        most = max(most, len(reader.here) - before)
    assert most == 5


def test_none_at_all():
    reader = Reader(frames_max=0)
    for page in range(1, 1000):
        reader.read(page, NumberOrder(PAGES))
    assert reader.readahead.use.frames == 0
