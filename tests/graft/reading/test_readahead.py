"""Readahead by its promises: scans in few requests, no waste on random reads, bounded windows."""

import random
from itertools import islice

import pytest

from graft.reading.page_order import NumberOrder
from graft.reading.readahead import Readahead

PAGES = 16_000
PER_FRAME = 16


def in_no_small_object(frame):
    return None


class Reader:
    """Reads pages through a readahead, as a snapshot does, and counts."""

    def __init__(
        self,
        frames_max=64,
        frame_of=lambda page: (page - 1) // PER_FRAME,
        object_of=in_no_small_object,
        piggyback_max=None,
    ):
        self.frame_of = frame_of
        self.small_object = object_of
        self.frames_max = frames_max
        self.ahead_of_trend = set()
        self.here = set()
        self.ahead = set()
        self.requests = 0
        self.plans = []
        self.waits = 0
        """Of those, requests that the reader waits for from the beginning."""
        self.largest = 0
        self.readahead = Readahead(frames_max, piggyback_max)
        self.piggyback_max = frames_max if piggyback_max is None else piggyback_max

    def missing_frame(self, page):
        frame = self.frame_of(page)
        return None if frame in self.here or frame in self.ahead else frame

    def read(self, page, order):
        frame = self.frame_of(page)
        if frame in self.ahead:
            self.ahead.discard(frame)
            self.ahead_of_trend.discard(frame)
            self.here.add(frame)
            further = self.readahead.entered(page, frame, order, self)
            if further:
                self.take(further)
                self.readahead.fetching(further)
                piggyback_max = 0 if self.small_object is in_no_small_object else self.piggyback_max
                assert len(self.ahead_of_trend) <= 2 * self.frames_max + piggyback_max
        elif frame not in self.here:
            planned = self.readahead.plan(page, frame, order, self)
            assert planned[0] == frame
            self.take(planned)
            self.ahead.discard(frame)
            self.here.add(frame)
            self.waits += 1
            self.ahead_of_trend = set(planned[1:])

    def take(self, planned):
        self.plans.append(planned)
        assert len(set(planned)) == len(planned)
        assert not (self.here | self.ahead) & set(planned)
        self.ahead |= set(planned)
        self.ahead_of_trend |= set(planned)
        self.requests += 1
        self.largest = max(self.largest, len(planned))

    def read_all(self, pages, order):
        for page in pages:
            self.read(page, order)
        use = self.readahead.use
        assert use.asked == len(self.here)
        assert use.wasted == len(self.ahead)
        return self

    @property
    def wasted_part(self):
        return len(self.ahead) / max(len(self.here | self.ahead), 1)


class Walked:
    """Distances by going there."""

    def distance(self, page, other, steps_max):
        for direction in (1, -1):
            for steps, following in enumerate(islice(self.following(page, direction), steps_max), 1):
                if following == other:
                    return direction * steps
        return 0


class Trees(Walked):
    """Pages by number, in two trees: an index and its table."""

    def __init__(self, border):
        self.border = border

    def following(self, page, direction):
        low, high = (1, self.border) if page <= self.border else (self.border + 1, PAGES)
        return iter(range(page + direction, high + 1 if direction > 0 else low - 1, direction))

    def tree(self, page):
        return page > self.border


class ListOrder(Walked):
    """Any order at all."""

    def tree(self, page):
        return 0

    def __init__(self, pages):
        self.pages = pages
        self.position = {page: i for i, page in enumerate(pages)}

    def following(self, page, direction):
        i = self.position[page]
        yield from self.pages[i + 1 :] if direction > 0 else reversed(self.pages[:i])


@pytest.mark.parametrize("step", [1, -1])
def test_a_scan_by_number_needs_few_requests(step):
    reader = Reader().read_all(range(1, PAGES + 1)[::step], NumberOrder(PAGES))
    frames = PAGES // PER_FRAME
    assert reader.requests <= 16 + frames / 64
    assert reader.waits == 2, "the first frame, and the one that showed where it goes"
    assert not reader.ahead
    assert reader.readahead.use.used == frames - reader.waits


