"""A commit: one entry of a log.

Invariants:
- `covers_after` is 0 or the Fenwick bound of the LSN; 0 makes the commit a *base*, whose index is the whole page map;
- a commit whose range contains a base is a base too, so the chain of any commit leads to its newest base, `base`;
- the directory is sorted by chunk number and lists every chunk that changed in the covered range and still has pages.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from metastore.ids import LogId
from metastore.lsn import BEFORE_FIRST, LSN
from metastore.placement import SegmentRef
from pagestore.pages import page_count_of

NONCE_BYTES = 16
HASH_BYTES = 16


class CommitKind(IntEnum):
    """What made a commit."""

    WRITE = 1
    COMPACT = 2
    FORK = 3


@dataclass(frozen=True, slots=True)
class DirectoryEntry:
    """One chunk of a commit's index."""

    number: int
    """The chunk's number; its first page is ``number × 4096 + 1``."""
    offset: int
    """In bytes from the start of the commit object."""
    length: int
    """In bytes."""
    digest: int
    """xxh3-64 of the stored chunk."""
    fingerprint: int
    """The fingerprint of the *whole* chunk of the page map as of this commit, not just of the pages placed here."""


@dataclass(frozen=True, slots=True)
class CommitFields:
    """The fields of a commit's head that its writer decides, besides the index."""

    log: LogId
    lsn: LSN
    kind: CommitKind
    page_size: int
    """In bytes; the same in every commit of a log."""
    covers_after: LSN
    base: LSN
    byte_size: int
    """The size of the volume: a multiple of the page size for a database, any number for a raw volume."""
    min_page_count: int
    """The smallest page count within the covered range, 0 in a base; older places of pages above it are void."""
    live_pages: int
    """How many pages of the volume have a body; the others read as zeros."""
    changed_pages: int
    """How many pages this commit alone changed."""
    timestamp_us: int
    """Microseconds since the Unix epoch by the writer's clock, but always later than the parent's."""
    nonce: bytes
    """Random bytes by which a writer recognises its own commit."""
    parent_hash: bytes
    """The parent's `hash`; in a log's first commit zeros, or the hash of the commit that it was forked from."""
    fingerprint: int
    """The fingerprint of the whole page map (`metastore.fingerprint`)."""
    attributes: Mapping[str, bytes]
    """Small values for higher layers, such as a message."""


@dataclass(frozen=True, slots=True)
class Commit(CommitFields):
    """The head of a commit object: everything except the index chunks and the inline segment."""

    segments: tuple[SegmentRef, ...]
    """The segment table: index chunks name segments by their position in it."""
    directory: tuple[DirectoryEntry, ...]
    inline_offset: int
    inline_length: int
    """Bytes of the inline segment, 0 for none."""
    hash: bytes
    """xxh3-128 of the head, which includes the digests of everything else."""
    total_length: int
    """Bytes of the whole commit object."""

    @property
    def page_count(self) -> int:
        """The number of pages of the volume."""
        return page_count_of(self.byte_size, self.page_size)

    @property
    def is_base(self) -> bool:
        """Whether the index is the whole page map."""
        return self.covers_after == BEFORE_FIRST
