"""The byte layout of an index chunk, owned by this module (docs/formats/commit.md).

    raw length u32 · codec u8 · stored body
    body: frames u32 · pages u32 · segment u32[frames] · offset u64[frames] · length u32[frames]
          · low u16[pages] · frame u16[pages] · slot u16[pages]

All integers are little-endian. Columns that mostly grow by a constant are stored as wrapping differences, and an offset
as its distance from the end of the previous frame. So a chunk of 4,096 bulk-loaded pages takes about 700 bytes.
"""

import struct

import numpy as np
import numpy.typing as npt

from metastore.errors import CorruptCommit, UnsupportedCommit
from metastore.placement import CHUNK_PAGES, ChunkPlacement
from pagestore.errors import CorruptObject, UnsupportedFormat
from pagestore.segments.codec import Codec, compress, decompress

_HEAD = struct.Struct("<IB")
_COUNTS = struct.Struct("<II")
_COMPRESS_BYTES_MIN = 128
_RAW_BYTES_MAX = 8 + CHUNK_PAGES * (16 + 6)


def _differences(column: npt.NDArray[np.unsignedinteger]) -> bytes:
    steps = column.copy()
    steps[1:] -= column[:-1]
    return _little(steps)


def _little(column: npt.NDArray[np.unsignedinteger]) -> bytes:
    return column.astype(column.dtype.newbyteorder("<"), copy=False).tobytes()


def encode_placement(placement: ChunkPlacement) -> bytes:
    """Return the stored form."""
    gaps = placement.frame_offset.copy()
    gaps[1:] -= placement.frame_offset[:-1] + placement.frame_length[:-1]
    raw = b"".join(
        (
            _COUNTS.pack(len(placement.frame_segment), placement.pages),
            _differences(placement.frame_segment),
            _little(gaps),
            _little(placement.frame_length),
            _differences(placement.page_low),
            _differences(placement.page_frame),
            _differences(placement.page_slot),
        )
    )
    codec, stored = Codec.RAW, raw
    if len(raw) >= _COMPRESS_BYTES_MIN:
        codec, stored = compress(raw, Codec.ZSTD, 3)
    return _HEAD.pack(len(raw), codec) + stored


def decode_placement(data: bytes, segment_count: int) -> ChunkPlacement:
    """Invert `encode_placement`, for an index whose segment table has ``segment_count`` rows.

    Raises `CorruptCommit` for an invalid chunk, `UnsupportedCommit` for an unknown codec.
    """
    if len(data) < _HEAD.size:
        raise CorruptCommit(f"index chunk of {len(data)} bytes is too short")
    raw_length, codec = _HEAD.unpack_from(data)
    if not _COUNTS.size <= raw_length <= _RAW_BYTES_MAX:
        raise CorruptCommit(f"index chunk claims {raw_length} bytes")
    try:
        raw = decompress(codec, memoryview(data)[_HEAD.size :], raw_length)
    except CorruptObject as error:
        raise CorruptCommit(f"index chunk: {error}") from error
    except UnsupportedFormat as error:
        raise UnsupportedCommit(f"index chunk: {error}") from error
    frames, pages = _COUNTS.unpack_from(raw)
    if raw_length != _COUNTS.size + frames * 16 + pages * 6 or not frames <= pages <= CHUNK_PAGES:
        raise CorruptCommit(f"index chunk of {raw_length} bytes cannot hold {frames} frames and {pages} pages")
    placement, in_range = _columns(raw, frames, pages, segment_count)
    if not in_range:
        raise CorruptCommit("index chunk names pages, frames or segments out of range")
    return placement


def _columns(raw: bytes, frames: int, pages: int, segment_count: int) -> tuple[ChunkPlacement, bool]:
    """Return the placement, and whether its pages ascend and all its references are in range."""
    position = _COUNTS.size

    def take(dtype: type[np.unsignedinteger], count: int) -> npt.NDArray[np.unsignedinteger]:
        nonlocal position
        column = np.frombuffer(raw, np.dtype(dtype).newbyteorder("<"), count, position)
        position += column.nbytes
        return column

    segment = take(np.uint32, frames).cumsum(dtype=np.uint32)
    offset = take(np.uint64, frames).astype(np.uint64)
    length = take(np.uint32, frames).astype(np.uint32)
    offset[1:] += length[:-1]
    offset.cumsum(out=offset)
    low, frame, slot = (take(np.uint16, pages).cumsum(dtype=np.uint16) for _ in range(3))
    in_range = not pages or (
        int(low[-1]) < CHUNK_PAGES
        and bool((low[1:] > low[:-1]).all())
        and int(frame.max()) < frames
        and int(segment.max(initial=0)) < segment_count
    )
    return ChunkPlacement(segment, offset, length, low, frame, slot), in_range
