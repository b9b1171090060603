"""The exceptions of the page store, grouped by what a caller does next.

PageStoreError
├── StoreUnavailable     retry later: no connection, time-out, throttled, 5xx (bounded retries already failed)
├── StoreRefused         mend the set-up: credentials absent, wrong or expired, no permission, no such bucket
│   └── UnsafeStore      use another endpoint: it breaks a promise that commits rest on (conditional writes, listings)
├── StorageFull          free some space: the disk (or quota) behind a store is full
├── LimitReached         raise a limit, or close something: descriptors, threads or memory of this process ran out
├── ObjectNotFound       the named object does not exist
├── CorruptObject        report it: bytes do not match their checksum or shape
└── UnsupportedFormat    upgrade: written by a newer version of this project
"""


class PageStoreError(Exception):
    """Anything that a page store could not do."""


class StoreUnavailable(PageStoreError):
    """The store did not answer in time, however often it was asked; the same call may succeed later.

    A write that raises this may or may not have landed.
    """


class StoreRefused(PageStoreError):
    """The store answered no: credentials, permissions or the bucket need mending before a retry makes sense."""


class UnsafeStore(StoreRefused):
    """The endpoint ignores conditional writes, or lists in a way that hides objects; using it would lose commits."""


class StorageFull(PageStoreError):
    """No space is left behind the store; nothing was written."""


class LimitReached(PageStoreError):
    """A limit of this process or machine was reached; the message names it."""


class ObjectNotFound(PageStoreError):
    """No object has this key."""

    def __init__(self, key: str, where: str) -> None:
        """Name the missing ``key`` and the store's URL."""
        super().__init__(f"object {key} does not exist in {where}")
        self.key = key


class CorruptObject(PageStoreError):
    """Bytes do not match their checksum, shape or place; they are never served."""


class UnsupportedFormat(PageStoreError):
    """The bytes name a format version that this release does not know."""
