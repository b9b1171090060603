"""What is of no use any more leaves the disk: cached pages that newer pushes replaced, pushed journal files, WALs.

    after pulls     a bounded piece of it, once the cache takes a good part more than the volume
    after pushes    a bounded piece of work, once the cache takes a good part more than the volume: it keeps pace
    when idle       the rest, a bounded piece of it at a time
    on closing      one such piece, unless nothing was changed, and whoever was here last closed, too

All of it is done without ever telling anybody "busy", and nothing depends on it: what fails is left for the next time.

Readers of older versions lose no page by this. Bodies that they have mapped stay as they are until they let go of them,
and what the cache then lacks is fetched again.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from graft.cache.cache import Cache
from graft.cache.cleaning_plan import CachedFrame, Mask
from graft.disk.locks import FileLock
from graft.errors import Corrupt, GraftError, LocalStorageError
from graft.journal.journal import Journal
from graft.pagemap.frame_table import FrameTable
from graft.reading.body_loader import BodyLoader
from graft.replica.liveness import live_in
from graft.replica.state import State
from graft.replica.view import View
from pagestore.runtime import Runtime

_STEP_BYTES = 4 * 1024 * 1024
"""How much of the cache is copied at once, while pushes and pulls of other processes wait."""
_STEPS_MAX = 16
_PAUSE_S = 0.003
"""Between two steps, for those who wait: several times as long as it takes them to look again."""
_BUSY_SLACK, _IDLE_SLACK = 4, 20
"""The cache may take one in so many bytes more than the volume: where little is of no use, freeing it costs much."""
_LOOK_PAGES = 64
"""Once so many pages were pushed, one looks what is of no use …"""
_PUSH_PAGES_MIN = 4
"""… and a push counts as so many at least, for what it leaves besides: looking takes longer than a small one does."""
_TAIL_BYTES_MAX = 4 * 1024 * 1024
"""What the newest journal file takes at most, wholly pushed, while commits are made."""
_TAIL_SHARE = 100
"""What it takes at most once nothing happens: one in so many bytes of the volume."""


class Reclaimable(Protocol):
    """What this work needs of a replica."""

    path: Path
    page_size: int
    runtime: Runtime
    table: FrameTable
    cache: Cache
    bodies: BodyLoader
    journal: Journal
    state: State
    sync_lock: FileLock
    writer_lock: FileLock
    unreclaimed_pages: int

    def view(self) -> View:
        """Return what is known now."""
        ...

    def view_of_writer(self) -> View:
        """Return the newest view to the holder of the writer lock."""
        ...

    def delete_pushed(self, *, spare_last: bool) -> None:
        """Delete the journal files that the sync point made superfluous."""
        ...


def reclaim_after_push(replica: Reclaimable, pages: int) -> None:
    """Do a piece of the work if much has come together; the caller holds the sync lock, and its push has landed."""
    replica.unreclaimed_pages += max(pages, _PUSH_PAGES_MIN)
    if replica.unreclaimed_pages < _LOOK_PAGES:
        return
    replica.unreclaimed_pages = 0
    with contextlib.suppress(GraftError):
        _clean(replica, _BUSY_SLACK)
        _drop_journal_tail(replica, _TAIL_BYTES_MAX)


def reclaim_after_pull(replica: Reclaimable) -> None:
    """Do a piece of the work if much is of no use; the caller holds the sync lock.

    A reader that pulls without an idle second comes to it here alone.
    """
    with contextlib.suppress(GraftError):
        replica.bodies.flush()
        _clean(replica, _BUSY_SLACK)


def reclaim(replica: Reclaimable) -> bool:
    """Do a good piece of the work: for when nothing happens. Tell whether that was all."""
    with contextlib.suppress(GraftError):
        done = _clean_in_steps(replica)
        _drop_journal_tail(replica, min(replica.view().snapshot.byte_size // _TAIL_SHARE, _TAIL_BYTES_MAX))
        replica.state.shrink()
        replica.cache.shrink()
        return done
    return True  # it would fail again


def _clean_in_steps(replica: Reclaimable) -> bool:
    for step in range(_STEPS_MAX):
        if step:
            replica.runtime.sleep_s(_PAUSE_S)  # all the steps may take longer than anybody waits
        with replica.sync_lock.held_briefly() as held:
            if not held:
                return False
            if not _clean(replica, _IDLE_SLACK):
                return True
    return False


def _clean(replica: Reclaimable, slack: int) -> bool:
    """Thin the cache a little; tell whether there is more to do. The caller holds the sync lock."""
    view = replica.view()

    def live(frames: Sequence[CachedFrame]) -> Sequence[Mask]:
        try:
            return live_in(replica.table, view, frames)
        except Corrupt as error:  # which is not the cache's
            raise LocalStorageError(f"finding out what of {replica.path} is of use: {error}") from error

    return replica.cache.clean(
        live,
        live_bytes=view.remote_map.live_pages * replica.page_size,
        slack=slack,
        bytes_max=_STEP_BYTES,
    )


def _drop_journal_tail(replica: Reclaimable, bytes_max: int) -> None:
    """Delete the newest journal file if the files are larger and the remote has all that is in them."""
    if replica.view().pending or replica.journal.disk_bytes() <= bytes_max:
        return
    with replica.writer_lock.held_briefly() as held:
        if held and not replica.view_of_writer().pending:
            replica.delete_pushed(spare_last=False)
