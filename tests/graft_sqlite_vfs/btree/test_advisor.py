"""What a file's advisor looks at, and when: for every volume that is opened, the first lookup waits for it."""

from types import SimpleNamespace

import apsw
import pytest

from graft_sqlite_vfs.btree import advisor as module
from graft_sqlite_vfs.btree.advisor import BtreeAdvisor
from graft_sqlite_vfs.btree.key_order import Parents

PAGE = 512
FRAME_PAGES = 8
HERE = 0
"""The frame that has page 1 and all interior pages."""


class Volume:
    """A snapshot of a large table, laid out for cold readers; frames count up in key order."""

    def __init__(self, path):
        connection = apsw.Connection(str(path))
        connection.pragma("page_size", PAGE)
        connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, text TEXT)")
        with connection:
            rows = ((n, f"{n:080d}") for n in range(12_000))
            connection.executemany("INSERT INTO t VALUES (?, ?)", rows)
        kinds = connection.execute("SELECT pageno, pagetype FROM dbstat WHERE name = 't' ORDER BY path").fetchall()
        connection.close()
        data = path.read_bytes()
        self.page_size, self.page_count, self.content_version = PAGE, len(data) // PAGE, 1
        self.leaves = [page for page, kind in kinds if kind == "leaf"]
        first = [1, *(page for page, kind in kinds if kind == "internal")]
        self.frames = {page: 1 + place // FRAME_PAGES for place, page in enumerate(self.leaves)}
        bodies = b"".join(data[(page - 1) * PAGE : page * PAGE] for page in first)
        self.bodies = {HERE: SimpleNamespace(pages=first, data=memoryview(bodies))}
        self.page_map = SimpleNamespace(table=SimpleNamespace(body=self.bodies.get))
        self.first, self.data = set(first), data

    def missing_frame(self, page):
        return None if self.frames.get(page) in self.bodies else self.frames.get(page)

    def small_object(self, frame):
        return None

    def peek(self, page):
        return self.data[(page - 1) * PAGE : page * PAGE] if page in self.first else None

    def leaf(self, place):
        page = self.leaves[place]
        return page, self.frames[page]

    def read(self, advisor, page, frame):
        planned = advisor.plan(self, page, frame)
        self.bodies |= {number: self.bodies.get(number) for number in planned}
        advisor.arrived(self, planned)
        return planned


@pytest.fixture
def volume(tmp_path):
    return Volume(tmp_path / "plain.db")


@pytest.fixture
def advised(volume, monkeypatch):
    """A reader that has come to page 1, and what is known to it of the tree."""
    known = Parents()
    monkeypatch.setattr(module, "_parents", SimpleNamespace(setdefault=lambda *_: known))
    advisor = BtreeAdvisor(SimpleNamespace(settings=SimpleNamespace(readahead_frames_max=16, piggyback_frames_max=16)))
    assert volume.read(advisor, 1, HERE) == [HERE]
    return advisor, known


def test_a_lookup_far_from_page_1_does_not_wait_until_the_way_there_is_understood(volume, advised):
    advisor, known = advised
    page, frame = volume.leaf(-3)
    assert volume.read(advisor, page, frame) == [frame]
    assert list(known.unseen) == [HERE, frame]
    assert volume.read(advisor, *volume.leaf(700)) == [volume.leaf(700)[1]]
    assert known.of(page)


def test_a_scan_that_begins_there_loses_nothing_by_that(volume, advised):
    advisor, _ = advised
    start = len(volume.leaves) // 2
    page, frame = volume.leaf(start)
    assert page > 1025
    assert volume.read(advisor, page, frame) == [frame]
    page, frame = volume.leaf(start + FRAME_PAGES)
    assert volume.read(advisor, page, frame) == [frame, frame + 1]


def test_what_is_near_page_1_may_begin_a_scan(volume, advised):
    advisor, known = advised
    page, frame = volume.leaf(2)
    assert page <= 1025
    volume.read(advisor, page, frame)
    assert HERE not in known.unseen
