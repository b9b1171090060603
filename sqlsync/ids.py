"""Ids as in SQLSync: 16 or 32 random bytes, written in base58."""

from dataclasses import dataclass
from typing import Self

from pagestore.runtime import SYSTEM, Runtime

LENGTHS = (16, 32)
_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_DIGITS = {letter: value for value, letter in enumerate(_ALPHABET)}


def base58(raw: bytes) -> str:
    """Return bytes in base58 (Bitcoin's alphabet); leading zero bytes are ones."""
    number, text = int.from_bytes(raw, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = _ALPHABET[digit] + text
    return "1" * (len(raw) - len(raw.lstrip(b"\0"))) + text


def unbase58(text: str) -> bytes:
    """Read what `base58` wrote; raises `ValueError` for anything else."""
    number = 0
    for letter in text:
        if letter not in _DIGITS:
            raise ValueError(f"not base58: {text!r}")
        number = number * 58 + _DIGITS[letter]
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")


@dataclass(frozen=True, slots=True, order=True)
class TimelineId:
    """The id of a timeline, the sequence of one client's mutations."""

    raw: bytes

    def __hash__(self) -> int:
        return hash(self.raw)

    def __post_init__(self) -> None:
        if len(self.raw) not in LENGTHS:
            raise ValueError(f"a timeline id has 16 or 32 bytes, not {len(self.raw)}")

    @classmethod
    def new(cls, runtime: Runtime = SYSTEM) -> Self:
        """Return a new, globally unique id."""
        return cls(runtime.entropy(16))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text form; raises `ValueError` for anything else."""
        return cls(unbase58(text))

    def __str__(self) -> str:
        return base58(self.raw)
