"""The byte layout of a segment: header, dictionary, frames, directory, trailer (``docs/formats/segment.md``).

Reading and verifying a frame takes its bytes, the segment's id, the page size and the segment's dictionary, if it has
one. A delta frame also needs its base, another frame, which `base_of` names. A frame's checksum is seeded with the
segment's id, so a frame of another segment never passes the check. All integers are little-endian. No function here
does I/O; all are safe to call from several threads.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from operator import lt
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xxhash

from pagestore.errors import CorruptObject, UnsupportedFormat
from pagestore.ids import SegmentId
from pagestore.objectstore import Data
from pagestore.pages import PAGE_IDX_MAX, PageIdx, check_page_size
from pagestore.segments.codec import PLAIN_CODECS, Codec
from pagestore.segments.delta import Base, base_place
from pagestore.segments.dictionary import DICTIONARY_STORED_BYTES_MAX, Dictionary
from pagestore.segments.fetch_plan import FrameLocation
from pagestore.segments.frame_codec import compress_pages, decompress_pages

SEGMENT_MAGIC = b"graftseg"
SEGMENT_VERSION = 3
"""Version 2 has no delta frames; version 1 has no dictionaries and no stride deltas either. All versions are read; a
writer uses the lowest version that suffices."""
FRAME_RAW_BYTES_MAX = 16 * 1024 * 1024
"""The most decompressed bytes of a frame's pages: a bound on the memory that a frame can demand of a reader."""

# magic, version, cipher, reserved, key id, page size, dictionary's stored length, segment id
_HEADER = struct.Struct("<8sHBBIII16s")
# codec, cipher, page count, stored body length, xxh3-64 of page list and raw body
_FRAME = struct.Struct("<BBHIQ")
# frame's offset, frame's length, page count, reserved
_DIRECTORY_ENTRY = struct.Struct("<QIHH")
# directory's offset, frame count, reserved; the xxh3-64 of all before it follows
_TRAILER = struct.Struct("<QII")
_CHECKSUM = struct.Struct("<Q")
_PAGE_LIST = np.dtype("<u4")
_PAGE_IDX_BYTES = 4

SEGMENT_HEADER_BYTES: int = _HEADER.size
FRAME_HEADER_BYTES: int = _FRAME.size
FRAME_STORED_BYTES_MAX: int = FRAME_HEADER_BYTES + _PAGE_IDX_BYTES * 0xFFFF + FRAME_RAW_BYTES_MAX
"""No frame is longer: pages that no codec makes shorter are stored raw."""
TRAILER_BYTES: int = _TRAILER.size + _CHECKSUM.size


@dataclass(frozen=True, slots=True)
class FrameExtent:
    """A frame's place in its segment, and its pages."""

    offset: int
    """In bytes from the start of the segment."""
    length: int
    """In stored bytes, including the frame's header."""
    pages: Sequence[int]
    """Ascending; a page's slot is its position here."""


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """The fields of a segment's header."""

    page_size: int
    dictionary_bytes: int
    """Stored length of the dictionary behind the header, 0 for none."""


@dataclass(frozen=True, slots=True)
class DirectoryEntry:
    """One frame in a segment's directory."""

    offset: int
    length: int
    page_count: int


@dataclass(frozen=True, slots=True, eq=False)
class DecodedFrame:
    """The pages of a verified frame; compared by identity."""

    pages: npt.NDArray[np.uint32]
    """Ascending, read-only."""
    body: bytes
    """The pages' bodies, concatenated; the page in slot ``i`` is ``body[i * page_size : (i + 1) * page_size]``."""


def version_for(*codecs: int) -> int:
    """Return the lowest version of a segment whose frames use these codecs."""
    if Codec.ZSTD_DELTA in codecs:
        return 3
    return 1 if all(codec in PLAIN_CODECS for codec in codecs) else 2


def encode_header(segment: SegmentId, page_size: int, version: int = 1, dictionary_bytes: int = 0) -> bytes:
    """Return a segment's header, `SEGMENT_HEADER_BYTES` long."""
    assert version > 1 or not dictionary_bytes, "BUG: a segment of version 1 has no dictionary"
    return _HEADER.pack(
        SEGMENT_MAGIC, version, 0, 0, 0, check_page_size(page_size), dictionary_bytes, segment.raw
    )  # fmt: skip


