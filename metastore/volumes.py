"""Volume names: ``volumes/{name}``, a small JSON object that is created once and never changed.

Since version 2 it ends in a checksum of every byte before it; objects of version 1 have none.
"""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Annotated, Literal

import xxhash
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, ValidationError, WithJsonSchema
from pydantic import BeforeValidator as Before

from metastore.errors import (
    CommitMissing,
    CorruptCommit,
    NoSuchVolume,
    UnsupportedCommit,
    VolumeExists,
    translated,
)
from metastore.ids import LogId, VolumeId
from metastore.lsn import LSN, LSN_MAX
from pagestore.objectstore import ObjectStore
from pagestore.pages import check_page_size
from pagestore.parallel import Parallel

FORMAT = 2
_CHECKSUM = re.compile(rb'(\{.*),"checksum":"([0-9a-f]{16})"\}', re.DOTALL)
_NAMES_MAX = 64
"""Where there are more volumes, logs without a name are not looked for: that takes a request for each."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

_LogIdField = Annotated[
    LogId,
    Before(lambda value: LogId.parse(value) if isinstance(value, str) else value),
    PlainSerializer(str),
    WithJsonSchema({"type": "string"}),
]
_VolumeIdField = Annotated[
    VolumeId,
    Before(lambda value: VolumeId.parse(value) if isinstance(value, str) else value),
    PlainSerializer(str),
    WithJsonSchema({"type": "string"}),
]


def check_name(name: str) -> str:
    """Return a volume's name if it is one; raises `ValueError`."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"not a volume name: {name!r} (1 to 128 letters, digits, '.', '_' or '-', starting with a letter or digit)"
        )
    return name


class Parent(BaseModel):
    """The volume and commit that a fork started from."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)
    volume: _VolumeIdField
    log: _LogIdField
    lsn: Annotated[LSN, Field(ge=1, le=LSN_MAX)]


class VolumeRecord(BaseModel):
    """What a name stands for."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)
    format: Literal[1] = 1
    """Of the fields; the object's own is `FORMAT`."""
    volume: _VolumeIdField
    log: _LogIdField
    page_size: Annotated[int, AfterValidator(check_page_size)]
    created_us: int
    parent: Parent | None = None


def volume_key(name: str) -> str:
    """``volumes/{name}``."""
    return f"volumes/{check_name(name)}"


def create_volume(store: ObjectStore, name: str, record: VolumeRecord) -> None:
    """Give a volume its name in one conditional put; raises `VolumeExists`.

    A name that was created with this very record (a reply got lost) counts as created.
    """
    data = encode_record(record)
    with translated():
        created = store.put_if_absent(volume_key(name), data)
    if not created and read_volume(store, name) != record:
        raise VolumeExists(f"a volume named {name} exists already in {store.url}")


def read_volume(store: ObjectStore, name: str) -> VolumeRecord:
    """Look a name up, one request; raises `NoSuchVolume`."""
    try:
        with translated():
            data = store.get(volume_key(name))
    except CommitMissing as error:
        raise NoSuchVolume(f"no volume named {name} in {store.url}") from error
    where = f"volume {name} in {store.url}"
    found = _format_of(data)
    if found is not None and found > FORMAT:
        raise UnsupportedCommit(f"{where} has format {found}, this release reads {FORMAT}; upgrade graft")
    fields = _checked(data, where) if found == FORMAT else data
    try:
        record = VolumeRecord.model_validate_json(fields)
    except ValidationError as error:
        raise CorruptCommit(f"{where}: {error.errors()[0]['msg']}") from error
    if "format" not in record.model_fields_set:
        raise CorruptCommit(f"{where} does not say its format")
    if fields is data and b"checksum" in data:
        raise CorruptCommit(f"{where} has a checksum, which its format has not: the object is damaged")
    return record


def encode_record(record: VolumeRecord) -> bytes:
    """Return the bytes of a name object."""
    body = record.model_dump_json().encode().replace(b'{"format":1,', b'{"format":%d,' % FORMAT, 1)[:-1]
    return b'%b,"checksum":"%016x"}' % (body, xxhash.xxh3_64_intdigest(body))


def _checked(data: bytes, where: str) -> bytes:
    """Return the fields of an object of version 2 as version 1 has them, once their checksum is right."""
    found = _CHECKSUM.fullmatch(data)
    if found is None:
        raise CorruptCommit(f"{where} does not end in a checksum: the object is damaged")
    body, digest = found[1], int(found[2], 16)
    if xxhash.xxh3_64_intdigest(body) != digest:
        raise CorruptCommit(f"{where} does not match its checksum: the object is damaged")
    return body.replace(b'{"format":%d,' % FORMAT, b'{"format":1,', 1) + b"}"


def _format_of(data: bytes) -> int | None:
    try:
        record = json.loads(data)
    except ValueError:
        return None
    found = record.get("format") if isinstance(record, dict) else None
    return found if isinstance(found, int) else None


def list_volumes(store: ObjectStore) -> list[str]:
    """Return the names of all volumes, sorted; one request for each thousand."""
    with translated():
        names = [found.key.removeprefix("volumes/") for found in store.list("volumes/")]
    return [name for name in names if _NAME.fullmatch(name)]


def logs_without_name(store: ObjectStore, parallel: Parallel) -> list[LogId]:
    """Return the logs that no name stands for, of a store of few volumes; nothing for one of more than `_NAMES_MAX`.

    One request for the names, and one for each volume and each log. Nothing, too, where a name cannot be read.
    """
    with translated():
        keys = [found.key.removeprefix("volumes/") for found in store.list("volumes/", limit=_NAMES_MAX + 1)]
    names = [name for name in keys if _NAME.fullmatch(name)]
    if len(keys) > _NAMES_MAX:
        return []
    try:
        named = {record.log for record in parallel.map(lambda name: read_volume(store, name), names)}
    except (CorruptCommit, UnsupportedCommit, NoSuchVolume):
        return []
    return [log for log in islice(_logs(store), 2 * _NAMES_MAX) if log not in named]


def _logs(store: ObjectStore) -> Iterator[LogId]:
    """Yield all logs that have any object, one request each and one more."""
    after = ""
    while True:
        with translated():
            found = next(iter(store.list("logs/", start_after=after, limit=1)), None)
        if found is None:
            return
        text = found.key.split("/")[1]
        after = f"logs/{text}0"  # after all that begins with "logs/{text}/"
        with suppress(ValueError):
            yield LogId.parse(text)
