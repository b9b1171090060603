"""The exceptions of the metastore, grouped by what the caller does next.

MetaStoreError
├── LogUnavailable      retry later: the log's store did not answer; an append may or may not have landed
├── LogRefused          fix the set-up: credentials, permission, bucket, or an endpoint that would lose data
├── NoSuchVolume        use another name: no volume has this name
├── VolumeExists        use another name: a volume already has this name
├── NoSuchTag           use another name: no tag of the volume has this name
├── TagExists           use another name: a tag of another version of the volume already has this name
├── CommitMissing       report it: a commit that must be in the log is missing
│   └── CommitCollected ask for a newer version: garbage collection removed this one
├── LogClosed           use another volume: this one was removed
├── CorruptCommit       report it: a commit's bytes, or the page map composed from them, fail a check
└── UnsupportedCommit   upgrade: written by a newer version of this project
"""

from collections.abc import Iterator
from contextlib import contextmanager

from pagestore.errors import (
    CorruptObject,
    ObjectNotFound,
    PageStoreError,
    StorageFull,
    StoreRefused,
    StoreUnavailable,
    UnsupportedFormat,
)


class MetaStoreError(Exception):
    """The base of all errors of the metastore."""


class LogUnavailable(MetaStoreError):
    """The log's store did not answer; the same call may succeed later."""


class LogRefused(MetaStoreError):
    """The log's store refused the request; fix the set-up before trying again."""


class NoSuchVolume(MetaStoreError):
    """No volume has this name."""


class VolumeExists(MetaStoreError):
    """A volume already has this name."""


class NoSuchTag(MetaStoreError):
    """No tag of the volume has this name."""


class TagExists(MetaStoreError):
    """A tag of the volume already has this name."""


class CommitMissing(MetaStoreError):
    """A commit that must be in the log is missing."""


class CommitCollected(CommitMissing):
    """Garbage collection removed the commit; a tombstone is in its place."""

    def __init__(self, lsn: int, message: str, *, nonce: bytes, hash: bytes) -> None:  # noqa: A002 - as `Commit.hash`
        """Name the commit that was there."""
        super().__init__(message)
        self.lsn = lsn
        self.nonce = nonce
        self.hash = hash


class LogClosed(MetaStoreError):
    """The log's volume was removed; nothing can be appended."""


class CorruptCommit(MetaStoreError):
    """A commit's bytes fail a check; none of them are used."""


class UnsupportedCommit(MetaStoreError):
    """A commit or volume names a format version that this release does not know."""


@contextmanager
def translated() -> Iterator[None]:
    """Translate the page store's errors into the metastore's."""
    try:
        yield
    except ObjectNotFound as error:
        raise CommitMissing(str(error)) from error
    except (StoreUnavailable, StorageFull) as error:
        raise LogUnavailable(str(error)) from error
    except StoreRefused as error:
        raise LogRefused(str(error)) from error
    except CorruptObject as error:
        raise CorruptCommit(str(error)) from error
    except UnsupportedFormat as error:
        raise UnsupportedCommit(str(error)) from error
    except PageStoreError as error:
        raise MetaStoreError(str(error)) from error
