"""Volume names: ``volumes/{name}``, a small JSON object that is created once and never changed."""

import json
import re
from typing import Annotated, Literal

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

FORMAT = 1
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
    data = record.model_dump_json().encode()
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
    try:
        record = VolumeRecord.model_validate_json(data)
    except ValidationError as error:
        found = _format_of(data)
        if found is not None and found > FORMAT:
            raise UnsupportedCommit(
                f"volume {name} in {store.url} has format {found}, this release reads {FORMAT}; upgrade graft"
            ) from error
        raise CorruptCommit(f"volume {name} in {store.url}: {error.errors()[0]['msg']}") from error
    if "format" not in record.model_fields_set:
        raise CorruptCommit(f"volume {name} in {store.url} does not say its format")
    return record


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
