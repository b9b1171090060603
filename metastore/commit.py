"""A commit: what a log holds at one LSN.

Invariants: `covers_after` is 0 (the commit is a *base*: its index alone is the whole page map) or the Fenwick
bound of its LSN; a commit whose range holds a base is one too, so that the newest base, `base`, is always met on
the way down the chain; the directory is sorted by chunk number and names every chunk that changed in the covered
range and still has pages.
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
    """Why a commit was made."""

    WRITE = 1
    COMPACT = 2
    FORK = 3


@dataclass(frozen=True, slots=True)
class DirectoryEntry:
    """One chunk of a commit's index."""

    number: int
    """The chunk: pages ``number × 4096 + 1`` and on."""
    offset: int
    """Bytes from the start of the commit object."""
    length: int
    """Bytes."""
    digest: int
    """xxh3-64 of the stored chunk."""
    fingerprint: int
    """Of the *whole* chunk of the page map as of this commit, not just of the pages placed here."""


@dataclass(frozen=True, slots=True)
class Commit:
    """The head of a commit object: everything but the index's chunks and the inline segment."""

    log: LogId
    lsn: LSN
    kind: CommitKind
    page_size: int
    """Bytes, the same in every commit of a log."""
    covers_after: LSN
    base: LSN
    byte_size: int
    """Size of the volume; a multiple of the page size for a database, any number for a raw volume."""
    min_page_count: int
    """Smallest page count reached in the covered range, 0 in a base: older places above it are void."""
    live_pages: int
    """Pages of the volume that have a body; the others read as zeros."""
    changed_pages: int
    """Pages that this commit alone changed."""
    timestamp_us: int
    """Microseconds since the Unix epoch by the writer's clock, later than the parent's."""
    nonce: bytes
    """Random bytes by which a writer recognises its own commit."""
    parent_hash: bytes
    """`hash` of the commit before; of a log's first, zeros or that of the commit it was forked from."""
    fingerprint: int
    """Of the whole page map (`metastore.fingerprint`)."""
    attributes: Mapping[str, bytes]
    """Small facts for layers above, such as a message."""
    segments: tuple[SegmentRef, ...]
    """The segment table: index chunks name segments by their position here."""
    directory: tuple[DirectoryEntry, ...]
    inline_offset: int
    inline_length: int
    """Bytes of the inline segment, 0 for none."""
    hash: bytes
    """xxh3-128 of the head, which contains the digests of everything else."""
    total_length: int
    """Bytes of the whole commit object."""

    @property
    def page_count(self) -> int:
        """How many pages the volume has."""
        return page_count_of(self.byte_size, self.page_size)

    @property
    def is_base(self) -> bool:
        """Whether the index alone is the whole page map."""
        return self.covers_after == BEFORE_FIRST
