"""The primitives of bincode 1.3 as SQLSync uses it: fixed-width little-endian integers, u64 lengths, no padding.

The message layouts are defined elsewhere: `graft_server.wire` has the network's, `sqlsync.wasm.abi` the reducers'.
"""

import struct
from typing import Any, Final

_U8: Final = struct.Struct("<B")
_U32: Final = struct.Struct("<I")
_U64: Final = struct.Struct("<Q")
_I32: Final = struct.Struct("<i")
_I64: Final = struct.Struct("<q")
_F64: Final = struct.Struct("<d")


class BadBincode(ValueError):
    """The bytes do not fit the layout."""


class Writer:
    """Collects encoded values."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def u8(self, value: int) -> None:
        """Add an unsigned byte, or the tag of an option."""
        self._parts.append(_U8.pack(value))

    def u32(self, value: int) -> None:
        """Add an unsigned integer of 4 bytes, or the tag of an enum."""
        self._parts.append(_U32.pack(value))

    def u64(self, value: int) -> None:
        """Add an unsigned integer of 8 bytes, or a length."""
        self._parts.append(_U64.pack(value))

    def i32(self, value: int) -> None:
        """Add a signed integer of 4 bytes."""
        self._parts.append(_I32.pack(value))

    def i64(self, value: int) -> None:
        """Add a signed integer of 8 bytes."""
        self._parts.append(_I64.pack(value))

    def f64(self, value: float) -> None:
        """Add a float of 8 bytes."""
        self._parts.append(_F64.pack(value))

    def blob(self, value: bytes) -> None:
        """Add bytes, after their length."""
        self._parts += (_U64.pack(len(value)), value)

    def text(self, value: str) -> None:
        """Add text in UTF-8, after its length in bytes."""
        self.blob(value.encode())

    def raw(self, value: bytes) -> None:
        """Add bytes as they are."""
        self._parts.append(value)

    def value(self) -> bytes:
        """Return all added bytes."""
        return b"".join(self._parts)


class Reader:
    """Reads encoded values from bytes in order; raises `BadBincode` if they end early or are not valid."""

    def __init__(self, data: bytes) -> None:
        """Read ``data``."""
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """The number of bytes not read yet."""
        return len(self._data) - self._at

    def u8(self) -> int:
        """Take an unsigned byte."""
        return self._take(1)[0]

    def u32(self) -> int:
        """Take an unsigned integer of 4 bytes."""
        return int(self.fields(_U32)[0])

    def u64(self) -> int:
        """Take an unsigned integer of 8 bytes."""
        return int(self.fields(_U64)[0])

    def i32(self) -> int:
        """Take a signed integer of 4 bytes."""
        return int(self.fields(_I32)[0])

    def i64(self) -> int:
        """Take a signed integer of 8 bytes."""
        return int(self.fields(_I64)[0])

    def f64(self) -> float:
        """Take a float of 8 bytes."""
        return float(self.fields(_F64)[0])

    def fields(self, layout: struct.Struct) -> tuple[Any, ...]:
        """Take all values of a fixed layout."""
        at = self._at
        try:
            found = layout.unpack_from(self._data, at)
        except struct.error:
            raise self._short(layout.size) from None
        self._at = at + layout.size
        return found

    def tag(self, count: int) -> int:
        """Take the tag of an enum with ``count`` variants."""
        found: int = self.fields(_U32)[0]
        if found >= count:
            raise BadBincode(f"an enum of {count} variants has tag {found}")
        return found

    def option(self) -> bool:
        """Take the tag of an option: whether a value follows."""
        found = self.u8()
        if found > 1:
            raise BadBincode(f"an option has tag {found}")
        return found == 1

    def length(self, size_min: int = 1) -> int:
        """Take the length of a sequence whose elements have at least ``size_min`` bytes each."""
        found: int = self.fields(_U64)[0]
        if found * size_min > len(self._data) - self._at:
            raise BadBincode(f"a length of {found}, but only {self.left} bytes follow")
        return found

    def blob(self) -> bytes:
        """Take bytes with their length."""
        length = self.length()
        at = self._at
        end = self._at = at + length
        return self._data[at:end]

    def text(self) -> str:
        """Take text in UTF-8 with its length."""
        raw = self.blob()
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise BadBincode(f"a text of {len(raw)} bytes is not UTF-8: {error}") from error

    def rest(self) -> bytes:
        """Take all remaining bytes."""
        return self._take(self.left)

    def end(self) -> None:
        """Check that no bytes remain."""
        if self.left:
            raise BadBincode(f"{self.left} unexpected bytes at the end")

    def _take(self, count: int) -> bytes:
        at = self._at
        end = self._at = at + count
        if end > len(self._data):
            self._at = at
            raise self._short(count)
        return self._data[at:end]

    def _short(self, count: int) -> BadBincode:
        return BadBincode(f"expected {count} bytes, but only {self.left} follow")
