"""Records: small JSON objects that end with a checksum of all bytes before it.

`metastore.volumes` and `metastore.tags` define their fields; this module holds what they share.
"""

import json
import re
from typing import Annotated

import xxhash
from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from metastore.errors import CorruptCommit
from metastore.ids import LogId, VolumeId
from metastore.lsn import LSN, LSN_MAX

_CHECKSUM = re.compile(rb'(\{.*),"checksum":"([0-9a-f]{16})"\}', re.DOTALL)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""The syntax of the names of volumes and tags."""
NAME_IN_WORDS = "1 to 128 letters, digits, '.', '_' or '-', starting with a letter or digit"

LogIdField = Annotated[
    LogId,
    BeforeValidator(lambda value: LogId.parse(value) if isinstance(value, str) else value),
    PlainSerializer(str),
    WithJsonSchema({"type": "string"}),
]
VolumeIdField = Annotated[
    VolumeId,
    BeforeValidator(lambda value: VolumeId.parse(value) if isinstance(value, str) else value),
    PlainSerializer(str),
    WithJsonSchema({"type": "string"}),
]
LsnField = Annotated[LSN, Field(ge=1, le=LSN_MAX)]


def sealed(body: bytes) -> bytes:
    """Return the object with these fields (``{…`` without the closing brace) and their checksum."""
    return b'%b,"checksum":"%016x"}' % (body, xxhash.xxh3_64_intdigest(body))


def unsealed(data: bytes, where: str) -> bytes:
    """Verify an object's checksum, and return its fields (``{…`` without the closing brace).

    Raises `CorruptCommit`, with ``where`` as the object's name.
    """
    found = _CHECKSUM.fullmatch(data)
    if found is None:
        raise CorruptCommit(f"{where} does not end with a checksum: the object is damaged")
    body, digest = found[1], int(found[2], 16)
    if xxhash.xxh3_64_intdigest(body) != digest:
        raise CorruptCommit(f"{where} does not match its checksum: the object is damaged")
    return body


def format_of(data: bytes) -> int | None:
    """Return the format that an object states, or None if it states none."""
    try:
        record = json.loads(data)
    except ValueError:
        return None
    found = record.get("format") if isinstance(record, dict) else None
    return found if isinstance(found, int) else None
