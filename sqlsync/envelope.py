"""Mutations and their envelope: what is captured once, when a mutation is called, so that every replay agrees.

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
"""The years 1 to 9999: what Python and SQL can tell of a time."""
_FIXED = struct.Struct("<BBQqQ")
_CHECKSUM = struct.Struct("<Q")
_JSON = json.JSONDecoder()
_timeline = functools.lru_cache(TimelineId)
"""Mutations that are read together are mostly of one timeline."""


@dataclass(frozen=True, slots=True)
class Named:
    """A mutation by name, with arguments that JSON can say."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Opaque:
    """A mutation whose encoding is between client and reducer, as in SQLSync."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Mutation:
    """A call of the application's logic, with all that the logic may depend on besides the data."""

    timeline: TimelineId
    lsn: int
    """Its place in the timeline: 0, 1, 2 … dense."""
    body: Named | Opaque
    actor: str
    now_us: int
    """When it was called, microseconds since the Unix epoch."""
    seed: int
    """64 random bits."""
    _stored: bytes | None = field(default=None, init=False, repr=False, compare=False)
    """The stored form, once somebody asked for it; `dataclasses.replace` does not take it along."""

    @classmethod
    def captured(
        cls, timeline: TimelineId, lsn: int, body: Named | Opaque, *, actor: str = "", runtime: Runtime = SYSTEM
    ) -> Self:
        """Make a mutation now, of what its body is once it was stored.

        Dates, models and the like become what pydantic says of them in JSON. Raises `BadMutation` for a body that
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
        """When it was called, in UTC."""
        return dt.datetime.fromtimestamp(self.now_us // 1_000_000, dt.UTC).replace(microsecond=self.now_us % 1_000_000)

    @property
    def name(self) -> str:
        """Its name, for people; opaque ones have none."""
        return self.body.name if isinstance(self.body, Named) else ""


def require_sound(mutation: Mutation) -> None:
    """Raise `BadMutation` for what a mutation that came from somebody else may not say.

    The checksum of a stored form tells that it is whole; anybody can compute it for anything.
    """
    if not NOW_US_MIN <= mutation.now_us <= NOW_US_MAX:
        raise BadMutation(f"mutation {mutation.name!r}: {mutation.now_us} µs is no time in the years 1 to 9999")
    if isinstance(mutation.body, Named):
        arguments: object = mutation.body.arguments
        try:
            if not isinstance(arguments, dict):
                raise ValueError(f"they are no object but {type(arguments).__name__}")  # noqa: TRY004
            require_plain(arguments)
        except ValueError as error:
            raise BadMutation(f"the arguments of mutation {mutation.name!r} cannot be used: {error}") from error


def encode(mutation: Mutation) -> bytes:
    """Return the stored form. Raises `BadMutation` for what it cannot say."""
    stored = mutation._stored  # noqa: SLF001 - this module's own
    return _keep(mutation, _encoded(mutation)) if stored is None else stored


def _keep(mutation: Mutation, stored: bytes) -> bytes:
    """Note the stored form of a mutation that does not change any more, and return it."""
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
    """Return what tells a mutation from any other that could have its LSN."""
    return digest_of(encode(mutation))


def digest_of(stored: bytes) -> bytes:
    """Return the `digest` of the mutation with this stored form."""
    return blake2b(stored, digest_size=LINK_BYTES).digest()


def body_digest(mutation: Mutation) -> bytes:
    """Return a digest of what a mutation does alone, for authors that do not capture its time and seed themselves."""
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
        said = Named(name.decode(), _JSON.decode(body.decode())) if kind == 0 else Opaque(body)
        mutation = Mutation(_timeline(timeline), lsn, said, actor.decode(), now_us, seed)
    except (ValueError, RecursionError) as error:
        raise CorruptTimeline(f"a mutation of {len(data)} bytes makes no sense: {error}") from error
    _keep(mutation, data)
    return mutation


def _read_back(body: Named) -> dict[str, Any]:
    try:
        return read_object(_body(body)[1])
    except ValueError as error:
        raise BadMutation(f"the arguments of mutation {body.name!r} cannot be said in JSON: {error}") from error


def _body(body: Named | Opaque) -> tuple[bytes, bytes]:
    if isinstance(body, Opaque):
        return b"", body.payload
    try:
        text = json.dumps(
            body.arguments, default=to_jsonable_python, ensure_ascii=False, allow_nan=False, separators=(",", ":")
        )
        return body.name.encode(), text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise BadMutation(f"the arguments of mutation {body.name!r} cannot be said in JSON: {error}") from error
