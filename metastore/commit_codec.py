"""The byte layout of a commit object, owned by this module (docs/formats/commit.md).

    head:   fixed fields · attributes · segment table · directory · xxh3-128 of the head so far
    body:   index chunks, in directory order · inline segment
    end:    xxh3-64 of everything before

All integers are little-endian. The head's hash is the commit's hash. A reader can verify any part that it has read: the
head contains the digest of each chunk, and each frame of the inline segment has its own checksum.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType

import xxhash

from metastore.commit import HASH_BYTES, NONCE_BYTES, Commit, CommitFields, CommitKind, DirectoryEntry
from metastore.errors import CorruptCommit, UnsupportedCommit
from metastore.ids import LogId
from metastore.lsn import BEFORE_FIRST, LSN, LSN_MAX, covers_after
from metastore.placement import InCommit, SegmentRef, chunk_count
from metastore.segment_table import decode_segments, encode_segments
from metastore.tombstone import is_tombstone, raise_collected
from pagestore.ids import SegmentId
from pagestore.objectstore import Data
from pagestore.pages import PAGE_IDX_MAX, check_page_size

MAGIC = b"graftcmt"
VERSION = 1

# magic, version, kind, cipher, key id, page size, log, lsn, covers after, base, byte size, min page count,
# live pages, changed pages, timestamp, nonce, parent hash, fingerprint, attributes bytes,
# segment table bytes, segments, directory entries, head bytes, inline bytes, total bytes
_FIXED = struct.Struct(f"<8sHBBII16sQQQQQQIQ{NONCE_BYTES}s{HASH_BYTES}sQIIIIQQQ")
# chunk, length, digest, fingerprint
_ENTRY = struct.Struct("<IIQQ")
# bytes of name and value
_ATTRIBUTE = struct.Struct("<HI")
_CHECKSUM = struct.Struct("<Q")

FIXED_BYTES = _FIXED.size


@dataclass(frozen=True, slots=True)
class ChunkBytes:
    """One encoded index chunk for a new commit."""

    number: int
    data: bytes
    fingerprint: int


@dataclass(frozen=True, slots=True)
class CommitDraft(CommitFields):
    """What the writer decides about a commit; `encode_commit` adds offsets, digests and hashes."""

    segments: Sequence[SegmentRef | SegmentId]
    """A bare id stands for this commit's own inline segment."""
    chunks: Sequence[ChunkBytes]
    inline: bytes


def encode_commit(draft: CommitDraft) -> bytes:
    """Return the bytes of the commit object."""
    attributes = _encode_attributes(draft.attributes)
    table = encode_segments(draft.segments)
    head_length = FIXED_BYTES + len(attributes) + len(table) + _ENTRY.size * len(draft.chunks) + HASH_BYTES
    body_length = sum(len(chunk.data) for chunk in draft.chunks)
    total_length = head_length + body_length + len(draft.inline) + _CHECKSUM.size
    fixed = _FIXED.pack(
        MAGIC, VERSION, draft.kind, 0, 0, draft.page_size, draft.log.raw, draft.lsn, draft.covers_after,
        draft.base, draft.byte_size, draft.min_page_count, draft.live_pages, draft.changed_pages,
        draft.timestamp_us, draft.nonce, draft.parent_hash, draft.fingerprint, len(attributes), len(table),
        len(draft.segments), len(draft.chunks), head_length, len(draft.inline), total_length,
    )  # fmt: skip
    head = b"".join(
        (
            fixed,
            attributes,
            table,
            *(
                _ENTRY.pack(chunk.number, len(chunk.data), xxhash.xxh3_64_intdigest(chunk.data), chunk.fingerprint)
                for chunk in draft.chunks
            ),
        )
    )
    covered = b"".join((head, xxhash.xxh3_128_digest(head), *(chunk.data for chunk in draft.chunks), draft.inline))
    return covered + _CHECKSUM.pack(xxhash.xxh3_64_intdigest(covered))


def head_length_of(data: Data) -> int:
    """Return the length of a commit object's head in bytes; raises like `decode_commit`."""
    if len(data) < FIXED_BYTES:
        raise CorruptCommit(f"a commit has at least {FIXED_BYTES} bytes, not {len(data)}")
    fields = _FIXED.unpack_from(data)
    if fields[0] != MAGIC:
        raise CorruptCommit("not a commit: wrong magic")
    if fields[1] != VERSION or fields[3] or fields[4]:
        raise UnsupportedCommit(
            f"format version {fields[1]}, cipher {fields[3]}, key {fields[4]}: this release reads "
            f"version {VERSION}, unencrypted; upgrade graft"
        )
    # Checked before it is used: a flipped bit must not make a reader request an exabyte.
    needed: int = FIXED_BYTES + fields[18] + fields[19] + _ENTRY.size * fields[21] + HASH_BYTES
    if fields[22] != needed or fields[24] < needed + _CHECKSUM.size:
        raise CorruptCommit(f"the head claims {fields[22]} of {fields[24]} bytes, but its parts take {needed}")
    return needed


def decode_commit(data: Data, log: LogId, lsn: LSN) -> Commit:
    """Decode a commit's head from the first bytes of its object, or from the whole object.

    Checks the head's hash, that it is commit ``lsn`` of ``log``, and, if ``data`` is the whole object, the checksum at
    its end. Raises `CorruptCommit` or `UnsupportedCommit`. For a tombstone, raises `CommitCollected` or `LogClosed`.
    """
    with named(log, lsn):
        if is_tombstone(data):
            raise_collected(data, log, lsn)
        return _decode(memoryview(data), log, lsn)


