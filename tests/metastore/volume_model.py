"""An independent, naive model of a volume: what each page's place is, as a dict, at every LSN.

It shares no code with what it judges: truncation is the deletion of dict entries, fingerprints are computed a page at
a time with Python's integers, and a version is the dict itself. Pages have no bodies here, only places.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import xxhash

from metastore.build import NewCommit, Origin, build_commit
from metastore.commit import CommitKind
from metastore.ids import LogId
from metastore.index import read_chain
from metastore.lsn import BEFORE_FIRST, LSN
from metastore.rollup import Changes, NewSegment
from pagestore.ids import SegmentId
from pagestore.parallel import Parallel
from pagestore.runtime import Runtime
from pagestore.segments.format import FrameExtent

PAGE_SIZE = 4096
CHUNK = 4096
MASK = 2**64 - 1
LOG = LogId(bytes(range(16)))

PAGE_POOL = [*range(1, 21), *range(4090, 4101), *range(8190, 8201)]
"""Few pages, spread over three chunks and both borders between them."""
SIZE_POOL = [0, 1, 5, 19, 20, 4091, 4095, 4096, 4097, 4100, 8191, 8192, 8193, 8200]
"""Page counts that cut at, before and after the borders."""


class Place(NamedTuple):
    segment: SegmentId
    offset: int
    slot: int


class Step(NamedTuple):
    """One local commit: the volume gets this size, then these pages are written."""

    page_count: int
    pages: frozenset[int]


@dataclass(frozen=True)
class Push:
    """Local commits that become one commit of the log."""

    steps: tuple[Step, ...]
    frame_pages: int = 2
    inline_bytes: int = 0
    """0: the segment is an object of its own."""
    shuffled: bool = False
    """Frames in layout order instead of page order."""
    rewrites_all: bool = False
    """A compaction: every live page gets a new place."""
    top_inline: bool = False
    """The first of several frames is a segment of its own, inside the commit, and the others are an object."""


def mixed(page: int, place: Place) -> int:
    seed = xxhash.xxh3_64_intdigest(place.segment.raw + place.offset.to_bytes(8, "little"))
    x = (seed + page * 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


@dataclass(frozen=True)
class Version:
    """A volume at one LSN; also the `MapSummary` of its commit."""

    page_count: int = 0
    places: dict[int, Place] = field(default_factory=dict)
    chunk_fingerprints: dict[int, int] = field(default_factory=dict)
    """Of chunks that have pages, or had."""

    @property
    def live_pages(self) -> int:
        return len(self.places)

    @property
    def fingerprint(self) -> int:
        whole = 0
        for each in self.chunk_fingerprints.values():
            whole ^= each
        return whole

    def chunk_fingerprint(self, number: int) -> int:
        return self.chunk_fingerprints.get(number, 0)

    def changed(self, page_count: int, places: dict[int, Place], touched: set[int]) -> "Version":
        """Return the version with these places; only ``touched`` pages are other than here."""
        prints = dict(self.chunk_fingerprints)
        for page in touched:
            number = (page - 1) // CHUNK
            for place in (self.places.get(page), places.get(page)):
                if place is not None:
                    prints[number] = prints.get(number, 0) ^ mixed(page, place)
        return Version(page_count, places, prints)


@dataclass
class ModelVolume:
    """Writes to a log through the code under test, and remembers what is true."""

    commits: object
    parallel: Parallel
    seed: int = 0
    log: LogId = LOG
    versions: list[Version] = field(default_factory=lambda: [Version()])
    """By LSN."""
    known: dict = field(default_factory=dict)
    """What the writer has read of the log or written to it."""
    check: Callable[[NewCommit, Changes, Version], None] | None = None
    """Called with each commit before it is appended."""

    def __post_init__(self):
        self.random = random.Random(self.seed)
        self.clock = 1_700_000_000.0
        self.runtime = Runtime(now_s=self._now_s, entropy=self.random.randbytes)

    @property
    def head(self) -> LSN:
        return LSN(len(self.versions) - 1)

    def push(self, push: Push) -> NewCommit:
        version, changes = self._apply(push)
        sources = self.chain(self.head)
        new = build_commit(
            self.log,
            PAGE_SIZE,
            changes,
            sources=sources,
            summary=version,
            commits=self.commits,
            parallel=self.parallel,
            origin=Origin(CommitKind.COMPACT if push.rewrites_all else CommitKind.WRITE),
            runtime=self.runtime,
        )
        if self.check is not None:
            self.check(new, changes, version)
        assert self.commits.append(self.log, new.lsn, new.data)
        self.versions.append(version)
        return new

    def chain(self, head: LSN) -> list:
        if head == BEFORE_FIRST:
            return []
        found = read_chain(self.commits, self.parallel, self.log, head, known=self.known)
        self.known = {index.commit.lsn: index for index in found}
        return found

    def _now_s(self) -> float:
        self.clock += self.random.choice([-5.0, 0.0, 0.001, 60.0])  # clocks go back, too
        return self.clock

    def _apply(self, push: Push) -> tuple[Version, Changes]:
        before = self.versions[-1]
        places, touched = dict(before.places), set()
        written: set[int] = set()
        page_count, smallest = before.page_count, None
        for step in push.steps:
            page_count = step.page_count
            smallest = page_count if smallest is None else min(smallest, page_count)
            for page in [page for page in places if page > page_count] if page_count < before.page_count else []:
                del places[page]
                touched.add(page)
            written = {page for page in written if page <= page_count}
            written |= {page for page in step.pages if page <= page_count}
        if push.rewrites_all:
            written |= set(places)
        segments = self._segments(self._frames(sorted(written), push), push)
        for segment in segments:
            for frame in segment.frames:
                for slot, page in enumerate(frame.pages):
                    places[page] = Place(segment.segment, frame.offset, slot)
        version = before.changed(page_count, places, touched | written)
        changes = Changes(
            segments=segments,
            byte_size=page_count * PAGE_SIZE,
            page_count=page_count,
            min_page_count=page_count if smallest is None else smallest,
        )
        return version, changes

    def _segments(self, frames: list[FrameExtent], push: Push) -> list[NewSegment]:
        parts = [frames[:1], frames[1:]] if push.top_inline and len(frames) > 1 else [frames] if frames else []
        sizes = [500, 0] if len(parts) > 1 else [push.inline_bytes]
        return [
            NewSegment(SegmentId(self.random.randbytes(16)), part, self.random.randbytes(size))
            for part, size in zip(parts, sizes, strict=False)
        ]

    def _frames(self, pages: list[int], push: Push) -> list[FrameExtent]:
        groups = [pages[start : start + push.frame_pages] for start in range(0, len(pages), push.frame_pages)]
        if push.shuffled:
            self.random.shuffle(pages)
            groups = [
                sorted(pages[start : start + push.frame_pages]) for start in range(0, len(pages), push.frame_pages)
            ]
        frames, offset = [], 40
        for group in groups:
            length = self.random.randint(30, 9000)
            frames.append(FrameExtent(offset, length, tuple(group)))
            offset += length
        return frames


def random_push(chance: random.Random, page_count: int) -> Push:
    """Return a push of the kind that finds mistakes: small changes, cuts, regrowth, now and then a compaction."""
    steps = []
    for _ in range(chance.choice([1, 1, 1, 2, 3, 4])):
        if chance.random() < 0.45:
            page_count = chance.choice(SIZE_POOL)
        pages = [page for page in PAGE_POOL if page <= page_count]
        wanted = chance.choice([0, 1, 1, 2, 3, 3, len(pages) // 2])
        steps.append(Step(page_count, frozenset(chance.sample(pages, min(wanted, len(pages))))))
    return Push(
        steps=tuple(steps),
        frame_pages=chance.choice([1, 2, 3, 16]),
        inline_bytes=chance.choice([0, 0, 1, 500]),
        shuffled=chance.random() < 0.2,
        rewrites_all=chance.random() < 0.03,
        top_inline=len(steps) == 3,
    )


def growing_push(chance: random.Random, page_count: int) -> Push:
    """Return a push that seldom cuts, so that most commits are roll-ups and not bases."""
    push = random_push(chance, 8200)
    if chance.random() < 0.03:
        return push
    few = tuple(Step(8200, frozenset(sorted(step.pages)[:2])) for step in push.steps)
    return replace(push, steps=few, rewrites_all=False)


def written_volume(
    commits, parallel, seed: int, pushes: int, *, make: Callable = random_push, **options
) -> ModelVolume:
    """Return a volume of ``pushes`` commits; the first fills it."""
    volume = ModelVolume(commits, parallel, seed, **options)
    chance = random.Random(seed * 1009 + 7)
    volume.push(Push((Step(8200, frozenset(PAGE_POOL)),), frame_pages=4))
    for _ in range(pushes - 1):
        volume.push(make(chance, volume.versions[-1].page_count))
    return volume


def places_of(sources: Sequence) -> dict[int, Place]:
    """Read a chain as docs/formats/commit.md says, a page at a time."""
    places: dict[int, Place] = {}
    decided: set[int] = set()
    limit = sources[0].commit.page_count
    for source in sources:
        for entry in source.commit.directory:
            chunk = source.placement(entry.number)
            for low, frame, slot in zip(chunk.page_low, chunk.page_frame, chunk.page_slot, strict=True):
                page = entry.number * CHUNK + int(low) + 1
                if page <= limit and page not in decided:
                    segment = source.commit.segments[chunk.frame_segment[frame]].segment
                    places[page] = Place(segment, int(chunk.frame_offset[frame]), int(slot))
                    decided.add(page)
        limit = min(limit, source.commit.min_page_count)
    return places


CUTS = [1, 19, 4089, 4095, 4096, 4097, 8191, 8192, 8193, 8199]


def cut_and_regrown(commits, parallel, cut: int, *, regrown: bool) -> ModelVolume:
    """Return a volume that is cut to ``cut`` pages in a commit that is no base, on a roll-up and a base below it.

    The first chunk is so full that the cut does not make a base.
    """
    volume = ModelVolume(commits, parallel)
    full = frozenset([*range(1, 400), *PAGE_POOL])
    volume.push(Push((Step(8200, full),), frame_pages=16))
    for page in (2, 4092, 8193, 4097):
        volume.push(Push((Step(8200, frozenset({page})),)))
    last = Step(8200, frozenset()) if regrown else Step(cut, frozenset())
    volume.push(Push((Step(cut, frozenset()), last)))
    for page in (1, 4090, 8195, 2, 3):
        volume.push(Push((Step(8200, frozenset({page})),)))
    return volume
