"""Mutations and their envelope, which captures what a replay needs to give the same result.

The stored form (version 1, integers little-endian)::

    u8 version = 1 | u8 kind (0 named, 1 opaque) | u64 lsn | i64 now_us | u64 seed
    u8 length, timeline | u16 length, actor (UTF-8) | u16 length, name (UTF-8; empty if opaque)
    u32 length, body (JSON arguments, or the opaque bytes) | u64 xxh3-64 of all before
"""

import datetime as dt
import functools
import json
import struct
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Self

import xxhash
from pydantic_core import to_jsonable_python

from pagestore.runtime import SYSTEM, Runtime
from sqlsync.errors import BadMutation, CorruptTimeline
from sqlsync.identity import LINK_BYTES
from sqlsync.ids import TimelineId
from sqlsync.plain_json import read_object, require_plain

VERSION = 1
BODY_BYTES_MAX = 16 * 1024 * 1024
TEXT_BYTES_MAX = 2**16 - 1
NOW_US_MIN, NOW_US_MAX = -62_135_596_800_000_000, 253_402_300_799_999_999
"""The years 1 to 9999, which both Python and SQL can represent."""
_FIXED = struct.Struct("<BBQqQ")
_CHECKSUM = struct.Struct("<Q")
_JSON = json.JSONDecoder()
_timeline = functools.lru_cache(TimelineId)
"""Cached, since mutations that are read together are mostly of one timeline."""


