"""`connect`: opens a volume as an SQLite database, and creates or clones it first if there is no replica yet."""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import quote, urlencode

import apsw

from graft.errors import BadRequest, GraftError, NoSuchVolume, OtherVolume, ReplicaExists, VolumeExists
from graft.remote.address import RemoteAddress, is_bare, is_same_volume, parse_remote
from graft.replica.directory import is_replica, not_a_replica, replica_path
from graft.replica.opening import open_replica
from graft.replica.replica import Replica
from graft.settings import Durability, Settings
from graft.sync.clone import clone, init
from graft.sync.merging import set_merger
from graft.sync.versions import At
from graft_sqlite_vfs import table_functions
from graft_sqlite_vfs.read_bounds import WAIT_S, ReadBounds, parse_read_bounds
from graft_sqlite_vfs.registration import NAME
from graft_sqlite_vfs.row_merger import merge_rows
from pagestore.pages import PAGE_SIZE_DEFAULT
from pagestore.urls import local_directory

_LOG = logging.getLogger("graft")
_DIGITS = re.compile(r"\d+")

Remote = str | os.PathLike[str] | RemoteAddress
"""Where a volume is."""

set_merger(merge_rows)

OPEN_FLAGS = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI


def connect(
    database: str | os.PathLike[str],
    *,
    remote: str | os.PathLike[str] | RemoteAddress | None = None,
    create: bool | None = None,
    at: At | None = None,
    durability: Durability | str = Durability.LOCAL,
    page_size: int | None = None,
    max_staleness_s: float | None = None,
    min_lsn: int | None = None,
    wait_s: float = WAIT_S,
    flags: int = OPEN_FLAGS,
    settings: Settings | None = None,
) -> apsw.Connection:
    """Open the replica directory ``database`` as an SQLite database.

    If there is no replica yet, ``remote`` is the address of its volume (``s3://bucket/prefix#name``; the name defaults
    to the directory's, without its suffix). An existing volume is cloned; otherwise a volume is created, with
    ``page_size`` bytes a page (512…65536, 4096 by default). The logger ``graft`` warns if that may be a mistake: if the
    remote has similar names, or if a new directory could be a bucket without ``s3://``.

    With ``create=False`` no volume is created, and a missing one raises `NoSuchVolume`, which names similar ones. With
    ``create=True`` the volume must be new: `VolumeExists` or `ReplicaExists` if it is not. ``at`` (an LSN, or a time as
    ISO 8601 text or `datetime`) opens an old version, read-only.

    With ``max_staleness_s`` each transaction reads all that the remote had this many seconds before it began: it polls
    the remote if the replica's age is not known (0: always), and fails if the remote cannot be reached. With
    ``min_lsn`` the connection opens when the replica has that commit, whose LSN a push elsewhere returned; `TooStale`
    if that takes more than ``wait_s``. ``settings`` apply if this call is the first in the process to open the replica.

    Connections are apsw's: use one per thread, or share it; close it. They wait ``settings.lock_timeout_s`` seconds
    for another writer (`apsw.Connection.set_busy_timeout` changes that). Raises the errors of `graft.errors`:
    `NotAReplica` without a ``remote``, `OtherVolume`, `NoSuchVersion`, `BadRequest`, and those of the remote and the
    disk. A statement that fails later raises apsw's exceptions (graft_sqlite_vfs/errors.py), whose ``__cause__`` is one
    of these.
    """
    level, bounds = _level(durability), ReadBounds(max_staleness_s, min_lsn, wait_s)
    parse_read_bounds(bounds.parameters().get)  # fails before anything is created
    if create and (remote is None or at is not None):
        raise BadRequest("create=True creates a new volume: pass a remote, and do not pass `at`")
    making = _Making(create, page_size, of_past=at is not None)
    with _replica(replica_path(database), remote, making, settings) as replica:
        parameters = {"vfs": NAME, "durability": level.value, **bounds.parameters()}
        if at is not None:
            parameters["at"] = at.isoformat() if isinstance(at, datetime) else str(at)
        try:
            connection = apsw.Connection(
                f"file:{quote(str(replica.path))}?{urlencode(parameters)}", flags=flags | apsw.SQLITE_OPEN_URI
            )
        except apsw.Error as error:
            if isinstance(error.__cause__, GraftError):
                raise error.__cause__ from None
            raise
        try:
            connection.pragma("journal_mode", "memory", schema="main")
            connection.set_busy_timeout(round(replica.settings.lock_timeout_s * 1000))
            table_functions.add_to(connection)
        except BaseException:
            connection.close()
            raise
    return connection


