"""Maintenance of the server's store, by a thread: now and then documents are compacted and old versions collected."""

import logging
import threading
from types import TracebackType
from typing import Self

from graft.errors import GraftError
from graft.remote.address import RemoteAddress
from graft.retention.maintain import MaintainResult, maintain
from graft.settings import Settings
from graft_sqlite_vfs.btree.layout import btree_layout
from pagestore.objectstore import ObjectStore

_log = logging.getLogger(__name__)
_STOP_S_MAX = 5.0


class Maintenance:
    """A thread that runs `graft.maintain` every so many seconds; a context manager. Nothing happens at 0."""

    def __init__(self, address: RemoteAddress, store: ObjectStore, every_s: float, settings: Settings) -> None:
        """Prepare; the settings say which versions stay."""
        self._address, self._store, self._settings = address, store, settings
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="graft-maintenance", daemon=True)

    def __enter__(self) -> Self:
        if self._every_s:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._every_s:
            self._thread.join(_STOP_S_MAX)  # what is under way may be cut short anywhere

    def run_once(self) -> MaintainResult | None:
        """Maintain now; None if it failed, which is logged."""
        try:
            done = maintain(self._address, store=self._store, settings=self._settings, layout=btree_layout)
        except GraftError as error:
            _log.warning("maintenance of %s: %s", self._address, error)
            return None
        compacted = sum(volume.done is not None for volume in done.volumes)
        collected = done.collected
        _log.info(
            "maintenance of %s: %d volumes compacted, %d commits and %d segments deleted, %d bytes freed",
            self._address, compacted, collected.commits, collected.segments, collected.freed_bytes,
        )  # fmt: skip
        return done

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            self.run_once()
