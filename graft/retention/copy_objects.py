"""Copying objects between stores: what is there already is not sent again, and segments are checked whole."""

from collections.abc import Callable, Iterator, Sequence

import xxhash

from graft.failpoints import failpoint
from graft.remote.remote import Remote
from metastore.ids import LogId
from metastore.lsn import LSN
from metastore.placement import commit_key
from pagestore.errors import CorruptObject, ObjectNotFound
from pagestore.ids import SegmentId
from pagestore.objectstore import ObjectStore
from pagestore.segments.fetch_plan import segment_key

_READ_BYTES = 8 * 2**20
_CHECKSUM_BYTES = 8

Told = Callable[[int], None]
"""Called with the bytes of each object that is done."""


def copy_segments(source: Remote, target: Remote, segments: Sequence[SegmentId], told: Told) -> int:
    """Copy segments that the target lacks, several at once; return the bytes that were sent.

    Each arrives whole or not at all: its checksum, which ends it, is compared before the upload is completed. Raises
    `CorruptObject` and `ObjectNotFound`.
    """
    sent = 0
    for count, size in target.parallel.map(
        lambda segment: _copy_segment(source.store, target.store, segment), segments
    ):
        sent += count
        told(size)
        failpoint("cp: between segments")
    return sent


def size_of(store: ObjectStore, key: str) -> int | None:
    """Return an object's size, None if it is not there; one listing of one key."""
    found = next(iter(store.list(key, limit=1)), None)
    return found.size if found is not None and found.key == key else None


def _copy_segment(source: ObjectStore, target: ObjectStore, segment: SegmentId) -> tuple[int, int]:
    """Return how many bytes were sent, and how many the segment has."""
    key = segment_key(segment)
    size = size_of(source, key)
    if size is None:
        raise ObjectNotFound(key, source.url)
    if size_of(target, key) == size:  # segments are immutable and appear whole
        return 0, size
    target.put_stream(key, _checked(source, key, size))
    return size, size


def _checked(store: ObjectStore, key: str, size: int) -> Iterator[bytes]:
    """Yield a segment's bytes; raises `CorruptObject` before the last ones if it does not match its checksum."""
    digest, held = xxhash.xxh3_64(), b""
    for start in range(0, size, _READ_BYTES):
        data = store.get_range(key, start, min(_READ_BYTES, size - start))
        if held:
            digest.update(held)
            yield held
        held = data
    body, checksum = held[:-_CHECKSUM_BYTES], held[-_CHECKSUM_BYTES:]
    digest.update(body)
    if digest.intdigest() != int.from_bytes(checksum, "little"):
        raise CorruptObject(f"object {key} in {store.url} does not match its checksum: it was not copied")
    yield held


def copy_commit(source: Remote, target: Remote, log: LogId, lsn: LSN) -> int:
    """Copy a commit object as it is; return the bytes that were sent. Raises `CorruptObject` if another is there."""
    data = source.commits.read(log, lsn)
    if target.commits.append(log, lsn, data):
        return len(data)
    if target.commits.read(log, lsn) != data:
        raise CorruptObject(
            f"{target.store.url} has another commit {lsn} of log {log} ({commit_key(log, lsn)}): the copy there was "
            "pushed to. Copy to another place, or remove the copy first"
        )
    return 0
