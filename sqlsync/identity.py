"""The owner and the history of a timeline.

secret   32 random bytes that the author of a timeline holds and presents to write to it; the volume has a hash.
links    a chain of digests over a timeline's mutations, one for each LSN: two histories with the same link are the same
         up to it. The volume stores the last few of each timeline.
sealing  the reason of a rejection, for its author alone, is encrypted with a key derived from the secret.
"""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b, shake_256
from typing import Final, Self

from pagestore.runtime import SYSTEM, Runtime
from sqlsync.ids import TimelineId

SECRET_BYTES: Final = 32
LINK_BYTES: Final = 16
LINKS_MAX: Final = 8
"""How many links of a timeline the volume stores."""
GENESIS: Final = bytes(LINK_BYTES)
"""The link before the first mutation."""
_TAG_BYTES: Final = 16
_OWNER, _PRINCIPAL, _SEAL, _LINK, _LEGACY = b"owner", b"principal", b"seal", b"link", b"legacy"


def new_secret(runtime: Runtime = SYSTEM) -> bytes:
    """Return a new random secret."""
    return runtime.entropy(SECRET_BYTES)


def linked(before: bytes, digest: bytes) -> bytes:
    """Return the link after ``before`` for a mutation with this digest."""
    return blake2b(before + digest, digest_size=LINK_BYTES, person=_LINK).digest()


def legacy_link(timeline: TimelineId, start: int) -> bytes:
    """Return the link before ``start`` for a timeline without recorded links; all its copies get the same."""
    return blake2b(timeline.raw + start.to_bytes(8, "little"), digest_size=LINK_BYTES, person=_LEGACY).digest()


@dataclass(frozen=True, slots=True)
class Proof:
    """What the author of a timeline presents with its mutations."""

    secret: bytes | None
    """None for a timeline without a secret."""
    lsn: int
    link: bytes | None
    """The author's link before the mutation ``lsn``, None if unknown."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The owner of a timeline, as hashes that reveal neither secret nor principal."""

    key: bytes | None = None
    """Hash of the secret; None without one."""
    principal: bytes | None = None
    """Hash of the principal; None without one."""

    @classmethod
    def of(cls, timeline: TimelineId, secret: bytes | None, principal: str = "") -> Self:
        """Return the owner of a timeline that starts with this secret and principal."""
        return cls(
            None if secret is None else blake2b(timeline.raw, key=secret, digest_size=32, person=_OWNER).digest(),
            blake2b(timeline.raw + principal.encode(), digest_size=32, person=_PRINCIPAL).digest()
            if principal
            else None,
        )

    def admits(self, other: "Owner") -> bool:
        """Return whether ``other`` is this owner; a timeline without a principal admits the first one."""
        same_key = hmac.compare_digest(self.key or b"", other.key or b"")
        return same_key and (self.principal is None or hmac.compare_digest(self.principal, other.principal or b""))


@dataclass(frozen=True, slots=True)
class Stamp:
    """What is stored in the volume for a mutation besides its effects."""

    owner: Owner
    before: bytes | None
    """The link before it, None if unknown."""
    link: bytes | None
    seal: bytes | None
    """The key that encrypts a rejection's reason for the author."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The volume's record of a timeline, besides its position."""

    lsn: int
    """The position that this belongs to."""
    links: tuple[bytes, ...]
    """The last links up to `lsn`, oldest first; empty if unknown."""
    owner: Owner

    def link_at(self, lsn: int) -> bytes | None:
        """Return the link of a mutation, None if unknown."""
        place = len(self.links) - 1 - (self.lsn - lsn)
        return self.links[place] if 0 <= place < len(self.links) else None


def continued(standing: Standing | None, lsn: int, stamps: Sequence[Stamp]) -> Standing:
    """Return the standing after applying the mutations up to ``lsn`` with these stamps (at least one)."""
    fresh: list[bytes] = []
    for stamp in stamps:
        fresh = [*fresh, stamp.link] if stamp.link is not None else []
    first, owner = lsn + 1 - len(stamps), stamps[-1].owner
    follows = standing is not None and standing.lsn == first - 1 and len(fresh) == len(stamps)
    before = standing.links if standing is not None and follows else ()
    return Standing(lsn, (*before, *fresh)[-LINKS_MAX:], owner)


def seal_key(secret: bytes) -> bytes:
    """Return the key that seals texts for the holder of a secret."""
    return blake2b(key=secret, digest_size=32, person=_SEAL).digest()


def sealed(key: bytes, timeline: TimelineId, lsn: int, text: str) -> bytes:
    """Encrypt a text about a mutation, once: one key, timeline and LSN must not seal two texts."""
    plain = text.encode()
    hidden = bytes(a ^ b for a, b in zip(plain, _stream(key, timeline, lsn, len(plain)), strict=True))
    return _tag(key, timeline, lsn, hidden) + hidden


def unsealed(key: bytes, timeline: TimelineId, lsn: int, data: bytes) -> str | None:
    """Decrypt what `sealed` returned; None if it was made with another key, or damaged."""
    tag, hidden = data[:_TAG_BYTES], data[_TAG_BYTES:]
    if not hmac.compare_digest(tag, _tag(key, timeline, lsn, hidden)):
        return None
    return bytes(a ^ b for a, b in zip(hidden, _stream(key, timeline, lsn, len(hidden)), strict=True)).decode()


def _stream(key: bytes, timeline: TimelineId, lsn: int, length: int) -> bytes:
    return shake_256(key + lsn.to_bytes(8, "little") + timeline.raw).digest(length)


def _tag(key: bytes, timeline: TimelineId, lsn: int, hidden: bytes) -> bytes:
    return blake2b(lsn.to_bytes(8, "little") + timeline.raw + hidden, key=key, digest_size=_TAG_BYTES).digest()