def decode_header(data: Data, segment: SegmentId) -> SegmentHeader:
    """Decode the header; raises `CorruptObject` if ``data`` does not start with a header of ``segment``.

    Raises `UnsupportedFormat` for another version, encryption, or a reserved field in use.
    """
    if len(data) < SEGMENT_HEADER_BYTES:
        raise CorruptObject(
            f"segment {segment} has {len(data)} bytes, fewer than the {SEGMENT_HEADER_BYTES} of its header"
        )
    magic, version, cipher, reserved, key_id, page_size, dictionary_bytes, raw = _HEADER.unpack_from(data)
    if magic != SEGMENT_MAGIC:
        raise CorruptObject(f"segment {segment} starts with {magic!r}, not {SEGMENT_MAGIC!r}")
    if not 1 <= version <= SEGMENT_VERSION:
        raise UnsupportedFormat(f"segment {segment} has version {version}; this release knows 1 to {SEGMENT_VERSION}")
    if cipher or key_id or reserved or (version == 1 and dictionary_bytes):
        raise UnsupportedFormat(
            f"segment {segment} of version {version} uses cipher {cipher}, key {key_id}, reserved {reserved} and "
            f"{dictionary_bytes}; this release knows none of them"
        )
    if raw != segment.raw:
        raise CorruptObject(f"segment {segment} holds the bytes of segment {SegmentId(raw)}")
    if dictionary_bytes > DICTIONARY_STORED_BYTES_MAX:
        raise CorruptObject(f"segment {segment} claims a dictionary of {dictionary_bytes} stored bytes")
    try:
        return SegmentHeader(check_page_size(page_size), dictionary_bytes)
    except ValueError as error:
        raise CorruptObject(f"segment {segment}: {error}") from error


def encode_frame(
    segment: SegmentId,
    page_size: int,
    pages: Sequence[PageIdx],
    bodies: Sequence[Data],
    codec: Codec,
    level: int | None = None,
    dictionary: Dictionary | None = None,
    base: Base | None = None,
) -> bytes:
    """Return one frame: ``bodies[i]`` is the content of ``pages[i]``; ``pages`` ascend.

    `Codec.ZSTD_DICTIONARY` needs the segment's ``dictionary``, `Codec.ZSTD_DELTA` the ``base``. The bodies are stored
    with a simpler codec if ``codec`` does not make them shorter. Raises `ValueError` for pages or bodies that no frame
    can hold.
    """
    _check_pages(page_size, pages, bodies)
    page_list = struct.pack(f"<{len(pages)}I", *pages)
    raw = b"".join((page_list, *bodies))
    checksum = xxhash.xxh3_64_intdigest(raw, segment.seed)
    used, stored = compress_pages(memoryview(raw)[len(page_list) :], page_size, codec, level, dictionary, base)
    return b"".join((_FRAME.pack(used, 0, len(pages), len(stored), checksum), page_list, stored))


def decode_frame(
    data: Data,
    segment: SegmentId,
    page_size: int,
    dictionary: Dictionary | None = None,
    base_bodies: Data | None = None,
) -> DecodedFrame:
    """Verify and decompress one frame; ``data`` is exactly its stored bytes.

    ``dictionary`` is the segment's, if it has one. A frame for which `base_of` returns a base needs ``base_bodies``,
    the bodies of its pages there. Raises `CorruptObject` for anything but a complete frame of this segment,
    `UnsupportedFormat` for an encrypted one or an unknown codec. The result holds no reference to ``data``.
    """
    head = _opened(data, segment, page_size)
    try:
        body = decompress_pages(head.codec, head.stored, head.raw_length, page_size, dictionary, base_bodies)
    except (CorruptObject, UnsupportedFormat) as error:
        raise type(error)(f"a frame of segment {segment}: {error}") from error
    found = xxhash.xxh3_64(head.page_list, segment.seed)
    found.update(body)
    if found.intdigest() != head.checksum:
        raise CorruptObject(
            f"a frame of {head.raw_length // page_size} pages has checksum {found.hexdigest()}, not "
            f"{head.checksum:016x} as stored in segment {segment}"
        )
    return DecodedFrame(_decode_page_list(head.page_list, segment), body)


def base_of(data: Data, segment: SegmentId, page_size: int) -> tuple[FrameLocation, list[int]] | None:
    """Return the location of a delta frame's base, and the pages whose bodies it takes from there.

    Returns None for any other frame. Raises like `decode_frame`; only `decode_frame` verifies the result.
    """
    if bytes(data[:1]) != bytes((Codec.ZSTD_DELTA,)):
        return None
    head = _opened(data, segment, page_size)
    try:
        place = base_place(head.stored, FRAME_STORED_BYTES_MAX, DICTIONARY_STORED_BYTES_MAX)
    except CorruptObject as error:
        raise CorruptObject(f"a frame of segment {segment}: {error}") from error
    return place, np.frombuffer(head.page_list, "<u4").tolist()


def raw_bytes(data: Data, page_size: int) -> int:
    """Return the uncompressed size that a stored frame claims, unverified; 0 for bytes too short to be a frame."""
    return _FRAME.unpack_from(data)[2] * page_size if len(data) >= FRAME_HEADER_BYTES else 0


class _Opened(NamedTuple):
    """The parts of a stored frame."""

    codec: int
    checksum: int
    raw_length: int
    page_list: memoryview
    stored: memoryview