@dataclass(frozen=True, slots=True)
class Named:
    """A mutation by name, with arguments that JSON can represent."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Opaque:
    """A mutation whose encoding only client and reducer know, as in SQLSync."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Mutation:
    """A call of the application's logic, with all inputs that the logic may use besides the data."""

    timeline: TimelineId
    lsn: int
    """Its place in the timeline: 0, 1, 2 … dense."""
    body: Named | Opaque
    actor: str
    now_us: int
    """The time of the call, microseconds since the Unix epoch."""
    seed: int
    """64 random bits."""
    _stored: bytes | None = field(default=None, init=False, repr=False, compare=False)
    """The cached stored form; `dataclasses.replace` does not copy it."""

    @classmethod
    def captured(
        cls, timeline: TimelineId, lsn: int, body: Named | Opaque, *, actor: str = "", runtime: Runtime = SYSTEM
    ) -> Self:
        """Capture a mutation now, with its body as it reads after storing.

        Dates, models and the like become JSON as pydantic serializes them. Raises `BadMutation` for a body that
        cannot be stored.
        """
        now_us, seed = int(runtime.now_s() * 1_000_000), int.from_bytes(runtime.entropy(8), "little")
        if isinstance(body, Named):
            body = Named(body.name, _read_back(body))
        mutation = cls(timeline, lsn, body, actor, now_us, seed)
        encode(mutation)
        return mutation

    @property
    def now(self) -> dt.datetime:
        """The time of the call, in UTC."""
        return dt.datetime.fromtimestamp(self.now_us // 1_000_000, dt.UTC).replace(microsecond=self.now_us % 1_000_000)

    @property
    def name(self) -> str:
        """Its name, empty for opaque mutations."""
        return self.body.name if isinstance(self.body, Named) else ""


def require_sound(mutation: Mutation) -> None:
    """Raise `BadMutation` if a mutation from another process has invalid contents.

    The checksum of the stored form only detects damage; anybody can compute it.
    """
    if not NOW_US_MIN <= mutation.now_us <= NOW_US_MAX:
        raise BadMutation(f"mutation {mutation.name!r}: {mutation.now_us} µs is not a time in the years 1 to 9999")
    if isinstance(mutation.body, Named):
        arguments: object = mutation.body.arguments
        try:
            if not isinstance(arguments, dict):
                raise ValueError(f"expected an object, not {type(arguments).__name__}")  # noqa: TRY004
            require_plain(arguments)
        except ValueError as error:
            raise BadMutation(f"the arguments of mutation {mutation.name!r} cannot be used: {error}") from error


def encode(mutation: Mutation) -> bytes:
    """Return the stored form. Raises `BadMutation` if it cannot be encoded."""
    stored = mutation._stored  # noqa: SLF001 - this module's own field
    return _keep(mutation, _encoded(mutation)) if stored is None else stored


def _keep(mutation: Mutation, stored: bytes) -> bytes:
    """Cache the stored form of an immutable mutation, and return it."""
    object.__setattr__(mutation, "_stored", stored)
    return stored


def _encoded(mutation: Mutation) -> bytes:
    (name, body), actor = _body(mutation.body), mutation.actor.encode()
    if len(body) > BODY_BYTES_MAX or max(len(actor), len(name)) > TEXT_BYTES_MAX:
        raise BadMutation(
            f"mutation {mutation.name!r} is too large: {len(body)} bytes of arguments (at most {BODY_BYTES_MAX}), "
            f"{len(name)} of name and {len(actor)} of actor (at most {TEXT_BYTES_MAX})"
        )
    kind = 0 if isinstance(mutation.body, Named) else 1
    content = b"".join((
        _FIXED.pack(VERSION, kind, mutation.lsn, mutation.now_us, mutation.seed),
        len(mutation.timeline.raw).to_bytes(1, "little"), mutation.timeline.raw,
        len(actor).to_bytes(2, "little"), actor,
        len(name).to_bytes(2, "little"), name,
        len(body).to_bytes(4, "little"), body,
    ))  # fmt: skip
    return content + _CHECKSUM.pack(xxhash.xxh3_64_intdigest(content))


def digest(mutation: Mutation) -> bytes:
    """Return a digest that differs between any two mutations of one LSN."""
    return digest_of(encode(mutation))


def digest_of(stored: bytes) -> bytes:
    """Return the `digest` of the mutation with this stored form."""
    return blake2b(stored, digest_size=LINK_BYTES).digest()


def body_digest(mutation: Mutation) -> bytes:
    """Return a digest of name and body, for authors that do not capture time and seed themselves."""
    return blake2b(b"\0".join(_body(mutation.body)), digest_size=LINK_BYTES).digest()


def decode(data: bytes) -> Mutation:
    """Read the stored form. Raises `CorruptTimeline` for anything else."""
    content, checksum = data[: -_CHECKSUM.size], data[-_CHECKSUM.size :]
    if len(data) < _FIXED.size + _CHECKSUM.size or _CHECKSUM.unpack(checksum)[0] != xxhash.xxh3_64_intdigest(content):
        raise CorruptTimeline(f"a mutation of {len(data)} bytes fails its checksum")
    version, kind, lsn, now_us, seed = _FIXED.unpack_from(content)
    if version != VERSION or kind > 1:
        raise CorruptTimeline(f"a mutation has version {version} and kind {kind}; this is version {VERSION}")
    parts, at = [], _FIXED.size
    for width in (1, 2, 2, 4):
        length = int.from_bytes(content[at : at + width], "little")
        parts.append(content[at + width : at + width + length])
        at += width + length
    if at != len(content):
        raise CorruptTimeline(f"a mutation of {len(data)} bytes does not fit its lengths")
    timeline, actor, name, body = parts
    try:
        call = Named(name.decode(), _JSON.decode(body.decode())) if kind == 0 else Opaque(body)
        mutation = Mutation(_timeline(timeline), lsn, call, actor.decode(), now_us, seed)
    except (ValueError, RecursionError) as error:
        raise CorruptTimeline(f"a mutation of {len(data)} bytes is not valid: {error}") from error
    _keep(mutation, data)
    return mutation


def _read_back(body: Named) -> dict[str, Any]:
    try:
        return read_object(_body(body)[1])
    except ValueError as error:
        raise BadMutation(f"the arguments of mutation {body.name!r} cannot be written as JSON: {error}") from error


def _body(body: Named | Opaque) -> tuple[bytes, bytes]:
    if isinstance(body, Opaque):
        return b"", body.payload
    try:
        text = json.dumps(
            body.arguments, default=to_jsonable_python, ensure_ascii=False, allow_nan=False, separators=(",", ":")
        )
        return body.name.encode(), text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise BadMutation(f"the arguments of mutation {body.name!r} cannot be written as JSON: {error}") from error
