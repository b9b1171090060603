"""Whose a timeline is, and which history it has.

secret   32 random bytes that the author of a timeline holds. Who shows them may write to it; the volume has a hash.
links    a chain of digests over a timeline's mutations, one for each LSN: two histories that agree in one link agree in
         all that came before. The volume keeps the last few of each timeline.
sealing  what only the author is to read, why a mutation was rejected, is encrypted with a key made from the secret.
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
"""How many links of a timeline the volume keeps."""
GENESIS: Final = bytes(LINK_BYTES)
"""The link before the first mutation."""
_TAG_BYTES: Final = 16
_OWNER, _PRINCIPAL, _SEAL, _LINK, _LEGACY = b"owner", b"principal", b"seal", b"link", b"legacy"


def new_secret(runtime: Runtime = SYSTEM) -> bytes:
    """Make a secret that nobody else knows."""
    return runtime.entropy(SECRET_BYTES)


def linked(before: bytes, digest: bytes) -> bytes:
    """Return the link behind ``before``, for a mutation with this digest."""
    return blake2b(before + digest, digest_size=LINK_BYTES, person=_LINK).digest()


def legacy_link(timeline: TimelineId, start: int) -> bytes:
    """Return the link before ``start`` for a timeline whose history nobody noted; the same in each of its copies."""
    return blake2b(timeline.raw + start.to_bytes(8, "little"), digest_size=LINK_BYTES, person=_LEGACY).digest()


@dataclass(frozen=True, slots=True)
class Proof:
    """What the author of a timeline shows with its mutations."""

    secret: bytes | None
    """None for a timeline that has none."""
    lsn: int
    link: bytes | None
    """The author's link before the mutation ``lsn``, None if it does not know it."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Who may write to a timeline, as hashes that say nothing to others."""

    key: bytes | None = None
    """Of the secret; None if the author has none."""
    principal: bytes | None = None
    """Of the principal whose token it was; None if nobody's."""

    @classmethod
    def of(cls, timeline: TimelineId, secret: bytes | None, principal: str = "") -> Self:
        """Return the owner of a timeline that begins with this secret and principal."""
        return cls(
            None if secret is None else blake2b(timeline.raw, key=secret, digest_size=32, person=_OWNER).digest(),
            blake2b(timeline.raw + principal.encode(), digest_size=32, person=_PRINCIPAL).digest()
            if principal
            else None,
        )

    def admits(self, other: "Owner") -> bool:
        """Tell whether ``other`` is this one; a timeline that is no principal's becomes that of the first who comes."""
        same_key = hmac.compare_digest(self.key or b"", other.key or b"")
        return same_key and (self.principal is None or hmac.compare_digest(self.principal, other.principal or b""))


@dataclass(frozen=True, slots=True)
class Stamp:
    """What goes with a mutation to the volume, besides the mutation."""

    owner: Owner
    before: bytes | None
    """The link before it, None if nobody knows."""
    link: bytes | None
    seal: bytes | None
    """Encrypts what only the author is to read."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What the volume says of a timeline besides its position."""

    lsn: int
    """The position that this belongs to."""
    links: tuple[bytes, ...]
    """The last links up to `lsn`, oldest first; none if they are not known."""
    owner: Owner

    def link_at(self, lsn: int) -> bytes | None:
        """Return the link of a mutation, None if it is not known."""
        place = len(self.links) - 1 - (self.lsn - lsn)
        return self.links[place] if 0 <= place < len(self.links) else None


def continued(standing: Standing | None, lsn: int, stamps: Sequence[Stamp]) -> Standing:
    """Return the standing once the mutations up to ``lsn`` with these stamps, at least one, were applied."""
    fresh: list[bytes] = []
    for stamp in stamps:
        fresh = [*fresh, stamp.link] if stamp.link is not None else []
    first, owner = lsn + 1 - len(stamps), stamps[-1].owner
    follows = standing is not None and standing.lsn == first - 1 and len(fresh) == len(stamps)
    before = standing.links if standing is not None and follows else ()
    return Standing(lsn, (*before, *fresh)[-LINKS_MAX:], owner)


def seal_key(secret: bytes) -> bytes:
    """Return the key that seals what only the holder of a secret is to read."""
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
