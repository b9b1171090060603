"""Counts and times codecs, dictionaries and frame sizes on the pages of a database."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.layout.model import Cost, InteriorPages
from graft_sqlite_vfs.btree.pages import reading_order
from graft_sqlite_vfs.btree.schema import root_pages
from pagestore.ids import ID_BYTES, SegmentId
from pagestore.pages import PageIdx
from pagestore.segments.codec import Codec
from pagestore.segments.dictionary import Dictionary, encode_dictionary, train
from pagestore.segments.format import decode_frame, encode_frame

PAGE_SIZE = 4096
FRAME_PAGES = (1, 4, 8, 16, 32, 64)
PAGES_AT_ONCE = (1, 16, 64, 256)
_SEGMENT = SegmentId(bytes(range(ID_BYTES)))
_RUN_PAGES = 64
_SAMPLES, _SAMPLE_BYTES = 1600, 2048


@dataclass(frozen=True, slots=True)
class Way:
    """A codec with its level and dictionary."""

    name: str
    codec: Codec
    level: int | None = None
    dictionary_bytes: int = 0


WAYS = (
    Way("lz4", Codec.LZ4),
    *(Way(f"zstd-{level}", Codec.ZSTD, level) for level in (1, 3, 6, 9)),
    *(
        Way(f"zstd-{level} + {size} KiB", Codec.ZSTD_DICTIONARY, level, size * 1024)
        for level, size in ((3, 32), (3, 64), (3, 110), (6, 110))
    ),
)


class Database:
    """The pages of a plain SQLite file in the order in which an import writes them."""

    def __init__(self, path: Path) -> None:
        """Read all of it."""
        data = memoryview(path.read_bytes())
        self.page_count = len(data) // PAGE_SIZE

        def read(page: int) -> memoryview:
            return data[(page - 1) * PAGE_SIZE : page * PAGE_SIZE]

        self.read = read
        self.interior, self.leaves = reading_order(read, root_pages(read, self.page_count), self.page_count)

    def sample(self, pages: int) -> list[int]:
        """Return about ``count`` leaves, in runs from all over the database."""
        runs = max(1, pages // _RUN_PAGES)
        starts = np.linspace(0, max(0, len(self.leaves) - _RUN_PAGES), runs).astype(int).tolist()
        return [page for start in starts for page in self.leaves[start : start + _RUN_PAGES]]

    def dictionary(self, size: int) -> Dictionary | None:
        """Return a dictionary as an import would make it."""
        picked = np.linspace(0, len(self.leaves) - 1, min(_SAMPLES, len(self.leaves))).astype(int).tolist()
        step, last = 937, PAGE_SIZE - _SAMPLE_BYTES
        return train(
            [
                bytes(self.read(self.leaves[place])[number * step % (last + 1) :][:_SAMPLE_BYTES])
                for number, place in enumerate(picked)
            ],
            size,
        )


def costs(database: Database, sample_pages: int, told: Callable[[str], None]) -> Iterator[Cost]:
    """Yield the cost of each codec at each frame size, scaled from a sample to the whole database."""
    sample = database.sample(sample_pages)
    scale = len(database.leaves) / len(sample)
    for way in WAYS:
        told(way.name)
        dictionary = database.dictionary(way.dictionary_bytes) if way.dictionary_bytes else None
        if way.dictionary_bytes and dictionary is None:
            continue
        held = len(encode_dictionary(_SEGMENT, dictionary)) if dictionary else 0
        for count in FRAME_PAGES:
            frames = [sorted(sample[start : start + count]) for start in range(0, len(sample), count)]
            bodies = [[database.read(page) for page in frame] for frame in frames]
            began = time.process_time()
            stored = [_encoded(frame, body, way, dictionary) for frame, body in zip(frames, bodies, strict=True)]
            encoded = time.process_time()
            for frame in stored:
                decode_frame(frame, _SEGMENT, PAGE_SIZE, dictionary)
            decoded = time.process_time()
            size = sum(map(len, stored))
            yield Cost(
                way.name, count, round(size * scale) + held, size / len(stored), held,
                (encoded - began) * scale, (decoded - encoded) * scale,
            )  # fmt: skip


def ways_down(database: Database) -> Iterator[InteriorPages]:
    """Yield the bytes of the interior pages in frames of several sizes, plain and as deltas."""
    for codec in (Codec.ZSTD, Codec.ZSTD_STRIDES):
        for count in PAGES_AT_ONCE:
            frames = [
                sorted(database.interior[start : start + count]) for start in range(0, len(database.interior), count)
            ]
            sizes = [len(_encoded(frame, list(map(database.read, frame)), Way("", codec), None)) for frame in frames]
            yield InteriorPages(count, codec is Codec.ZSTD_STRIDES, len(frames), sizes[0], sum(sizes))


def _encoded(pages: Sequence[int], bodies: Sequence[memoryview], way: Way, dictionary: Dictionary | None) -> bytes:
    return encode_frame(
        _SEGMENT, PAGE_SIZE, [PageIdx(page) for page in pages], bodies, way.codec, way.level, dictionary
    )  # fmt: skip
