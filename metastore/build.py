"""Builds a commit on top of a log's head."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from metastore.commit import HASH_BYTES, NONCE_BYTES, Commit, CommitKind
from metastore.commit_codec import ChunkBytes, CommitDraft, encode_commit
from metastore.commitlog import CommitLog
from metastore.ids import LogId
from metastore.index import CommitIndex, load_chunks
from metastore.lsn import BEFORE_FIRST, LSN, covers_after
from metastore.placement_codec import encode_placement
from metastore.rollup import Changes, RollUp, as_base, roll_up
from pagestore.pages import page_count_of
from pagestore.parallel import Parallel
from pagestore.runtime import SYSTEM, Runtime


class MapSummary(Protocol):
    """What a commit records of the page map that it produces."""

    @property
    def live_pages(self) -> int:
        """The number of pages that have a body."""
        ...

    @property
    def fingerprint(self) -> int:
        """The fingerprint of the whole map."""
        ...

    def chunk_fingerprint(self, number: int) -> int:
        """Return the fingerprint of one chunk."""
        ...


@dataclass(frozen=True, slots=True)
class NewCommit:
    """A commit that is ready to be appended."""

    log: LogId
    lsn: LSN
    nonce: bytes
    data: bytes


@dataclass(frozen=True, slots=True)
class Origin:
    """What a commit records besides its pages."""

    kind: CommitKind = CommitKind.WRITE
    attributes: Mapping[str, bytes] = field(default_factory=dict)


def build_commit(
    log: LogId,
    page_size: int,
    changes: Changes,
    *,
    sources: Sequence[CommitIndex],
    summary: MapSummary,
    commits: CommitLog,
    parallel: Parallel,
    origin: Origin | None = None,
    runtime: Runtime = SYSTEM,
) -> NewCommit:
    """Build the commit after ``sources[0]``, or the first commit of the log if ``sources`` is empty.

    ``sources`` is the chain from the log's head down to its base (`metastore.index.read_chain`). Chunks that the
    roll-up needs and that have not been read are fetched. ``summary`` describes the page map after ``changes``. If
    ``sources`` are of another log, this one is a branch's that begins here: the commit is a base.
    """
    origin = origin or Origin()
    parent = sources[0].commit if sources else None
    begins_branch = parent is not None and parent.log != log
    lsn = LSN(parent.lsn + 1 if parent else 1)
    assert changes.page_count == page_count_of(changes.byte_size, page_size), "BUG: sizes disagree"
    assert changes.min_page_count <= changes.page_count, "BUG: the minimum exceeds the page count"
    bound = BEFORE_FIRST if begins_branch else covers_after(lsn)
    bound, merged = _merged(bound, changes, sources, summary.live_pages, commits, parallel)
    now_us = int(runtime.now_s() * 1_000_000)
    nonce = runtime.entropy(NONCE_BYTES)
    draft = CommitDraft(
        log=log,
        lsn=lsn,
        kind=origin.kind,
        page_size=page_size,
        covers_after=bound,
        base=lsn if bound == BEFORE_FIRST else _base_of(parent),
        byte_size=changes.byte_size,
        min_page_count=merged.min_page_count,
        live_pages=summary.live_pages,
        changed_pages=sum(segment.pages for segment in changes.segments)
        + sum(placement.pages for placement in changes.reused.values())
        - changes.carried_pages,
        timestamp_us=max(now_us, parent.timestamp_us + 1) if parent else now_us,
        nonce=nonce,
        parent_hash=parent.hash if parent else bytes(HASH_BYTES),
        fingerprint=summary.fingerprint,
        attributes=origin.attributes,
        segments=merged.segments,
        chunks=encoded_chunks(merged, summary),
        inline=changes.inline,
    )
    return NewCommit(log, lsn, nonce, encode_commit(draft))


def build_fork(
    log: LogId,
    sources: Sequence[CommitIndex],
    summary: MapSummary,
    *,
    commits: CommitLog,
    parallel: Parallel,
    origin: Origin,
    runtime: Runtime = SYSTEM,
) -> NewCommit:
    """Build the first commit of a new log: a base with the page map of ``sources[0]``, a commit of another log."""
    parent = sources[0].commit
    _load_all(sources, commits, parallel)
    unchanged = Changes(
        segments=(),
        byte_size=parent.byte_size,
        page_count=parent.page_count,
        min_page_count=parent.page_count,
    )
    merged = as_base(roll_up(unchanged, sources))
    nonce = runtime.entropy(NONCE_BYTES)
    draft = CommitDraft(
        log=log,
        lsn=LSN(1),
        kind=origin.kind,
        page_size=parent.page_size,
        covers_after=BEFORE_FIRST,
        base=LSN(1),
        byte_size=parent.byte_size,
        min_page_count=0,
        live_pages=parent.live_pages,
        changed_pages=0,
        timestamp_us=max(int(runtime.now_s() * 1_000_000), parent.timestamp_us + 1),
        nonce=nonce,
        parent_hash=parent.hash,
        fingerprint=parent.fingerprint,
        attributes=origin.attributes,
        segments=merged.segments,
        chunks=encoded_chunks(merged, summary),
        inline=b"",
    )
    return NewCommit(log, LSN(1), nonce, encode_commit(draft))


def encoded_chunks(merged: RollUp, summary: MapSummary) -> list[ChunkBytes]:
    """Return the chunks of a commit's index, in directory order."""
    return [
        ChunkBytes(number, encode_placement(placement), summary.chunk_fingerprint(number))
        for number, placement in sorted(merged.placements.items())
    ]


def _merged(
    bound: LSN,
    changes: Changes,
    sources: Sequence[CommitIndex],
    live_pages: int,
    commits: CommitLog,
    parallel: Parallel,
) -> tuple[LSN, RollUp]:
    in_range = [source for source in sources if source.commit.lsn > bound]
    _load_all(in_range, commits, parallel)
    pages_before = sources[0].commit.page_count if sources else 0
    merged = roll_up(changes, in_range, pages_before)
    if bound != BEFORE_FIRST and merged.pages * 2 < live_pages:
        return bound, merged
    if len(in_range) < len(sources):
        _load_all(sources, commits, parallel)
        merged = roll_up(changes, sources, pages_before)
    return BEFORE_FIRST, as_base(merged)


def _load_all(sources: Iterable[CommitIndex], commits: CommitLog, parallel: Parallel) -> None:
    load_chunks(commits, parallel, [(index, entry.number) for index in sources for entry in index.commit.directory])


def _base_of(parent: Commit | None) -> LSN:
    assert parent is not None, "BUG: the first commit of a log is a base"
    return parent.base
