"""Requests, bytes, memory and money of a volume for a month, computed from the formats and the simulated logs; pure.

Every assumption is a named field, and every price; change them and run ``python -m benchmarks scale`` again.
"""

import math
from dataclasses import dataclass

from benchmarks.scale.figures import LogFigures

MONTH_S = 730 * 3600
GB = 10**9
_CHUNK_PAGES = 4096
_DIRECTORY_ENTRY_BYTES = 24
_LOCATION_BYTES = 8


@dataclass(frozen=True, slots=True)
class Prices:
    """List prices of S3 Standard in us-east-1, in dollars; within the region, traffic costs nothing."""

    put: float = 0.005 / 1000
    """Also of a listing."""
    get: float = 0.0004 / 1000
    gb_month: float = 0.023
    gb_out: float = 0.09
    """To the internet."""


@dataclass(frozen=True, slots=True)
class Assumptions:
    """Assumptions about the volume and its readers."""

    page_bytes: int = 4096
    compression: float = 2.0
    """Page bytes to stored bytes."""
    pages_per_commit: int = 4
    frame_overhead_bytes: int = 120
    """Of an inline segment: its head, its frame's page list and checksum."""
    follow_interval_s: float = 1.0
    follow_requests_per_hour: int = 7200
    idle_interval_s: float = 30.0
    read_share: float = 0.01
    """The share of a volume's pages that one reader touches in a month."""
    frame_pages: int = 16


@dataclass(frozen=True, slots=True)
class Month:
    """One case and its results."""

    volume: str
    readers: int
    pushes_per_s: float
    put_requests: float
    """Of the writer."""
    get_requests: float
    """Of all readers."""
    list_requests: float
    stored_gb: float
    """At the end of the month, history included."""
    received_gb: float
    """By all readers."""
    lag_s: float
    """The greatest age of what a follower reads, while the remote answers."""
    dollars_requests: float
    dollars_storage: float
    dollars_traffic: float
    """If all readers are outside the region; else 0."""


def month(row: LogFigures, readers: int, pushes_per_s: float, prices: Prices, assumed: Assumptions) -> Month:
    """Compute a month; ``row`` is the simulated log with the nearest number of commits."""
    pushes = pushes_per_s * MONTH_S
    inline = assumed.pages_per_commit * assumed.page_bytes / assumed.compression + assumed.frame_overhead_bytes
    look = _look(pushes_per_s, assumed)
    looks = readers * MONTH_S / look.every_s
    stored = row.pages * assumed.page_bytes / assumed.compression + pushes * (row.index_bytes_mean + inline)
    bodies = readers * row.pages * assumed.read_share * assumed.page_bytes / assumed.compression
    frames = readers * row.pages * assumed.read_share / assumed.frame_pages
    received = looks * look.commits_read * (row.step_bytes_mean + inline) + bodies
    gets, lists = looks * look.gets + frames, looks * look.lists
    return Month(
        volume=row.volume,
        readers=readers,
        pushes_per_s=pushes_per_s,
        put_requests=pushes,
        get_requests=gets,
        list_requests=lists,
        stored_gb=stored / GB,
        received_gb=received / GB,
        lag_s=look.every_s,
        dollars_requests=(pushes + lists) * prices.put + gets * prices.get,
        dollars_storage=stored / GB * prices.gb_month,
        dollars_traffic=received / GB * prices.gb_out,
    )


@dataclass(frozen=True, slots=True)
class _Look:
    every_s: float
    gets: float
    lists: float
    commits_read: float


def _look(pushes_per_s: float, assumed: Assumptions) -> _Look:
    """Return what one poll of a follower costs in a steady stream of pushes (graft/sync/poll.py)."""
    rate = assumed.follow_requests_per_hour / 3600
    every_s = assumed.follow_interval_s
    while True:
        new = pushes_per_s * every_s
        if new <= 1:
            look = _Look(every_s, 1 + new, 0.0, new)
        else:
            batch = math.log2(new) / 2 + 1  # the mean number of bits that a step of this size changes below its top bit
            look = _Look(every_s, 2 + batch, 1.0, 1 + batch)
        if (look.gets + look.lists) / every_s <= rate * 1.001:
            return look
        every_s *= 1.01


@dataclass(frozen=True, slots=True)
class Opening:
    """A reader with no replica: what it fetches before its first row, and the memory it takes."""

    volume: str
    commits: int
    round_trips: int
    requests: float
    head_bytes: float
    """Of the commits' heads: the directories of their indexes."""
    memory_small_bytes: float
    """Memory of the page map of a reader that touches 1 % of the volume's chunks."""
    memory_all_bytes: float
    """Memory of the page map of a reader that touches all chunks."""


def opening(row: LogFigures) -> Opening:
    """Compute a cold open: the volume's name, the head, the chain in one batch; then the interior pages of a B-tree."""
    chunks = math.ceil(row.pages / _CHUNK_PAGES)
    directory = chunks * _DIRECTORY_ENTRY_BYTES
    large_head = directory > 128 * 1024
    index_chunk_trips = 1 if row.cold_index_bytes > 128 * 1024 else 0
    trips = 3 + large_head + index_chunk_trips
    loaded = chunks * _CHUNK_PAGES * _LOCATION_BYTES
    return Opening(
        volume=row.volume,
        commits=row.commits,
        round_trips=trips,
        requests=2 + row.requests_mean + large_head + index_chunk_trips,
        head_bytes=min(row.cold_index_bytes, row.requests_mean * 128 * 1024) + (directory if large_head else 0),
        memory_small_bytes=loaded * 0.01 + directory * 4,
        memory_all_bytes=loaded + directory * 4,
    )