def _opened(data: Data, segment: SegmentId, page_size: int) -> _Opened:
    view = memoryview(data)
    if len(view) < FRAME_HEADER_BYTES:
        raise CorruptObject(f"a frame of segment {segment} has {len(view)} bytes, fewer than its header")
    codec, cipher, page_count, stored_length, checksum = _FRAME.unpack_from(view)
    if cipher:
        raise UnsupportedFormat(f"a frame of segment {segment} uses cipher {cipher}; this release knows none")
    body_start = FRAME_HEADER_BYTES + _PAGE_IDX_BYTES * page_count
    raw_length = page_count * page_size
    if not 0 < raw_length <= FRAME_RAW_BYTES_MAX or body_start + stored_length != len(view):
        raise CorruptObject(
            f"a frame of segment {segment} has {len(view)} bytes, but its header announces {page_count} pages "
            f"of {page_size} bytes in {stored_length} stored bytes"
        )
    return _Opened(codec, checksum, raw_length, view[FRAME_HEADER_BYTES:body_start], view[body_start:])


def encode_footer(frames: Sequence[FrameExtent], directory_offset: int, checksum: xxhash.xxh3_64) -> bytes:
    """Return directory and trailer; ``checksum`` has been updated with all bytes before ``directory_offset``."""
    entries = [_DIRECTORY_ENTRY.pack(frame.offset, frame.length, len(frame.pages), 0) for frame in frames]
    footer = b"".join((*entries, _TRAILER.pack(directory_offset, len(frames), 0)))
    checksum.update(footer)
    return footer + _CHECKSUM.pack(checksum.intdigest())


def decode_footer(data: Data, segment: SegmentId, frames_start: int = SEGMENT_HEADER_BYTES) -> list[DirectoryEntry]:
    """Return the directory of a whole segment, after verifying the checksum over all of it.

    Raises `CorruptObject` unless the frames fill the space from ``frames_start`` to the directory, without gap or
    overlap.
    """
    view = memoryview(data)
    if len(view) < SEGMENT_HEADER_BYTES + TRAILER_BYTES:
        raise CorruptObject(f"segment {segment} has {len(view)} bytes, fewer than any segment")
    trailer_start = len(view) - TRAILER_BYTES
    found = xxhash.xxh3_64_intdigest(view[: -_CHECKSUM.size])
    (checksum,) = _CHECKSUM.unpack_from(view, trailer_start + _TRAILER.size)
    if found != checksum:
        raise CorruptObject(f"segment {segment} has checksum {found:016x}, but ends in {checksum:016x}")
    directory_offset, frame_count, reserved = _TRAILER.unpack_from(view, trailer_start)
    if directory_offset + _DIRECTORY_ENTRY.size * frame_count != trailer_start:
        raise CorruptObject(
            f"segment {segment} has {len(view)} bytes, but its trailer announces {frame_count} frames "
            f"before a directory at {directory_offset}"
        )
    entries: list[DirectoryEntry] = []
    end = frames_start
    for offset, length, page_count, unused in _DIRECTORY_ENTRY.iter_unpack(view[directory_offset:trailer_start]):
        if offset != end:
            raise CorruptObject(f"segment {segment}: frame {len(entries)} starts at {offset}, not at {end}")
        end = offset + length
        reserved |= unused
        entries.append(DirectoryEntry(offset, length, page_count))
    if end != directory_offset:
        raise CorruptObject(f"segment {segment}: frames end at {end}, the directory starts at {directory_offset}")
    if reserved:
        raise UnsupportedFormat(f"segment {segment} uses a reserved field of its directory or trailer")
    return entries


def _check_pages(page_size: int, pages: Sequence[PageIdx], bodies: Sequence[Data]) -> None:
    if not 0 < len(pages) * check_page_size(page_size) <= FRAME_RAW_BYTES_MAX:
        raise ValueError(f"a frame holds 1 to {FRAME_RAW_BYTES_MAX // page_size} pages, not {len(pages)}")
    if len(bodies) != len(pages) or any(len(body) != page_size for body in bodies):
        raise ValueError(f"a frame of {len(pages)} pages needs as many bodies of {page_size} bytes each")
    if not (pages[0] >= 1 and pages[-1] <= PAGE_IDX_MAX and all(map(lt, pages, pages[1:]))):
        raise ValueError(f"the pages of a frame must ascend within 1 to {PAGE_IDX_MAX}; got {list(pages)}")


def _decode_page_list(page_list: memoryview, segment: SegmentId) -> npt.NDArray[np.uint32]:
    # A copy, so that the caller's buffer can be freed. Plain Python checks a short list faster than NumPy.
    pages = np.frombuffer(bytes(page_list), _PAGE_LIST)
    listed = pages.tolist()
    if not (listed[0] >= 1 and listed[-1] <= PAGE_IDX_MAX and all(map(lt, listed, listed[1:]))):
        raise CorruptObject(f"a frame of segment {segment} lists pages that do not ascend: {listed}")
    return pages
