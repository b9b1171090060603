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
    NoSuchTag,
    NoSuchVolume,
    TagExists,
    UnsupportedCommit,
    VolumeExists,
)
from metastore.history import lsn_at, newest_first
from metastore.ids import LogId, VolumeId
from metastore.index import CommitIndex, load_chunks, read_chain, read_index
from metastore.lineage import Lineage, Parent
from metastore.lsn import BEFORE_FIRST, LSN
from metastore.objectlog import ObjectCommitLog
from metastore.placement import CHUNK_PAGES, ChunkPlacement, InCommit, OwnObject, SegmentRef
from metastore.rollup import Changes, NewSegment
from metastore.tags import TagRecord, all_tags, create_tag, delete_tag, list_tags, read_tag, replace_tag, tags_of
from metastore.volumes import VolumeRecord, all_volumes, create_volume, delete_volume, list_volumes, read_volume

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
    "Lineage",
    "LogId",
    "LogRefused",
    "LogUnavailable",
    "Lost",
    "MapSummary",
    "MetaStoreError",
    "NewCommit",
    "NewSegment",
    "NoSuchTag",
    "NoSuchVolume",
    "ObjectCommitLog",
    "Origin",
    "OwnObject",
    "Parent",
    "SegmentRef",
    "TagExists",
    "TagRecord",
    "UnsupportedCommit",
    "VolumeExists",
    "VolumeId",
    "VolumeRecord",
    "all_tags",
    "all_volumes",
    "build_commit",
    "build_fork",
    "create_tag",
    "create_volume",
    "decode_commit",
    "delete_tag",
    "delete_volume",
    "list_tags",
    "list_volumes",
    "load_chunks",
    "lsn_at",
    "newest_first",
    "read_chain",
    "read_index",
    "read_tag",
    "read_volume",
    "replace_tag",
    "settle",
    "tags_of",
]
