"""The exceptions of volumes, grouped by what a caller does next; messages can be shown to a user.

GraftError
├── RemoteUnavailable      retry later: the remote did not answer; the next push settles an open one
├── RemoteRefused          correct the setup: credentials, permission, bucket, an endpoint that would lose data
├── BadRequest             change the request
│   ├── NoSuchVolume       no volume of this name in the remote
│   ├── VolumeExists       a volume of this name is there already
│   ├── TagExists          a tag of this name is there already, of another version
│   ├── NoSuchVersion      no such LSN, time, tag or branch
│   │   └── VersionCollected   garbage collection removed it; the message names the versions that remain
│   ├── NotAReplica        the path holds no replica
│   ├── ReplicaExists      the path is taken
│   ├── OtherVolume        the replica belongs to another volume
│   └── ReadOnly           a snapshot of the past cannot be written
├── Diverged               choose a policy: both the replica and the remote have new commits
│   └── MergeConflict      settle the conflicts: both sides changed the same rows
│   └── BaseCollected      the same, and garbage collection removed the version that the local commits are based on
├── TooStale               retry later, or accept older data: the replica could not become that fresh in time
├── WriterBusy             retry soon: another connection or process is writing
├── StaleSnapshot          start again on a newer snapshot
├── LimitReached           raise a limit, or close something: descriptors, threads, memory or memory maps ran out
├── LocalStorageError      repair the local disk: read-only, no permission, failing
│   ├── DiskFull           free some space
│   └── ReplicaMoved       close it everywhere and open it again: its directory or a lock file was replaced
├── Corrupt                report it: bytes that fail a check are never served
│   └── HistoryLost        find the right remote, or pull with the policy 'fork': it lacks commits that it had
└── Unsupported            upgrade graft
"""

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from metastore import errors as metastore_errors
from pagestore import errors as pagestore_errors
from pagestore.limits import limit_reached


class GraftError(Exception):
    """A volume could not do what was requested."""


class RemoteUnavailable(GraftError):
    """The remote did not answer."""


class RemoteRefused(GraftError):
    """The remote refused the request."""


class BadRequest(GraftError):
    """The request cannot be carried out."""


class NoSuchVolume(BadRequest):
    """No volume has this name."""

    near: tuple[str, ...] = ()
    """Volumes of the remote whose names are similar."""


class VolumeExists(BadRequest):
    """A volume has this name already."""


class NoSuchVersion(BadRequest):
    """The log has no such LSN or time."""


class VersionCollected(NoSuchVersion):
    """The version was there, and garbage collection removed it; the message names the versions that remain."""


class TagExists(BadRequest):
    """A tag of this name exists already."""


class NotAReplica(BadRequest):
    """The path holds no replica."""


class ReplicaExists(BadRequest):
    """The path is taken."""


class OtherVolume(BadRequest):
    """The replica belongs to another volume."""


class ReadOnly(BadRequest):
    """A snapshot of the past cannot be written."""


class Diverged(GraftError):
    """Both the replica and the remote have commits that the other lacks."""


class BaseCollected(Diverged):
    """The local commits are based on a version that garbage collection removed; the remote has newer ones."""


class MergeConflict(Diverged):
    """Both sides changed the same rows, and nothing says which of them to take. Nothing was changed.

    ``conflicts`` has a `graft_sqlite_vfs.merge.Conflict` for each.
    """

    def __init__(self, message: str, conflicts: Sequence[object] = ()) -> None:
        """Report these conflicts."""
        super().__init__(message)
        self.conflicts = list(conflicts)


class TooStale(GraftError):
    """The replica could not become as fresh as requested within the given time."""


class WriterBusy(GraftError):
    """Another connection or process holds the lock."""


class StaleSnapshot(GraftError):
    """The snapshot is no longer the newest."""


class LimitReached(GraftError):
    """A limit of this process or machine was reached; the message names it. Changes in progress are undone."""


class LocalStorageError(GraftError):
    """The replica's directory could not be read or written."""


class DiskFull(LocalStorageError):
    """No space is left for the replica."""


class ReplicaMoved(LocalStorageError):
    """The replica's directory, or a file that it depends on, was moved, deleted or replaced while it was open."""


class Corrupt(GraftError):
    """Bytes fail a check."""


class HistoryLost(Corrupt):
    """The remote is not the one that the replica knows, or lost commits that were there.

    Nothing was changed. A pull with the policy ``fork`` saves the replica's commits and continues from the remote.
    """


class Unsupported(GraftError):
    """Written by a newer version of this project."""


_GROUPS: tuple[tuple[tuple[type[Exception], ...], type[GraftError]], ...] = (
    ((metastore_errors.NoSuchVolume,), NoSuchVolume),
    ((metastore_errors.VolumeExists,), VolumeExists),
    ((metastore_errors.NoSuchTag,), NoSuchVersion),
    ((metastore_errors.TagExists,), TagExists),
    ((metastore_errors.LogUnavailable, pagestore_errors.StoreUnavailable), RemoteUnavailable),
    ((metastore_errors.LogRefused, pagestore_errors.StoreRefused), RemoteRefused),
    ((pagestore_errors.StorageFull,), RemoteRefused),
    ((pagestore_errors.LimitReached,), LimitReached),
    ((metastore_errors.LogClosed,), NoSuchVolume),
    ((metastore_errors.CommitCollected,), VersionCollected),
    ((metastore_errors.CommitMissing,), HistoryLost),
    (
        (metastore_errors.CorruptCommit, pagestore_errors.CorruptObject, pagestore_errors.ObjectNotFound),
        Corrupt,
    ),
    ((metastore_errors.UnsupportedCommit, pagestore_errors.UnsupportedFormat), Unsupported),
)

_COMPLETE_MESSAGES = (NoSuchVolume, VolumeExists, RemoteUnavailable, RemoteRefused)


@contextmanager
def remote_errors(doing: str) -> Iterator[None]:
    """Translate the errors of lower packages into this package's; ``doing`` says what failed."""
    try:
        yield
    except MemoryError as error:
        raise LimitReached(f"{doing}: {limit_reached(error)}") from error
    except (metastore_errors.MetaStoreError, pagestore_errors.PageStoreError) as error:
        limit = limit_reached(error)
        if limit is not None:
            raise LimitReached(f"{doing}: {limit}") from error
        for sources, target in _GROUPS:
            if isinstance(error, sources):
                # The message has the server's words; the client's exception would add a hundred lines and no fact.
                raise target(f"{doing}: {error}") from (None if issubclass(target, _COMPLETE_MESSAGES) else error)
        raise GraftError(f"{doing}: {error}") from error


class local_errors:  # noqa: N801 - used like `remote_errors`; a generator would cost a commit more than its checksum
    """Translate errors of the operating system into this package's; ``doing`` says what failed, with the path."""

    __slots__ = ("_doing",)

    def __init__(self, doing: str) -> None:
        self._doing = doing

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError | MemoryError):
            limit = limit_reached(error)
            if limit is not None:
                raise LimitReached(f"{self._doing}: {limit}") from error
        if isinstance(error, OSError):
            full = error.errno in {errno.ENOSPC, errno.EDQUOT}
            raise (DiskFull if full else LocalStorageError)(f"{self._doing}: {error.strerror or error}") from error
