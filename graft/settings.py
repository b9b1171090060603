"""The settings of a replica, as plain validated data."""

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pagestore.segments.codec import Codec
from pagestore.segments.dictionary import DICTIONARY_BYTES_MAX

KIB = 1024
MIB = 1024 * KIB


class Durability(StrEnum):
    """What a commit waits for (docs/explanation/durability.md)."""

    LOCAL = "local"
    """The commit is on the local disk: a power cut does not lose it."""
    RELAXED = "relaxed"
    """The operating system has the commit: a power cut may lose the newest commits, but leaves a consistent volume."""
    REMOTE = "remote"
    """The push landed: losing the machine does not lose the commit."""


class Settings(BaseModel):
    """Settings of a replica and its remote; sizes in bytes, times in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cache_bytes_max: int = Field(default=4 * 1024 * MIB, ge=1 * MIB)
    """Largest size of the cache of fetched frames."""
    cache_file_bytes: int = Field(default=16 * MIB, ge=256 * KIB)
    """Size of one cache file, the unit of eviction."""
    journal_file_bytes: int = Field(default=64 * MIB, ge=64 * KIB)
    """Size at which the journal continues in a new file."""
    spill_bytes: int = Field(default=16 * MIB, ge=0)
    """Dirty pages that a transaction holds in memory before it spills them to a file."""
    frame_bytes: int = Field(default=64 * KIB, ge=512, le=4 * MIB)
    """Uncompressed pages per frame."""
    codec: Literal["raw", "lz4", "zstd"] = "zstd"
    """Compression of new frames; raw for none."""
    one_frame_bytes_max: int = Field(default=512 * KIB, ge=0, le=4 * MIB)
    """Uncompressed size up to which a segment is a single frame if it then fits inside its commit."""
    dictionary_bytes_max: int = Field(default=110 * KIB, ge=0, le=DICTIONARY_BYTES_MAX)
    """Largest dictionary, uncompressed, of a large segment that is compressed with zstd; 0 for none."""
    inline_bytes_max: int = Field(default=32 * KIB, ge=0, le=128 * KIB)
    """Largest segment that travels inside its commit."""
    consolidation_bytes_max: int = Field(default=16 * MIB, ge=0)
    """Most pages of earlier pushes that a push consolidates, in uncompressed bytes; 0 for none."""
    fetch_gap_bytes_max: int = Field(default=32 * KIB, ge=0)
    """Frames of one object that are at most this far apart are fetched with one request."""
    readahead_bytes_max: int = Field(default=4 * MIB, ge=0)
    """How much a scan fetches ahead at once, uncompressed, and at most a quarter of the cache; 0 for nothing."""
    parallelism: int = Field(default=16, ge=1, le=256)
    """Most requests at the same time."""
    follow_interval_s: float = Field(default=1.0, gt=0)
    """Shortest wait of a follower between two polls, while commits arrive."""
    follow_interval_s_max: float = Field(default=30.0, gt=0)
    """Longest wait between two polls, while no commits arrive or the remote does not answer."""
    follow_requests_per_hour: int = Field(default=7200, ge=60)
    """Most requests of the followers of one process; they wait longer to stay below it."""
    keep_last: int = Field(default=100, ge=1)
    """Garbage collection keeps the newest versions, so many of each volume …"""
    keep_for_s: float = Field(default=30 * 24 * 3600.0, ge=0)
    """… and those that were the newest at some time in so many seconds."""
    gc_grace_s: float = Field(default=3 * 24 * 3600.0, ge=0)
    """Garbage collection leaves objects that no commit names alone for so many seconds: a push may be under way."""
    gc_objects_per_s: float = Field(default=1000.0, gt=0)
    """How many objects a second garbage collection deletes at most."""
    lock_timeout_s: float = Field(default=5.0, ge=0)
    """How long a push or pull waits for another one, or for an open write transaction."""

    author: str | None = None
    """Who makes the replica's commits and tags, for the log; by default `GRAFT_AUTHOR`, else user@host."""

    @property
    def readahead_frames_max(self) -> int:
        """How many frames a scan fetches ahead at once: few enough that they do not evict each other from the cache."""
        return min(self.readahead_bytes_max, self.cache_bytes_max // 4) // self.frame_bytes

    @property
    def piggyback_frames_max(self) -> int:
        """How many frames a scan may piggyback on its requests (`graft.reading.piggyback`)."""
        return min(2 * self.readahead_bytes_max, self.cache_bytes_max // 4) // self.frame_bytes

    @property
    def codec_id(self) -> Codec:
        """The codec by its number in the format."""
        return {"raw": Codec.RAW, "lz4": Codec.LZ4, "zstd": Codec.ZSTD}[self.codec]
