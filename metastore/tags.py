"""Tags: ``tags/{volume}/{name}`` is a small JSON object that gives one version of a volume a name.

A tag is created by a conditional put; only an explicit replacement or deletion changes it. It refers to the volume by
its id, so it survives a change of the volume's name. Its version may be in any log of the store.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from metastore.errors import CommitMissing, CorruptCommit, NoSuchTag, TagExists, UnsupportedCommit, translated
from metastore.ids import VolumeId
from metastore.records import NAME, NAME_IN_WORDS, LogIdField, LsnField, VolumeIdField, format_of, sealed, unsealed
from pagestore.objectstore import ObjectStore
from pagestore.parallel import Parallel

FORMAT = 1
HEAD = "head"
"""Means the newest version wherever a tag may be given, so no tag can have this name."""


def check_tag(name: str) -> str:
    """Return ``name`` if it is a valid, unambiguous tag name; raises `ValueError` otherwise."""
    if not NAME.fullmatch(name):
        raise ValueError(f"not a tag name: {name!r} ({NAME_IN_WORDS})")
    if name.isdecimal():
        raise ValueError(f"not a tag name: {name!r} is an LSN; begin it with a letter, as in v{name}")
    if name.lower() == HEAD:
        raise ValueError(f"not a tag name: {name!r} stands for the newest version")
    try:
        datetime.fromisoformat(name)
    except ValueError:
        return name
    raise ValueError(f"not a tag name: {name!r} is a time; begin it with a letter, as in at-{name}")


class TagRecord(BaseModel):
    """The content of a tag object."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)
    format: Literal[1] = 1
    volume: VolumeIdField
    """The volume that the tag belongs to."""
    log: LogIdField
    lsn: LsnField
    commit: Annotated[str, StringConstraints(pattern="^[0-9a-f]{32}$")]
    """The hash of commit ``lsn`` of ``log``, in hexadecimal."""
    created_us: int
    """Microseconds since the Unix epoch."""
    author: str
    message: str | None = None


def tag_key(volume: VolumeId, name: str) -> str:
    """``tags/{volume}/{name}``."""
    return f"tags/{volume}/{check_tag(name)}"


def create_tag(store: ObjectStore, name: str, record: TagRecord) -> None:
    """Create a tag by one conditional put; raises `TagExists`.

    If a tag of this name already names exactly this version (for example, after a lost reply), it counts as created.
    """
    with translated():
        created = store.put_if_absent(tag_key(record.volume, name), encode_tag(record))
    if created:
        return
    there = read_tag(store, record.volume, name)
    if (there.log, there.lsn, there.commit) != (record.log, record.lsn, record.commit):
        raise TagExists(f"there is a tag {name} already, of LSN {there.lsn}")


def replace_tag(store: ObjectStore, name: str, record: TagRecord) -> None:
    """Create the tag or replace it, in one request."""
    with translated():
        store.put(tag_key(record.volume, name), encode_tag(record))


def read_tag(store: ObjectStore, volume: VolumeId, name: str) -> TagRecord:
    """Look up a tag in one request; raises `NoSuchTag`."""
    try:
        with translated():
            data = store.get(tag_key(volume, name))
    except CommitMissing as error:
        raise NoSuchTag(f"no tag {name} in {store.url}") from error
    return decode_tag(data, volume, f"tag {name} in {store.url}")


def delete_tag(store: ObjectStore, volume: VolumeId, name: str) -> None:
    """Delete a tag in one request; a missing tag is not an error."""
    with translated():
        store.delete(tag_key(volume, name))


def list_tags(store: ObjectStore, volume: VolumeId) -> list[str]:
    """Return the names of a volume's tags, sorted; one request per thousand."""
    return [name for found, name in _listed(store, f"tags/{volume}/") if found == volume]


def tags_of(store: ObjectStore, parallel: Parallel, volume: VolumeId) -> dict[str, TagRecord]:
    """Return a volume's tags by name, sorted: a listing, then one request per tag, in parallel."""
    keys = [(volume, name) for name in list_tags(store, volume)]
    return {name: record for (_, name), record in _read(store, parallel, keys).items()}


def all_tags(store: ObjectStore, parallel: Parallel) -> dict[tuple[VolumeId, str], TagRecord]:
    """Return all tags of a store by volume and name; their versions must stay readable.

    Takes a listing, then one request per tag, in parallel. A tag that is deleted in the meantime is left out. A tag
    that cannot be read raises `CorruptCommit` or `UnsupportedCommit`, since the version that it protects is unknown.
    """
    return _read(store, parallel, _listed(store, "tags/"))


def encode_tag(record: TagRecord) -> bytes:
    """Return the bytes of a tag object."""
    return sealed(record.model_dump_json().encode()[:-1])


def decode_tag(data: bytes, volume: VolumeId, where: str) -> TagRecord:
    """Decode a tag object of a volume; raises `CorruptCommit` and `UnsupportedCommit`."""
    found = format_of(data)
    if found is not None and found > FORMAT:
        raise UnsupportedCommit(f"{where} has format {found}, this release reads {FORMAT}; upgrade graft")
    try:
        record = TagRecord.model_validate_json(unsealed(data, where) + b"}")
    except ValidationError as error:
        raise CorruptCommit(f"{where}: {error.errors()[0]['msg']}") from error
    if record.volume != volume:
        raise CorruptCommit(f"{where} belongs to volume {record.volume}, but is stored under {volume}")
    return record


def _listed(store: ObjectStore, prefix: str) -> list[tuple[VolumeId, str]]:
    """Return the tags below a prefix by volume and name; skips objects that are not tags."""
    found = []
    with translated():
        for info in store.list(prefix):
            _, volume, *rest = info.key.split("/")
            if len(rest) == 1:
                try:
                    found.append((VolumeId.parse(volume), check_tag(rest[0])))
                except ValueError:
                    continue
    return found


def _read(
    store: ObjectStore, parallel: Parallel, keys: Sequence[tuple[VolumeId, str]]
) -> dict[tuple[VolumeId, str], TagRecord]:
    def read(key: tuple[VolumeId, str]) -> TagRecord | None:
        try:
            return read_tag(store, *key)
        except NoSuchTag:
            return None

    records = zip(keys, parallel.map(read, keys), strict=True)
    return {key: record for key, record in records if record is not None}
