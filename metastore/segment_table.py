"""The byte layout of a commit's segment table, owned by this module (docs/formats/commit.md).

    codec u8 · stored body
    body: segment id[rows] · home u8[rows] · log id[rows] · LSN u64[rows] · offset u64[rows]

It is stored by columns and compressed, since the index of an old volume names thousands of segments that differ in
little more than their ids.
"""

import struct
from collections.abc import Sequence
from itertools import accumulate

from metastore.errors import CorruptCommit, UnsupportedCommit
from metastore.ids import LogId
from metastore.lsn import LSN
from metastore.placement import InCommit, OwnObject, SegmentRef
from pagestore.errors import CorruptObject, UnsupportedFormat
from pagestore.ids import ID_BYTES, SegmentId
from pagestore.segments.codec import Codec, compress, decompress
from pagestore.segments.dictionary import DICTIONARY_STORED_BYTES_MAX

_OWN_OBJECT, _IN_COMMIT, _IN_THIS_COMMIT, _WITH_DICTIONARY = 0, 1, 2, 3
_ROW_BYTES = 2 * ID_BYTES + 1 + 8 + 8
_COMPRESS_BYTES_MIN = 128
_NO_LOG = bytes(ID_BYTES)
_U64_MAX = 2**64 - 1


def encode_segments(segments: Sequence[SegmentRef | SegmentId]) -> bytes:
    """Return the stored table; a bare id stands for the inline segment of the table's own commit."""
    ids, homes, logs = [], bytearray(), []
    steps, offsets = [], []
    before = 0
    for ref in segments:
        home = ref.home if isinstance(ref, SegmentRef) else None
        lsn = home.lsn if isinstance(home, InCommit) else 0
        ids.append(ref.segment.raw if isinstance(ref, SegmentRef) else ref.raw)
        homes.append(_kind_of(home))
        logs.append(home.log.raw if isinstance(home, InCommit) else _NO_LOG)
        steps.append((lsn - before) & _U64_MAX)
        before = lsn
        offsets.append(_offset_of(home))
    raw = b"".join((*ids, homes, *logs, struct.pack(f"<{2 * len(segments)}Q", *steps, *offsets)))
    codec, stored = Codec.RAW, raw
    if len(raw) >= _COMPRESS_BYTES_MIN:
        codec, stored = compress(raw, Codec.ZSTD)
    return bytes((codec,)) + stored


def decode_segments(data: memoryview, rows: int, here: InCommit) -> tuple[SegmentRef, ...]:
    """Invert `encode_segments`; ``here`` is the place of the commit's own inline segment.

    Raises `CorruptCommit` or `UnsupportedCommit`.
    """
    if not data:
        raise CorruptCommit("the segment table has no codec")
    try:
        raw = decompress(data[0], data[1:], rows * _ROW_BYTES)
    except CorruptObject as error:
        raise CorruptCommit(f"segment table: {error}") from error
    except UnsupportedFormat as error:
        raise UnsupportedCommit(f"segment table: {error}") from error
    homes = raw[rows * ID_BYTES : rows * (ID_BYTES + 1)]
    logs = rows * (ID_BYTES + 1)
    numbers = struct.unpack_from(f"<{2 * rows}Q", raw, rows * (2 * ID_BYTES + 1))
    lsns = list(accumulate(numbers[:rows], lambda lsn, step: (lsn + step) & _U64_MAX))
    offsets = numbers[rows:]
    refs = []
    known_logs: dict[bytes, LogId] = {}
    for row, home in enumerate(homes):
        segment = SegmentId(raw[row * ID_BYTES : (row + 1) * ID_BYTES])
        log = raw[logs + row * ID_BYTES : logs + (row + 1) * ID_BYTES]
        if home == _IN_COMMIT:
            log_id = known_logs.setdefault(log, LogId(log))
            refs.append(SegmentRef(segment, InCommit(log_id, LSN(lsns[row]), offsets[row])))
        elif home == _WITH_DICTIONARY:
            if not 0 < offsets[row] <= DICTIONARY_STORED_BYTES_MAX:
                raise CorruptCommit(f"segment {segment} has a dictionary of {offsets[row]} stored bytes")
            refs.append(SegmentRef(segment, OwnObject(offsets[row])))
        elif home in {_OWN_OBJECT, _IN_THIS_COMMIT}:
            refs.append(SegmentRef(segment, OwnObject() if home == _OWN_OBJECT else here))
        else:
            raise UnsupportedCommit(f"segment {segment} has a home of kind {home}; upgrade graft")
    return tuple(refs)


def _offset_of(home: OwnObject | InCommit | None) -> int:
    if home is None:
        return 0
    return home.offset if isinstance(home, InCommit) else home.dictionary_bytes


def _kind_of(home: OwnObject | InCommit | None) -> int:
    if home is None:
        return _IN_THIS_COMMIT
    if isinstance(home, InCommit):
        return _IN_COMMIT
    return _WITH_DICTIONARY if home.dictionary_bytes else _OWN_OBJECT