@dataclass(frozen=True, slots=True)
class _Making:
    """What `connect` may create if there is no replica."""

    create: bool | None
    """Whether the volume must be new (True), must exist (False), or is created if it does not exist (None)."""
    page_size: int | None
    of_past: bool
    """Whether an old version is to be opened; a new volume has none."""

    @property
    def may_create(self) -> bool:
        return self.create is not False and not self.of_past


@contextmanager
def _replica(path: Path, remote: Remote | None, making: _Making, settings: Settings | None) -> Iterator[Replica]:
    """Open the replica, and keep it open until SQLite has opened it too."""
    replica = _opened_or_made(path, remote, making, settings)
    try:
        if making.page_size not in {None, replica.page_size}:
            raise BadRequest(f"volume {replica.name} has pages of {replica.page_size} bytes, not {making.page_size}")
        yield replica
    finally:
        replica.close()


def _opened_or_made(path: Path, remote: Remote | None, making: _Making, settings: Settings | None) -> Replica:
    address = None if remote is None else parse_remote(remote)
    if making.create and remote is not None:
        return _new(path, remote, making, settings)
    if remote is not None and not is_replica(path):
        try:
            return _made(path, remote, making, settings)
        except ReplicaExists:
            # Either another process has just created the replica, or the path is something else.
            if not is_replica(path):
                raise
    if not is_replica(path):
        raise not_a_replica(
            path, "to create or clone one, pass the volume's address: connect(path, remote='s3://bucket/prefix#name')"
        )
    replica = open_replica(path, settings=settings)
    if address is not None and not is_same_volume(replica.store_url, replica.name, address):
        replica.close()
        raise OtherVolume(f"{path} is a replica of {replica.remote_address}, not of {address}")
    return replica


def _made(path: Path, remote: Remote, making: _Making, settings: Settings | None) -> Replica:
    try:
        return clone(path, remote, settings=settings, to_read=not making.of_past)  # which lists similar names
    except NoSuchVolume as error:
        if not making.may_create:
            raise
        near = error.near
    try:
        replica = _new(path, remote, making, settings)
    except VolumeExists:
        return clone(path, remote, settings=settings, to_read=True)  # another process has just created it
    if similar := [name for name in near if _without_digits(name) != _without_digits(replica.name)]:
        _LOG.warning(
            "created a new, empty volume %s; %s has %s, which may have been meant: create=False opens existing volumes",
            replica.name, replica.store_url, ", ".join(similar),
        )  # fmt: skip
    return replica


def _new(path: Path, remote: Remote, making: _Making, settings: Settings | None) -> Replica:
    """Create a volume; warn if that creates a directory which may have been meant as a bucket."""
    directory = local_directory(parse_remote(remote).store_url) if is_bare(remote) else None
    makes_directory = directory is not None and not directory.exists()
    replica = init(path, remote, page_size=making.page_size or PAGE_SIZE_DEFAULT, settings=settings)
    if makes_directory:
        _LOG.warning(
            "created the directory %s, a new remote; use s3://bucket/prefix#volume for a bucket, ./x for a directory",
            directory,
        )
    return replica


def _without_digits(name: str) -> str:
    """Return a name without its digits, by which deliberately numbered names are equal."""
    return _DIGITS.sub("", name)


def _level(durability: Durability | str) -> Durability:
    try:
        return Durability(durability)
    except ValueError as error:
        raise BadRequest(f"{error}: use {', '.join(level.value for level in Durability)}") from None