@contextmanager
def named(log: LogId, lsn: LSN) -> Iterator[None]:
    """Add log and LSN to the errors of failed checks; turn decoding errors into `CorruptCommit`."""
    try:
        yield
    except (CorruptCommit, UnsupportedCommit) as error:
        raise type(error)(f"commit {lsn} of log {log}: {error}") from error.__cause__
    except (struct.error, ValueError) as error:
        raise CorruptCommit(f"commit {lsn} of log {log}: {error}") from error


def _decode(data: memoryview, log: LogId, lsn: LSN) -> Commit:
    head_length = head_length_of(data)
    (
        _, _, kind, _, _, page_size, log_raw, stored_lsn, bound, base, byte_size, min_page_count, live_pages,
        changed_pages, timestamp_us, nonce, parent_hash, fingerprint, attributes_bytes, table_bytes,
        segment_count, entry_count, _, inline_length, total_length,
    ) = _FIXED.unpack_from(data)  # fmt: skip
    if not head_length <= len(data) <= total_length:
        raise CorruptCommit(f"{len(data)} bytes do not fit a head of {head_length} and an object of {total_length}")
    head_hash = bytes(data[head_length - HASH_BYTES : head_length])
    if xxhash.xxh3_128_digest(data[: head_length - HASH_BYTES]) != head_hash:
        raise CorruptCommit("the head does not match its hash")
    if len(data) == total_length:
        (checksum,) = _CHECKSUM.unpack_from(data, total_length - _CHECKSUM.size)
        if xxhash.xxh3_64_intdigest(data[: total_length - _CHECKSUM.size]) != checksum:
            raise CorruptCommit("the object does not match its checksum")
    if log_raw != log.raw or stored_lsn != lsn:
        raise CorruptCommit(f"the object is commit {stored_lsn} of log {LogId(log_raw)}")
    position = FIXED_BYTES
    attributes = _decode_attributes(bytes(data[position : position + attributes_bytes]))
    position += attributes_bytes
    table = data[position : position + table_bytes]
    position += table_bytes
    directory = _decode_directory(data[position : position + entry_count * _ENTRY.size], head_length)
    inline_offset = head_length + sum(entry.length for entry in directory)
    here = InCommit(log, lsn, inline_offset)
    segments = decode_segments(table, segment_count, here)
    if not inline_length and any(ref.home is here for ref in segments):
        raise CorruptCommit("it names an inline segment that it does not contain")
    if inline_offset + inline_length + _CHECKSUM.size != total_length:
        raise CorruptCommit("the parts do not add up to the whole")
    commit = Commit(
        log=log, lsn=lsn, kind=CommitKind(kind), page_size=check_page_size(page_size), covers_after=LSN(bound),
        base=LSN(base), byte_size=byte_size, min_page_count=min_page_count, live_pages=live_pages,
        changed_pages=changed_pages, timestamp_us=timestamp_us, nonce=nonce, parent_hash=parent_hash,
        fingerprint=fingerprint, attributes=MappingProxyType(attributes), segments=segments,
        directory=directory, inline_offset=inline_offset, inline_length=inline_length, hash=head_hash,
        total_length=total_length,
    )  # fmt: skip
    _check_sense(commit)
    return commit


def _check_sense(commit: Commit) -> None:
    """Raise `CorruptCommit` for an intact head whose fields contradict each other."""
    fenwick = covers_after(commit.lsn)
    ranges = commit.covers_after in {BEFORE_FIRST, fenwick} and (
        commit.base == commit.lsn if commit.is_base else commit.base <= fenwick
    )
    if not 0 < commit.lsn <= LSN_MAX or not ranges:
        raise CorruptCommit(f"it claims to cover ({commit.covers_after}, {commit.lsn}] on base {commit.base}")
    if commit.min_page_count > (0 if commit.is_base else commit.page_count):
        raise CorruptCommit(f"it claims {commit.page_count} pages, and at least {commit.min_page_count} at all times")
    if commit.live_pages > commit.page_count or commit.page_count > PAGE_IDX_MAX:
        raise CorruptCommit(f"it claims {commit.live_pages} live pages of {commit.page_count}")
    if commit.directory and commit.directory[-1].number >= chunk_count(commit.page_count):
        raise CorruptCommit(f"it has index chunk {commit.directory[-1].number}, but only {commit.page_count} pages")


def _encode_attributes(attributes: Mapping[str, bytes]) -> bytes:
    parts = []
    for name, value in sorted(attributes.items()):
        raw = name.encode()
        parts.append(_ATTRIBUTE.pack(len(raw), len(value)) + raw + value)
    return b"".join(parts)


def _decode_attributes(data: bytes) -> dict[str, bytes]:
    attributes: dict[str, bytes] = {}
    position = 0
    while position < len(data):
        name_length, value_length = _ATTRIBUTE.unpack_from(data, position)
        position += _ATTRIBUTE.size
        end = position + name_length + value_length
        if end > len(data):
            raise CorruptCommit("the attributes exceed their length")
        name = data[position : position + name_length].decode()
        if attributes and name <= next(reversed(attributes)):
            raise CorruptCommit("the attributes are not in order")
        attributes[name] = data[position + name_length : end]
        position = end
    return attributes


def _decode_directory(data: memoryview, offset: int) -> tuple[DirectoryEntry, ...]:
    entries: list[DirectoryEntry] = []
    for number, length, digest, fingerprint in _ENTRY.iter_unpack(data):
        if entries and number <= entries[-1].number:
            raise CorruptCommit("the directory is not in order")
        entries.append(DirectoryEntry(number, offset, length, digest, fingerprint))
        offset += length
    return tuple(entries)
