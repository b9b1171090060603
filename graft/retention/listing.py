"""What a remote holds, as listings tell it: logs with their commits and tombstones, segments, unfinished uploads."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from metastore.collected import WHOLE, Remaining, read_remaining
from metastore.errors import translated
from metastore.ids import LogId
from metastore.lsn import LSN, parse_descending
from metastore.tombstone import TOMBSTONE_BYTES
from pagestore.ids import SegmentId
from pagestore.keys import LIST_PAGE_KEYS
from pagestore.objectstore import ObjectInfo, ObjectStore
from pagestore.parallel import Parallel

_SEGMENTS = "segments/"


@dataclass(frozen=True, slots=True)
class Listed:
    """One object."""

    size: int
    """Bytes."""
    modified_s: float
    """Seconds since the Unix epoch, by the store's own clock."""


@dataclass(slots=True)
class LogListing:
    """The objects of one log."""

    log: LogId
    commits: dict[LSN, Listed] = field(default_factory=dict)
    tombstones: dict[LSN, Listed] = field(default_factory=dict)
    records: dict[str, Listed] = field(default_factory=dict)
    """Collection records by key."""
    remaining: Remaining = WHOLE
    """Which versions the records say are left."""

    @property
    def head(self) -> LSN | None:
        """The newest commit, None where there is none."""
        return max(self.commits, default=None)

    @property
    def is_closed(self) -> bool:
        """Whether the log ends in a tombstone, as that of a removed volume does: a head is never collected."""
        newest = max(self.tombstones, default=None)
        return newest is not None and newest > (self.head or 0)

    @property
    def youngest_s(self) -> float:
        """When anything of it was last written, by the store's clock."""
        everything = (*self.commits.values(), *self.tombstones.values(), *self.records.values())
        return max((found.modified_s for found in everything), default=0.0)


def list_logs(store: ObjectStore, parallel: Parallel) -> dict[LogId, LogListing]:
    """List all logs: one request to find each, then each log's own listing, in parallel."""
    logs = list(find_logs(store))
    return dict(zip(logs, parallel.map(lambda log: list_log(store, log), logs), strict=True))


def find_logs(store: ObjectStore) -> Iterator[LogId]:
    """Yield all logs that have any object."""
    after = ""
    while True:
        with translated():
            found = next(iter(store.list("logs/", start_after=after, limit=1)), None)
        if found is None:
            return
        text = found.key.split("/")[1]
        after = f"logs/{text}0"  # sorts after all keys that begin with "logs/{text}/"
        with suppress(ValueError):
            yield LogId.parse(text)


def list_log(store: ObjectStore, log: LogId) -> LogListing:
    """List one log, and read its collection records."""
    found = LogListing(log)
    prefix = f"logs/{log}/"
    with translated():
        for info in store.list(prefix):
            _sort_in(found, info.key.removeprefix(prefix), info)
    if found.records:
        found.remaining = read_remaining(store, log, list(found.records))
    return found


def _sort_in(found: LogListing, name: str, info: ObjectInfo) -> None:
    kind, _, rest = name.partition("/")
    listed = Listed(info.size, info.modified_s)
    if kind == "collected":
        found.records[info.key] = listed
    elif kind == "commits":
        with suppress(ValueError):
            lsn = parse_descending(rest)
            (found.tombstones if info.size == TOMBSTONE_BYTES else found.commits)[lsn] = listed


def list_segments(store: ObjectStore, parallel: Parallel, now_s: float) -> dict[SegmentId, Listed]:
    """List all segments, in as many parts at once as there are threads: ids begin with the time of their making."""
    with translated():
        first = list(store.list(_SEGMENTS, limit=LIST_PAGE_KEYS))
        parts = [first]
        if len(first) == LIST_PAGE_KEYS:
            last = first[-1].key
            bounds = [last, *_bounds(last, now_s, parallel.threads)]
            spans = list(zip(bounds, [*bounds[1:], ""], strict=True))
            parts.extend(parallel.map(lambda span: _list_span(store, *span), spans))
    found: dict[SegmentId, Listed] = {}
    for info in (info for part in parts for info in part):
        with suppress(ValueError):
            segment = SegmentId.parse(info.key.removeprefix(_SEGMENTS))
            found[segment] = Listed(info.size, info.modified_s)
    return found


def _bounds(last: str, now_s: float, parts: int) -> Sequence[str]:
    """Return keys that divide what sorts after ``last`` by time, evenly up to now."""
    try:
        begin_ms = int.from_bytes(SegmentId.parse(last.removeprefix(_SEGMENTS)).raw[:6], "big")
    except ValueError:
        return []
    step = (int(now_s * 1000) - begin_ms) // max(1, parts)
    if step <= 0:
        return []
    return [f"{_SEGMENTS}s-{begin_ms + step * number:012x}" for number in range(1, parts)]


def _list_span(store: ObjectStore, after: str, end: str) -> list[ObjectInfo]:
    found = []
    with translated():
        for info in store.list(_SEGMENTS, start_after=after):
            if end and info.key > end:
                break
            found.append(info)
    return found
