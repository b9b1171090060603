"""Volume names: ``volumes/{name}``, a small JSON object that is created once and never changed.

Since version 2 it ends in a checksum of every byte before it; objects of version 1 have none. Version 3 says that the
volume continues its parent: its log holds only what came after the parent's commit, and may be empty.
"""

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, model_validator

from metastore.errors import (
    CommitMissing,
    CorruptCommit,
    NoSuchVolume,
    UnsupportedCommit,
    VolumeExists,
    translated,
)
from metastore.ids import LogId
from metastore.records import NAME, NAME_IN_WORDS, LogIdField, LsnField, VolumeIdField, format_of, sealed, unsealed
from pagestore.objectstore import ObjectStore
from pagestore.pages import check_page_size
from pagestore.parallel import Parallel

FORMAT = 2
FORMAT_CONTINUES = 3
_NAMES_MAX = 64
"""Where there are more volumes, logs without a name are not looked for: that takes a request for each."""


def check_name(name: str) -> str:
    """Return a volume's name if it is one; raises `ValueError`."""
    if not NAME.fullmatch(name):
        raise ValueError(f"not a volume name: {name!r} ({NAME_IN_WORDS})")
    return name


class Parent(BaseModel):
    """The volume and commit that a fork started from."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)
    volume: VolumeIdField
    log: LogIdField
    lsn: LsnField


class VolumeRecord(BaseModel):
    """What a name stands for."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)
    format: Literal[1] = 1
    """Of the fields; the object's own is `FORMAT`."""
    volume: VolumeIdField
    log: LogIdField
    page_size: Annotated[int, AfterValidator(check_page_size)]
    created_us: int
    parent: Parent | None = None
    continues: bool = False
    """Whether LSN 0 is the parent's version, on which the log's first commit builds; else LSN 0 is empty."""

    @model_validator(mode="after")
    def _has_what_it_continues(self) -> Self:
        if self.continues and self.parent is None:
            raise ValueError("a volume that continues its parent must name it")
        return self

    @property
    def start(self) -> Parent | None:
        """The version that LSN 0 stands for, None where that is the empty volume."""
        return self.parent if self.continues else None


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
    return decode_record(data, f"volume {name} in {store.url}")


def encode_record(record: VolumeRecord) -> bytes:
    """Return the bytes of a name object."""
    number = FORMAT_CONTINUES if record.continues else FORMAT
    body = record.model_dump_json(exclude=None if record.continues else {"continues"}).encode()
    return sealed(body.replace(b'{"format":1,', b'{"format":%d,' % number, 1)[:-1])


def decode_record(data: bytes, where: str) -> VolumeRecord:
    """Read a name object; raises `CorruptCommit` and `UnsupportedCommit`, which name it as ``where`` does."""
    found = format_of(data)
    if found is not None and found > FORMAT_CONTINUES:
        raise UnsupportedCommit(f"{where} has format {found}, this release reads {FORMAT_CONTINUES}; upgrade graft")
    fields = data
    if found in {FORMAT, FORMAT_CONTINUES}:
        # As version 1 has them, which the model knows.
        fields = unsealed(data, where).replace(b'{"format":%d,' % found, b'{"format":1,', 1) + b"}"
    try:
        record = VolumeRecord.model_validate_json(fields)
    except ValidationError as error:
        raise CorruptCommit(f"{where}: {error.errors()[0]['msg']}") from error
    if "format" not in record.model_fields_set:
        raise CorruptCommit(f"{where} does not say its format")
    if fields is data and b"checksum" in data:
        raise CorruptCommit(f"{where} has a checksum, which its format has not: the object is damaged")
    if record.continues != (found == FORMAT_CONTINUES):
        raise CorruptCommit(f"{where} has format {found}, and yet continues: {record.continues}")
    return record


def delete_volume(store: ObjectStore, name: str) -> None:
    """Delete the name of a volume, one request; its log and segments stay. One that is not there is no error."""
    with translated():
        store.delete(volume_key(name))


def all_volumes(store: ObjectStore, parallel: Parallel) -> dict[str, VolumeRecord]:
    """Return the records of all volumes by name, sorted; a listing, then one request for each, in parallel.

    A name that is deleted meanwhile is left out. Raises what `read_volume` raises for one that cannot be read.
    """

    def read(name: str) -> VolumeRecord | None:
        try:
            return read_volume(store, name)
        except NoSuchVolume:
            return None

    names = list_volumes(store)
    records = zip(names, parallel.map(read, names), strict=True)
    return {name: record for name, record in records if record is not None}


def list_volumes(store: ObjectStore) -> list[str]:
    """Return the names of all volumes, sorted; one request for each thousand."""
    with translated():
        names = [found.key.removeprefix("volumes/") for found in store.list("volumes/")]
    return [name for name in names if NAME.fullmatch(name)]


def logs_without_name(store: ObjectStore, parallel: Parallel) -> list[LogId]:
    """Return the logs that no name stands for, of a store of few volumes; nothing for one of more than `_NAMES_MAX`.

    One request for the names, and one for each volume and each log. Nothing, too, where a name cannot be read.
    """
    with translated():
        keys = [found.key.removeprefix("volumes/") for found in store.list("volumes/", limit=_NAMES_MAX + 1)]
    names = [name for name in keys if NAME.fullmatch(name)]
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
