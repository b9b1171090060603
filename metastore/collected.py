"""Collection records: which versions of a log remain, said before any of the others is removed.

    logs/{log}/collected/{2^64-1-floor}-{digest}    small JSON, checksummed

A collector writes its record first, and reads the roots (volumes, tags, pins) again before it removes anything. The
maker of a root (a fork, a tag, a pin) writes it first and reads the records then. So either the collector sees the
root, or the root's maker sees that its version is to go. Where there are several records, a version remains if each of
them says so: two collectors at once leave what both leave.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from metastore.errors import CommitMissing, CorruptCommit, LogUnavailable, UnsupportedCommit, translated
from metastore.ids import LogId
from metastore.lsn import BEFORE_FIRST, LSN, descending_text
from metastore.records import LsnField, format_of, sealed, unsealed
from pagestore.objectstore import ObjectStore, etag_of

FORMAT = 1
_SHOWN = 12
_FIRST = LSN(1)
_TRIES_MAX = 20


class CollectionRecord(BaseModel):
    """What one collection leaves of a log."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)
    format: Literal[1] = 1
    log: str
    floor: Annotated[LSN, Field(ge=1)]
    """The oldest version of the window: it remains, and so do all newer ones."""
    versions: tuple[LsnField, ...] = ()
    """Older versions that remain, ascending."""

    @model_validator(mode="after")
    def _ascends(self) -> "CollectionRecord":
        if any(older >= newer for older, newer in pairwise((*self.versions, self.floor))):
            raise ValueError("the versions that remain must ascend to the floor")
        return self


@dataclass(frozen=True, slots=True)
class Remaining:
    """Which versions of a log are still there."""

    floor: LSN = _FIRST
    versions: tuple[LSN, ...] = ()
    """Below the floor, ascending."""

    @property
    def is_whole(self) -> bool:
        """Whether nothing was ever collected."""
        return self.floor <= 1

    def __contains__(self, lsn: object) -> bool:
        """Whether a version remains; that before the first commit always does."""
        return isinstance(lsn, int) and (lsn >= self.floor or lsn == BEFORE_FIRST or lsn in self.versions)

    def intersected(self, other: "Remaining") -> "Remaining":
        """Return what remains by both."""
        floor = max(self.floor, other.floor)
        versions = {lsn for lsn in (*self.versions, *other.versions) if lsn < floor and lsn in self and lsn in other}
        return Remaining(floor, tuple(sorted(versions)))

    def below(self, head: int) -> list[LSN]:
        """Return all versions up to ``head`` that remain, newest first."""
        return [LSN(lsn) for lsn in range(head, self.floor - 1, -1)] + list(reversed(self.versions))

    def describe(self) -> str:
        """Return words for an error message."""
        older = [str(lsn) for lsn in self.versions[-_SHOWN:]]
        if len(self.versions) > _SHOWN:
            older.insert(0, "…")
        return f"LSN {self.floor} and all newer ones" + (f", and {', '.join(older)}" if older else "")


WHOLE = Remaining()


def collected_prefix(log: LogId) -> str:
    """``logs/{log}/collected/``."""
    return f"logs/{log}/collected/"


def record_key(log: LogId, record: CollectionRecord) -> str:
    """Return the key of a record: the highest floor is listed first."""
    return f"{collected_prefix(log)}{descending_text(record.floor)}-{etag_of(_encoded(record))[:16]}"


def write_record(store: ObjectStore, log: LogId, remaining: Remaining) -> str:
    """Say which versions of a log remain, one request; return the record's key."""
    record = CollectionRecord(log=str(log), floor=remaining.floor, versions=remaining.versions)
    key = record_key(log, record)
    with translated():
        store.put(key, _encoded(record))
    return key


def read_remaining(store: ObjectStore, log: LogId, known: Sequence[str] | None = None) -> Remaining:
    """Return which versions of a log remain: one request where nothing was ever collected, else one more a record.

    The keys that are ``known`` from a listing save that request. A record that was superseded meanwhile makes it list
    again: the new one was written before the old one was deleted.
    """
    keys = list_records(store, log) if known is None else known
    for _ in range(_TRIES_MAX):
        try:
            return _read_records(store, keys, log)
        except CommitMissing:
            keys = list_records(store, log)
    raise LogUnavailable(f"the collection records of log {log} in {store.url} changed all the time; try again")


def list_records(store: ObjectStore, log: LogId) -> list[str]:
    """Return the keys of a log's records."""
    with translated():
        return [found.key for found in store.list(collected_prefix(log))]


def _read_records(store: ObjectStore, keys: Iterable[str], log: LogId) -> Remaining:
    """Return what remains by all of these records; raises `CommitMissing`."""
    remaining = WHOLE
    for key in keys:
        with translated():
            data = store.get(key)
        found = decode_collection(data, log, f"{key} in {store.url}")
        remaining = remaining.intersected(Remaining(found.floor, tuple(LSN(lsn) for lsn in found.versions)))
    return remaining


def decode_collection(data: bytes, log: LogId, where: str) -> CollectionRecord:
    """Read a record; raises `CorruptCommit` and `UnsupportedCommit`, which name it as ``where`` does."""
    found = format_of(data)
    if found is not None and found > FORMAT:
        raise UnsupportedCommit(f"{where} has format {found}, this release reads {FORMAT}; upgrade graft")
    try:
        record = CollectionRecord.model_validate_json(unsealed(data, where) + b"}")
    except ValidationError as error:
        raise CorruptCommit(f"{where}: {error.errors()[0]['msg']}") from error
    if record.log != str(log):
        raise CorruptCommit(f"{where} is of log {record.log}")
    return record


def _encoded(record: CollectionRecord) -> bytes:
    return sealed(record.model_dump_json().encode()[:-1])
