"""The exceptions of the metastore, grouped by what a caller does next.

MetaStoreError
├── LogUnavailable      retry later: the log's store did not answer; an append may or may not have landed
├── LogRefused          mend the set-up: credentials, permission, bucket, or an endpoint that would lose data
├── NoSuchVolume        use another name: no volume is called this
├── VolumeExists        use another name: a volume is already called this
├── NoSuchTag           use another name: no tag of the volume is called this
├── TagExists           use another name: a tag of the volume, of another version, is already called this
├── CommitMissing       report it: the log has a hole where a commit must be
├── CorruptCommit       report it: a commit's bytes, or the page map they compose, fail a check
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
    """Anything that the metastore could not do."""


class LogUnavailable(MetaStoreError):
    """The log's store did not answer; the same call may succeed later."""


class LogRefused(MetaStoreError):
    """The log's store answered no; its set-up needs mending first."""


class NoSuchVolume(MetaStoreError):
    """No volume has this name."""


class VolumeExists(MetaStoreError):
    """A volume already has this name."""


class NoSuchTag(MetaStoreError):
    """No tag of the volume has this name."""


class TagExists(MetaStoreError):
    """A tag of the volume already has this name."""


class CommitMissing(MetaStoreError):
    """A commit that the log must hold is not there."""


class CorruptCommit(MetaStoreError):
    """A commit's bytes fail their check; nothing of them is used."""


class UnsupportedCommit(MetaStoreError):
    """A commit or volume names a format version that this release does not know."""


@contextmanager
def translated() -> Iterator[None]:
    """Turn the page store's errors into the metastore's, at the border between the two."""
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
