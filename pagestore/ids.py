"""128-bit, time-ordered, typed ids with one text form.

An id consists of 48 bits of milliseconds since the Unix epoch and 80 random bits, like a ULID. Its text form is a
letter for the type, ``-``, and 32 hex digits, so text, bytes and creation time sort alike: ``s-0199f3a1c2b4…``.
"""

from dataclasses import dataclass
from typing import ClassVar, Self

from pagestore.runtime import SYSTEM, Runtime

ID_BYTES = 16


@dataclass(frozen=True, slots=True, order=True)
class TypedId:
    """The base of all ids; ``raw`` holds the 16 bytes, big-endian."""

    prefix: ClassVar[str]
    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != ID_BYTES:
            raise ValueError(f"{type(self).__name__} needs {ID_BYTES} bytes, not {len(self.raw)}")

    @classmethod
    def new(cls, runtime: Runtime = SYSTEM) -> Self:
        """Make a new, globally unique id."""
        milliseconds = int(runtime.now_s() * 1000) & (2**48 - 1)
        return cls(milliseconds.to_bytes(6, "big") + runtime.entropy(10))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the text form; raises `ValueError` for anything else."""
        head, dash, digits = text.partition("-")
        if head != cls.prefix or not dash or len(digits) != 2 * ID_BYTES or digits != digits.lower():
            raise ValueError(f"not a {cls.__name__}: {text!r} (expected {cls.prefix}- and 32 lowercase hex digits)")
        try:
            return cls(bytes.fromhex(digits))
        except ValueError:
            raise ValueError(f"not a {cls.__name__}: {text!r} (not hexadecimal)") from None

    def __str__(self) -> str:
        return f"{self.prefix}-{self.raw.hex()}"


@dataclass(frozen=True, slots=True, order=True)
class SegmentId(TypedId):
    """The id of a segment."""

    prefix: ClassVar[str] = "s"

    @property
    def seed(self) -> int:
        """The last 8 bytes, all random; they seed the segment's checksums (``docs/adr/0002-segment-frames.md``)."""
        return int.from_bytes(self.raw[8:], "big")