def test_a_scan_in_key_order_over_scattered_pages():
    pages = list(range(1, PAGES + 1))
    random.Random(3).shuffle(pages)
    assert Reader().read_all(pages, ListOrder(pages)).requests <= 30


@pytest.mark.parametrize("step", [40, -40, 600])
def test_a_strided_scan(step):
    pages = list(range(5, PAGES, abs(step)))[:: 1 if step > 0 else -1]
    reader = Reader().read_all(pages, NumberOrder(PAGES))
    assert reader.requests <= 12 + len(pages) / 6
    assert reader.wasted_part <= 0.1


def test_strides_that_are_not_quite_equal():
    """As when every hundredth row is read, and rows are not equally long."""
    chance, page, pages = random.Random(9), 1, []
    while page < PAGES:
        pages.append(page)
        page += chance.choice([39, 40, 40, 41])
    reader = Reader(frame_of=lambda page: page // 4).read_all(pages, NumberOrder(PAGES))
    assert reader.wasted_part <= 0.4
    assert reader.requests < len(pages) * 0.75


@pytest.mark.parametrize("frames", [10, 30, 100, 1000])
def test_random_lookups_waste_little_in_volumes_of_every_size(frames):
    for seed in range(4):
        chance = random.Random(seed)
        pages = frames * PER_FRAME
        reader = Reader().read_all((chance.randint(1, pages) for _ in range(300)), NumberOrder(pages))
        assert reader.wasted_part <= 0.1
        reader = Reader()
        for count in range(1, 30):
            reader.read(chance.randint(1, pages), NumberOrder(pages))
            assert len(reader.ahead) <= 3 + count / 10


def test_an_index_scan_goes_on_between_the_lookups_of_its_rows():
    index, table = range(1, 2001), range(2001, PAGES + 1)
    chance, reader, order = random.Random(1), Reader(), Trees(2000)
    for page in index:
        reader.read(page, order)
        for _ in range(2):
            reader.read(chance.choice(table), order)
    index_frames = len(index) // PER_FRAME
    table_frames = len({frame for frame in reader.here if frame >= index_frames})
    assert reader.waits - table_frames <= 8
    assert reader.requests - table_frames <= 16 + index_frames / 64
    assert reader.wasted_part <= 0.1


def test_short_ranges_fetch_little_more_than_themselves():
    reader = Reader().read_all(range(8000, 8160), NumberOrder(PAGES))
    assert len(reader.ahead) <= 8


def test_a_reader_that_passes_over_what_was_fetched_gets_smaller_windows():
    reader, pages = Reader(), list(range(1, PAGES + 1))
    # Every third frame, but never the same step twice: the order says what comes, and most of it is not wanted.
    chance, page = random.Random(4), 1
    while page < PAGES:
        reader.read(page, ListOrder(pages))
        page += PER_FRAME * chance.choice([1, 2, 3, 3])
    assert reader.largest <= 5
    assert reader.wasted_part <= 0.6


def test_a_scan_that_turns_elsewhere_starts_small_again():
    reader = Reader()
    for page in range(1, 4000):
        reader.read(page, NumberOrder(PAGES))
    before = len(reader.here | reader.ahead)
    reader.read(12_000, NumberOrder(PAGES))
    assert len(reader.here | reader.ahead) == before + 1


def test_scans_that_end_early_again_and_again_make_it_wary():
    chance, reader = random.Random(2), Reader()
    for _ in range(60):
        start = chance.randrange(1, PAGES - 100)
        for page in range(start, start + 40):
            reader.read(page, NumberOrder(PAGES))
    assert reader.wasted_part <= 0.15


def test_a_scan_has_no_more_ahead_than_it_read_until_it_has_read_much():
    reader, largest = Reader(), {}
    for page in range(1, 128 * PER_FRAME):
        reader.read(page, NumberOrder(PAGES))
        largest[len(reader.here)] = len(reader.ahead)
    assert all(ahead <= read for read, ahead in largest.items() if read < 16)
    assert all(ahead <= 2 * read for read, ahead in largest.items())
    assert max(ahead for read, ahead in largest.items() if read < 48) > 48, "a long one is not kept waiting"


def test_the_window_is_bounded():
    reader = Reader(frames_max=4).read_all(range(1, PAGES), NumberOrder(PAGES))
    assert reader.largest == 4, "and in the background no more than two windows are ahead, which the reader asserts"


class Scattered:
    """Some pages lie in small objects: ``each`` pages a piece, in frames by number."""

    def __init__(self, objects, each, seed=1):
        chance = random.Random(seed)
        self.frames = {}
        for name in range(objects):
            for place, page in enumerate(sorted(chance.sample(range(1, PAGES + 1), each))):
                self.frames[page] = (name + 1) * 100_000 + place // PER_FRAME

    def frame_of(self, page):
        return self.frames.get(page, (page - 1) // PER_FRAME)

    def object_of(self, frame):
        return frame // 100_000 or None

    def asked(self, reader):
        """How often any of the objects was asked for something."""
        return sum(len({self.object_of(frame) for frame in planned} - {None}) for planned in reader.plans)


@pytest.mark.parametrize("step", [1, -1])
def test_a_scan_asks_small_objects_for_all_that_it_will_want(step):
    scattered, pages = Scattered(objects=8, each=250), range(1, PAGES + 1)[::step]
    reader = Reader(frame_of=scattered.frame_of, object_of=scattered.object_of).read_all(pages, NumberOrder(PAGES))
    piecemeal = Reader(frame_of=scattered.frame_of).read_all(pages, NumberOrder(PAGES))
    assert reader.here == piecemeal.here
    assert not reader.ahead
    assert reader.waits <= piecemeal.waits
    assert scattered.asked(reader) <= 0.6 * scattered.asked(piecemeal)


def test_short_ranges_ask_small_objects_for_what_is_theirs():
    scattered = Scattered(objects=8, each=250)
    for start in range(1000, 16_000, 3000):
        reader = Reader(frame_of=scattered.frame_of, object_of=scattered.object_of)
        reader.read_all(range(start, start + 80), NumberOrder(PAGES))
        piecemeal = Reader(frame_of=scattered.frame_of).read_all(range(start, start + 80), NumberOrder(PAGES))
        assert len(reader.ahead - piecemeal.ahead) <= 8


def test_objects_of_many_frames_are_asked_for_what_comes_first():
    scattered = Scattered(objects=3, each=1500)
    reader = Reader(16, scattered.frame_of, scattered.object_of).read_all(range(1, PAGES + 1), NumberOrder(PAGES))
    piecemeal = Reader(16, scattered.frame_of).read_all(range(1, PAGES + 1), NumberOrder(PAGES))
    assert not reader.ahead
    assert scattered.asked(reader) <= 0.6 * scattered.asked(piecemeal)


@pytest.mark.parametrize("length", [150, 300, 600, 1200])
def test_what_goes_along_is_in_proportion_to_what_was_used(length):
    scattered = Scattered(objects=12, each=250)
    reader = Reader(64, scattered.frame_of, scattered.object_of, piggyback_max=256)
    reader.read_all(range(3000, 3000 + length), NumberOrder(PAGES))
    piecemeal = Reader(64, scattered.frame_of).read_all(range(3000, 3000 + length), NumberOrder(PAGES))
    assert len(reader.ahead - piecemeal.ahead) <= 3 * len(reader.here)


@pytest.mark.parametrize("piggyback_max", [0, 8, 24])
def test_what_goes_along_is_bounded(piggyback_max):
    scattered = Scattered(objects=40, each=250)
    reader = Reader(8, scattered.frame_of, scattered.object_of, piggyback_max)
    reader.read_all(range(1, PAGES + 1), NumberOrder(PAGES))
    assert reader.largest <= 1 + 8 + piggyback_max


def test_none_at_all():
    reader = Reader(frames_max=0).read_all(islice(range(1, PAGES), 1000), NumberOrder(PAGES))
    assert reader.readahead.use.frames == 0


@pytest.mark.parametrize("stride", [1, 3])
def test_distances_by_number_are_those_of_the_way(stride):
    order = NumberOrder(60, stride)
    for page in range(1, 61):
        for other in range(1, 61):
            assert order.distance(page, other, 7) == Walked.distance(order, page, other, 7)
