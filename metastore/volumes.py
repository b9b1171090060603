"""Volume names: ``volumes/{name}`` is a small JSON object that is created once and never changed.

From version 2 on, it ends with a checksum of all bytes before it; objects of version 1 have none. In version 3, the
volume continues from a version of its parent (`metastore.lineage`): its log begins after that one, and may be empty.
"""

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice, pairwise
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
from metastore.lineage import Lineage, Parent
from metastore.records import NAME, NAME_IN_WORDS, LogIdField, VolumeIdField, format_of, sealed, unsealed
from pagestore.objectstore import ObjectStore
from pagestore.pages import check_page_size
from pagestore.parallel import Parallel

FORMAT = 2
FORMAT_BRANCH = 3
_NAMES_MAX = 64
"""In a store with more volumes, logs without a name are not searched: that takes a request per volume."""


def check_name(name: str) -> str:
    """Return ``name`` if it is a valid volume name; raises `ValueError` otherwise."""
    if not NAME.fullmatch(name):
        raise ValueError(f"not a volume name: {name!r} ({NAME_IN_WORDS})")
    return name


class VolumeRecord(BaseModel):
    """The content of a name object."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)
    format: Literal[1] = 1
    """The version of the fields; the version of the whole object is `FORMAT`."""
    volume: VolumeIdField
    log: LogIdField
    page_size: Annotated[int, AfterValidator(check_page_size)]
    created_us: int
    parent: Parent | None = None
    earlier: tuple[Parent, ...] = ()
    """Where the versions before the log's first commit are, the parent first; empty where the log begins at LSN 1."""

    @model_validator(mode="after")
    def _goes_on_from_its_parent(self) -> Self:
        if self.earlier and self.earlier[0] != self.parent:
            raise ValueError("a volume goes on from its parent")
        if any(older.lsn >= newer.lsn for newer, older in pairwise(self.earlier)):
            raise ValueError("each ancestor is left before the one after it")
        return self

    @property
    def lineage(self) -> Lineage:
        """In which log each of its versions is."""
        return Lineage(self.volume, self.log, self.earlier)


def volume_key(name: str) -> str:
    """``volumes/{name}``."""
    return f"volumes/{check_name(name)}"


def create_volume(store: ObjectStore, name: str, record: VolumeRecord) -> None:
    """Create a volume's name by one conditional put; raises `VolumeExists`.

    If the name exists with exactly this record, an earlier try landed and its reply was lost: it counts as created.
    """
    data = encode_record(record)
    with translated():
        created = store.put_if_absent(volume_key(name), data)
    if not created and read_volume(store, name) != record:
        raise VolumeExists(f"a volume named {name} exists already in {store.url}")


def read_volume(store: ObjectStore, name: str) -> VolumeRecord:
    """Look up a name in one request; raises `NoSuchVolume`."""
    try:
        with translated():
            data = store.get(volume_key(name))
    except CommitMissing as error:
        raise NoSuchVolume(f"no volume named {name} in {store.url}") from error
    return decode_record(data, f"volume {name} in {store.url}")


def encode_record(record: VolumeRecord) -> bytes:
    """Return the bytes of a name object."""
    number = FORMAT_BRANCH if record.earlier else FORMAT
    body = record.model_dump_json(exclude=None if record.earlier else {"earlier"}).encode()
    return sealed(body.replace(b'{"format":1,', b'{"format":%d,' % number, 1)[:-1])


def decode_record(data: bytes, where: str) -> VolumeRecord:
    """Decode a name object; raises `CorruptCommit` and `UnsupportedCommit` with ``where`` as its name."""
    found = format_of(data)
    if found is not None and found > FORMAT_BRANCH:
        raise UnsupportedCommit(f"{where} has format {found}, this release reads {FORMAT_BRANCH}; upgrade graft")
    fields = data
    if found in {FORMAT, FORMAT_BRANCH}:
        # The model parses the fields in the form of version 1.
        fields = unsealed(data, where).replace(b'{"format":%d,' % found, b'{"format":1,', 1) + b"}"
    try:
        record = VolumeRecord.model_validate_json(fields)
    except ValidationError as error:
        raise CorruptCommit(f"{where}: {error.errors()[0]['msg']}") from error
    if "format" not in record.model_fields_set:
        raise CorruptCommit(f"{where} does not state its format")
    if fields is data and b"checksum" in data:
        raise CorruptCommit(f"{where} has a checksum, which its format does not have: the object is damaged")
    if bool(record.earlier) != (found == FORMAT_BRANCH):
        raise CorruptCommit(f"{where} has format {found} and {len(record.earlier)} ancestors")
    return record


def delete_volume(store: ObjectStore, name: str) -> None:
    """Delete the name of a volume in one request; its log and segments stay. A missing name is not an error."""
    with translated():
        store.delete(volume_key(name))


def all_volumes(store: ObjectStore, parallel: Parallel) -> dict[str, VolumeRecord]:
    """Return the records of all volumes by name, sorted: a listing, then one request per volume, in parallel.

    A name that is deleted in the meantime is left out. Raises like `read_volume` for a name that cannot be read.
    """

    def read(name: str) -> VolumeRecord | None:
        try:
            return read_volume(store, name)
        except NoSuchVolume:
            return None

    names = list_volumes(store)
    records = zip(names, parallel.map(read, names), strict=True)
    return {name: record for name, record in records if record is not None}


def list_volumes(store: ObjectStore, *, limit: int | None = None) -> list[str]:
    """Return the names of all volumes, or of the first ``limit``, sorted; one request per thousand."""
    with translated():
        names = [found.key.removeprefix("volumes/") for found in store.list("volumes/", limit=limit)]
    return [name for name in names if NAME.fullmatch(name)]


def logs_without_name(store: ObjectStore, parallel: Parallel) -> list[LogId]:
    """Return the logs that no volume name refers to.

    Returns nothing for a store with more than `_NAMES_MAX` volumes, or if a name cannot be read. Takes one request for
    the names, and one per volume and log.
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
    """Yield all logs that contain an object; one request per log and one more."""
    after = ""
    while True:
        with translated():
            found = next(iter(store.list("logs/", start_after=after, limit=1)), None)
        if found is None:
            return
        text = found.key.split("/")[1]
        after = f"logs/{text}0"  # sorts after all keys that begin with "logs/{text}/"
        with suppress(ValueError):
            yield LogId.parse(text)
