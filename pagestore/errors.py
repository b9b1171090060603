"""The exceptions of the page store, grouped by what the caller does next.

PageStoreError ├── StoreUnavailable     retry later: no connection, time-out, throttled, 5xx (bounded retries already
failed) ├── StoreRefused         fix the set-up: missing, wrong or expired credentials, no permission, no such bucket │
└── UnsafeStore      use another endpoint: this one breaks a guarantee that commits need (conditional writes, listings)
├── StorageFull          free some space: the disk (or quota) behind the store is full ├── LimitReached         raise a
limit, or close something: this process ran out of descriptors, threads or memory ├── ObjectNotFound       the named
object does not exist ├── CorruptObject        report it: bytes do not match their checksum or shape └──
UnsupportedFormat    upgrade: written by a newer version of this project
"""


class PageStoreError(Exception):
    """The base of all errors of the page store."""


class StoreUnavailable(PageStoreError):
    """The store did not answer in time, despite retries; the same call may succeed later.

    A write that raises this may or may not have landed.
    """


class StoreRefused(PageStoreError):
    """The store refused the request; fix credentials, permissions or the bucket before trying again."""


class UnsafeStore(StoreRefused):
    """The endpoint ignores conditional writes or hides objects in listings; using it would lose commits."""


class StorageFull(PageStoreError):
    """The disk or quota behind the store is full; nothing was written."""


class LimitReached(PageStoreError):
    """The process or the machine reached a limit; the message names it."""


class ObjectNotFound(PageStoreError):
    """No object has this key."""

    def __init__(self, key: str, where: str) -> None:
        """Name the missing ``key`` and the store's URL."""
        super().__init__(f"object {key} does not exist in {where}")
        self.key = key


class CorruptObject(PageStoreError):
    """Bytes do not match their checksum, shape or place; they are never returned to a reader."""


class UnsupportedFormat(PageStoreError):
    """The bytes name a format version that this release does not know."""
