"""The commit log: LSNs, commits, roll-ups, conditional append, volume names.

Functions whose module has the same name (`metastore.append.append`, `metastore.fingerprint.fingerprint`) are imported
from there: a re-export would hide the module.
"""

from metastore.append import Absent, Landed, Lost, settle
from metastore.build import MapSummary, NewCommit, Origin, build_commit, build_fork
from metastore.commit import Commit, CommitKind, DirectoryEntry
from metastore.commit_codec import decode_commit
from metastore.commitlog import CommitLog
from metastore.errors import (
    CommitMissing,
    CorruptCommit,
    LogRefused,
    LogUnavailable,
    MetaStoreError,
    NoSuchVolume,
    UnsupportedCommit,
    VolumeExists,
)
from metastore.history import lsn_at, newest_first
from metastore.ids import LogId, VolumeId
from metastore.index import CommitIndex, load_chunks, read_chain, read_index
from metastore.lsn import BEFORE_FIRST, LSN
from metastore.objectlog import ObjectCommitLog
from metastore.placement import CHUNK_PAGES, ChunkPlacement, InCommit, OwnObject, SegmentRef
from metastore.rollup import Changes, NewSegment
from metastore.volumes import Parent, VolumeRecord, create_volume, list_volumes, read_volume

__all__ = [
    "BEFORE_FIRST",
    "CHUNK_PAGES",
    "LSN",
    "Absent",
    "Changes",
    "ChunkPlacement",
    "Commit",
    "CommitIndex",
    "CommitKind",
    "CommitLog",
    "CommitMissing",
    "CorruptCommit",
    "DirectoryEntry",
    "InCommit",
    "Landed",
    "LogId",
    "LogRefused",
    "LogUnavailable",
    "Lost",
    "MapSummary",
    "MetaStoreError",
    "NewCommit",
    "NewSegment",
    "NoSuchVolume",
    "ObjectCommitLog",
    "Origin",
    "OwnObject",
    "Parent",
    "SegmentRef",
    "UnsupportedCommit",
    "VolumeExists",
    "VolumeId",
    "VolumeRecord",
    "build_commit",
    "build_fork",
    "create_volume",
    "decode_commit",
    "list_volumes",
    "load_chunks",
    "lsn_at",
    "newest_first",
    "read_chain",
    "read_index",
    "read_volume",
    "settle",
]
