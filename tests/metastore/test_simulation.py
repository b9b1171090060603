"""The figures that the design promises: small indexes, few objects, however long the log.

A volume of 25,000 pages; each commit changes three of them, anywhere. Metadata alone, no page bodies.
"""

import math
import random
from dataclasses import dataclass

import pytest

from metastore.build import build_commit
from metastore.index import CommitIndex
from metastore.lsn import LSN, chain
from metastore.rollup import Changes, NewSegment
from metastore.testing import MemoryCommitLog
from pagestore.ids import SegmentId
from pagestore.parallel import Parallel
from pagestore.runtime import Runtime
from pagestore.segments.format import FrameExtent
from tests.metastore.volume_model import LOG, PAGE_SIZE, Place, Version, mixed

PAGES = 25_000


@dataclass(frozen=True)
class LiveVersion(Version):
    """A version that is changed in place: the model's own copies whole dicts."""

    def place(self, page: int, place: Place) -> None:
        number = (page - 1) // 4096
        old = self.places.get(page)
        change = mixed(page, place) ^ (mixed(page, old) if old else 0)
        self.chunk_fingerprints[number] = self.chunk_fingerprints.get(number, 0) ^ change
        self.places[page] = place


@dataclass
class Figures:
    entries: list[int]
    """Pages listed in each commit's index, bases apart."""
    index_bytes: list[int]
    """Of each commit, everything but the inline segment."""
    objects: list[int]
    """Commits that a cold read of each LSN composes the map from."""


def simulate(commits: int) -> Figures:
    chance = random.Random(1)
    runtime = Runtime(now_s=lambda: 1_700_000_000.0, entropy=chance.randbytes)
    version = LiveVersion(PAGES, {}, {})
    log, parallel, known = MemoryCommitLog(), Parallel(1), []
    figures = Figures([], [], [])
    for lsn in range(1, commits + 2):
        pages = list(range(1, PAGES + 1)) if lsn == 1 else sorted(chance.sample(range(1, PAGES + 1), 3))
        segment = SegmentId(chance.randbytes(16))
        frames = [
            FrameExtent(40 + 3000 * start, 3000 * 16, tuple(pages[start : start + 16]))
            for start in range(0, len(pages), 16)
        ]
        for frame in frames:
            for slot, page in enumerate(frame.pages):
                version.place(page, Place(segment, frame.offset, slot))
        inline = b"" if lsn == 1 else bytes(9000)
        new = build_commit(
            LOG, PAGE_SIZE, Changes([NewSegment(segment, frames, inline)], PAGES * PAGE_SIZE, PAGES, PAGES),
            sources=known, summary=version, commits=log, parallel=parallel, runtime=runtime,
        )  # fmt: skip
        index = CommitIndex.decode(new.data, LOG, new.lsn)
        by_lsn = {each.commit.lsn: each for each in [*known, index]}
        known = [by_lsn[each] for each in chain(LSN(lsn), LSN(index.commit.base - 1))]
        assert known[-1].commit.is_base
        if not index.commit.is_base:
            figures.entries.append(sum(index.placement(entry.number).pages for entry in index.commit.directory))
            figures.index_bytes.append(len(new.data) - len(inline))
        figures.objects.append(len(known))
    return figures


def mean(values):
    return sum(values) / len(values)


def test_two_thousand_commits():
    figures = simulate(2_000)
    assert mean(figures.entries) < 15
    assert max(figures.entries) < PAGES / 2
    assert mean(figures.index_bytes) < 900
    assert mean(figures.objects) < 6.5
    assert max(figures.objects) <= math.floor(math.log2(2_001)) + 1


@pytest.mark.long
def test_a_hundred_thousand_commits():
    figures = simulate(100_000)
    assert mean(figures.entries) < 23
    assert mean(figures.objects) < 9
    assert max(figures.objects) <= 14
