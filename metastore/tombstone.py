"""Tombstones: what garbage collection leaves in place of a commit object (docs/formats/commit.md).

A tombstone occupies its LSN, so that no append lands there. It names the commit that was there by its nonce and hash: a
writer whose reply was lost still learns that its append had landed. A log that was removed ends in a tombstone of kind
`CLOSED`, at an LSN that never had a commit: nothing can be appended to it any more.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

import xxhash

from metastore.commit import HASH_BYTES, NONCE_BYTES, Commit
from metastore.errors import CommitCollected, CorruptCommit, LogClosed, UnsupportedCommit
from metastore.ids import LogId
from metastore.lsn import LSN
from pagestore.objectstore import Data

MAGIC = b"grafttmb"
VERSION = 1

# magic, version, kind, reserved, log, lsn, nonce, hash, timestamp
_LAYOUT = struct.Struct(f"<8sHBB4x16sQ{NONCE_BYTES}s{HASH_BYTES}sQ")
_CHECKSUM = struct.Struct("<Q")
TOMBSTONE_BYTES = _LAYOUT.size + _CHECKSUM.size
"""No commit is that short, so that a listing tells tombstones from commits."""


class TombstoneKind(IntEnum):
    """Why a tombstone is there."""

    COLLECTED = 1
    CLOSED = 2


@dataclass(frozen=True, slots=True)
class Tombstone:
    """What is left of a commit."""

    kind: TombstoneKind
    log: LogId
    lsn: LSN
    nonce: bytes
    hash: bytes
    timestamp_us: int
    """Of the commit that was there, microseconds since the Unix epoch."""


def tombstone_of(commit: Commit) -> Tombstone:
    """Return the tombstone of a commit."""
    return Tombstone(TombstoneKind.COLLECTED, commit.log, commit.lsn, commit.nonce, commit.hash, commit.timestamp_us)


def of_damaged(log: LogId, lsn: LSN) -> Tombstone:
    """Return the tombstone of a commit that cannot be read: it says nothing of it."""
    return Tombstone(TombstoneKind.COLLECTED, log, lsn, bytes(NONCE_BYTES), bytes(HASH_BYTES), 0)


def closing(log: LogId, lsn: LSN) -> Tombstone:
    """Return the tombstone that ends a log."""
    return Tombstone(TombstoneKind.CLOSED, log, lsn, bytes(NONCE_BYTES), bytes(HASH_BYTES), 0)


def encode_tombstone(tombstone: Tombstone) -> bytes:
    """Return the bytes of a tombstone object."""
    data = _LAYOUT.pack(
        MAGIC, VERSION, tombstone.kind, 0, tombstone.log.raw, tombstone.lsn, tombstone.nonce, tombstone.hash,
        tombstone.timestamp_us,
    )  # fmt: skip
    return data + _CHECKSUM.pack(xxhash.xxh3_64_intdigest(data))


def is_tombstone(data: Data) -> bool:
    """Whether an object begins like a tombstone."""
    return bytes(data[: len(MAGIC)]) == MAGIC


def decode_tombstone(data: Data) -> Tombstone:
    """Read a tombstone object; raises `CorruptCommit` and `UnsupportedCommit`."""
    if len(data) != TOMBSTONE_BYTES or not is_tombstone(data):
        raise CorruptCommit(f"a tombstone has {TOMBSTONE_BYTES} bytes, not {len(data)}, and its magic")
    (checksum,) = _CHECKSUM.unpack_from(data, _LAYOUT.size)
    if xxhash.xxh3_64_intdigest(bytes(data[: _LAYOUT.size])) != checksum:
        raise CorruptCommit("a tombstone that does not match its checksum")
    _, version, kind, reserved, log, lsn, nonce, digest, timestamp_us = _LAYOUT.unpack_from(data)
    if version != VERSION or reserved or kind not in tuple(TombstoneKind):
        raise UnsupportedCommit(f"a tombstone of version {version}, kind {kind}; upgrade graft")
    return Tombstone(TombstoneKind(kind), LogId(log), LSN(lsn), nonce, digest, timestamp_us)


def raise_collected(data: Data, log: LogId, lsn: LSN) -> None:
    """Raise `CommitCollected` or `LogClosed` for the tombstone that lies in a commit's place."""
    found = decode_tombstone(data)
    if (found.log, found.lsn) != (log, lsn):
        raise CorruptCommit(f"the object is the tombstone of commit {found.lsn} of log {found.log}")
    if found.kind is TombstoneKind.CLOSED:
        raise LogClosed(f"log {log} was removed; it ended at LSN {lsn - 1}")
    raise CommitCollected(lsn, f"commit {lsn} of log {log} was collected", nonce=found.nonce, hash=found.hash)
