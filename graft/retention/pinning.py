"""Pins: a reader keeps a version in the remote while it reads, whatever collections give up meanwhile."""

import socket
from types import TracebackType
from typing import Self

from graft.errors import BadRequest, NoSuchVersion, VersionCollected, remote_errors
from graft.replica.replica import Replica
from graft.sync.collected import require_remaining
from graft.sync.versions import At, resolve
from metastore.ids import LogId
from metastore.lsn import BEFORE_FIRST, LSN
from metastore.pins import all_pins, delete_pin, new_pin, write_pin


class Pin:
    """A pinned version, until it is released or expires; a context manager that releases it."""

    def __init__(self, replica: Replica, log: LogId, lsn: LSN, ttl_s: float) -> None:
        """Pin a version; see `pin`."""
        self._remote, self._name = replica.remote, replica.name
        try:
            self._record = new_pin(log, lsn, ttl_s, replica.runtime)
        except ValueError as error:
            raise BadRequest(str(error)) from None
        self.renew()

    @property
    def lsn(self) -> LSN:
        """The version."""
        return self._record.lsn

    @property
    def expires_s(self) -> float:
        """When it ends, in seconds since the Unix epoch by the store's clock; one request."""
        with remote_errors(f"looking for a pin of volume {self._name}"):
            mine = (found for found in all_pins(self._remote.store, self._record.log) if found.pin == self._record)
            return next((found.expires_s for found in mine), 0.0)

    def renew(self) -> None:
        """Let the time begin anew; raises `VersionCollected` if the version is gone already. Two requests."""
        record, store = self._record, self._remote.store
        with remote_errors(f"pinning LSN {record.lsn} of volume {self._name}"):
            write_pin(store, record, f"pinned by {socket.gethostname()}")
        try:
            require_remaining(self._remote, record.log, record.lsn, self._name)
        except VersionCollected:
            self.release()
            raise

    def release(self) -> None:
        """Give the pin up; may be called again."""
        with remote_errors(f"releasing a pin of volume {self._name}"):
            delete_pin(self._remote.store, self._record)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def pin(replica: Replica, *, at: At | None = None, ttl_s: float = 24 * 3600.0) -> Pin:
    """Keep a version, by default the one that the replica is on, for so many seconds by the store's clock.

    ``at`` is an LSN, a moment, a tag or a branch, as elsewhere.

    Raises `VersionCollected` if it is gone already, `NoSuchVersion` for one that never was, and `BadRequest`.
    """
    wanted = resolve(replica, replica.view().state.lsn if at is None else at)
    if wanted.lsn == BEFORE_FIRST:
        raise NoSuchVersion(f"volume {replica.name} has no commit yet: there is nothing to pin")
    return Pin(replica, wanted.log, wanted.lsn, ttl_s)
