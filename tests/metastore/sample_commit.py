"""Commits with fixed content, for tests and golden files. docs/formats/commit.md describes them."""

from pathlib import Path

from metastore.build import Origin, build_commit
from metastore.commit import CommitKind
from metastore.commit_codec import ChunkBytes, CommitDraft
from metastore.ids import LogId
from metastore.index import CommitIndex
from metastore.lsn import LSN
from metastore.placement import InCommit, OwnObject, SegmentRef
from metastore.rollup import Changes, NewSegment
from metastore.testing import MemoryCommitLog
from pagestore.ids import SegmentId
from pagestore.parallel import Parallel
from pagestore.runtime import Runtime
from pagestore.segments.codec import Codec
from tests.metastore.volume_model import Place, Version
from tests.pagestore.segments.sample_segment import PAGE_SIZE, SEGMENT, write_segment

GOLDEN = Path(__file__).parent / "golden"
LOG = LogId.parse("l-00112233445566778899aabbccddeeff")
OTHER_LOG = LogId.parse("l-ffeeddccbbaa99887766554433221100")
FIRST_SEGMENT = SegmentId.parse("s-0f0e0d0c0b0a09080706050403020100")
PAGE_COUNT = 9000


def draft(**changes) -> CommitDraft:
    """Return a draft with every kind of part; nothing in it is composed from anything."""
    fields = {
        "log": LOG,
        "lsn": LSN(14),
        "kind": CommitKind.WRITE,
        "page_size": 4096,
        "covers_after": LSN(12),
        "base": LSN(8),
        "byte_size": 4096 * PAGE_COUNT,
        "min_page_count": 8000,
        "live_pages": 7000,
        "changed_pages": 3,
        "timestamp_us": 1_700_000_000_123_456,
        "nonce": bytes(range(100, 116)),
        "parent_hash": bytes(range(200, 216)),
        "fingerprint": 0xFEDCBA9876543210,
        "attributes": {"message": "käse".encode(), "empty": b"", "tables": b"\0\1"},
        "segments": [
            SEGMENT,
            SegmentRef(FIRST_SEGMENT, OwnObject()),
            SegmentRef(FIRST_SEGMENT, InCommit(OTHER_LOG, LSN(13), 345)),
        ],
        "chunks": [ChunkBytes(0, b"chunk zero", 0x1111), ChunkBytes(2, b"and chunk two", 0x2222)],
        "inline": b"the inline segment",
    }
    return CommitDraft(**(fields | changes))


def golden_commits() -> dict[str, bytes]:
    """Return by file name the first three commits of a log: a base, an inline write that cuts, an empty cut."""
    log, found = MemoryCommitLog(), {}
    parallel = Parallel(1)

    def add(name, sources, version, changes, origin):
        runtime = Runtime(now_s=lambda: 1_700_000_000.0, entropy=lambda count: bytes([len(found)]) * count)
        new = build_commit(
            LOG, PAGE_SIZE, changes, sources=sources, summary=version, commits=log, parallel=parallel,
            origin=origin, runtime=runtime,
        )  # fmt: skip
        found[name] = new.data
        log.append(LOG, new.lsn, new.data)
        return CommitIndex.decode(new.data, LOG, new.lsn)

    def version_after(before, page_count, segment, frames, kept):
        places = {page: place for page, place in before.places.items() if page <= kept}
        for frame in frames:
            places |= {page: Place(segment, frame.offset, slot) for slot, page in enumerate(frame.pages)}
        return before.changed(page_count, places, set(before.places) | set(places))

    # So few pages that no chunk of the index is compressed: compressors of other versions give other bytes.
    pages = [1, 2, 3, 4, 5, 4095, 4096, 4097, 4099, 8999]
    _, frames = write_segment(pages, segment=FIRST_SEGMENT, frame_bytes=4 * PAGE_SIZE, codec=Codec.RAW)
    first = version_after(Version(), PAGE_COUNT, FIRST_SEGMENT, frames, 0)
    base = add(
        "commit_v1_base.golden",
        [],
        first,
        Changes([NewSegment(FIRST_SEGMENT, frames)], PAGE_COUNT * PAGE_SIZE, PAGE_COUNT, 0),
        Origin(CommitKind.COMPACT),
    )
    second = add(
        "commit_v1_size_not_whole_pages.golden",
        [base],
        version_after(first, PAGE_COUNT, FIRST_SEGMENT, [], PAGE_COUNT),
        Changes([], PAGE_COUNT * PAGE_SIZE - 100, PAGE_COUNT, PAGE_COUNT),
        Origin(),
    )
    inline, frames = write_segment([2, 5, 4091], frame_bytes=2 * PAGE_SIZE, codec=Codec.RAW)
    third = version_after(first, 5000, SEGMENT, frames, 4095)
    add(
        "commit_v1_inline_cut.golden",
        [second],
        third,
        Changes([NewSegment(SEGMENT, frames, inline)], 5000 * PAGE_SIZE, 5000, 4095),
        Origin(attributes={"message": "käse".encode(), "tables": b"\0\1"}),
    )
    return found
