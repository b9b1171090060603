"""Frees local disk space: cached pages that newer pushes replaced, pushed journal files, WALs.

    after a pull    a bounded piece of work, once the cache is a good part larger than the volume
    after a push    the same, after every few pushes, so that it keeps pace with them
    when idle       the rest, one bounded piece at a time
    on closing      one such piece, unless nothing has changed since the replica was last closed properly

No other process is ever told "busy" because of this work, and nothing depends on it: what fails is left for the next
time.

Readers of older versions lose no page. Frames that they have mapped stay as they are until they unmap them; pages that
the cache lacks then are fetched again.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from graft.cache.cache import Cache
from graft.cache.cleaning_plan import CachedFrame, Mask
from graft.disk.locks import FileLock
from graft.disk.shared_counters import SharedCounters
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
"""Pause between two steps. Processes that wait for the lock try it several times in this time."""
_BUSY_SLACK, _IDLE_SLACK = 4, 20
"""The cache may be larger than the volume by 1/4, or 1/20 when idle: the less there is to free, the more it costs."""
_PAGES_PER_PIECE = 64
"""A piece of work is done after this many pushed pages."""
_PUSH_PAGES_MIN = 4
"""A push counts as at least this many pages: surveying the cache takes longer than a small push does."""
_TAIL_BYTES_MAX = 4 * 1024 * 1024
"""The largest that the newest journal file may be, wholly pushed, while commits are made."""
_TAIL_SHARE = 100
"""When idle, the newest journal file may take 1/100 of the volume's size at most."""


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
    shared: SharedCounters

    @property
    def sync_lock(self) -> FileLock:
        """The lock of pushes and pulls."""
        ...

    @property
    def writer_lock(self) -> FileLock:
        """The lock of writers."""
        ...

    def view(self) -> View:
        """Return the newest view."""
        ...

    def view_of_writer(self) -> View:
        """Return the newest view to the holder of the writer lock."""
        ...

    def delete_pushed(self, *, spare_last: bool) -> None:
        """Delete the journal files that hold nothing newer than the sync point."""
        ...


class Reclaimer:
    """Decides when a replica reclaims; safe for threads as far as the callers' locks go."""

    def __init__(self, replica: Reclaimable, *, was_closed: bool) -> None:
        """Begin; a replica that ``was_closed`` properly has nothing to reclaim yet."""
        self._replica = replica
        self._seen_when_idle = (0, 0)
        self._done_at = self._changes() if was_closed else (0, 0)
        """The changes that were made when a whole reclaim ended."""
        self._pushed_pages = 0
        """Pages pushed since the last piece of work."""

    def after_push(self, pages: int) -> None:
        """Do a piece of work if enough was pushed; the caller holds the sync lock, and its push has landed."""
        self._pushed_pages += max(pages, _PUSH_PAGES_MIN)
        if self._pushed_pages < _PAGES_PER_PIECE:
            return
        self._pushed_pages = 0
        with contextlib.suppress(GraftError):
            _clean_cache(self._replica, _BUSY_SLACK)
            _drop_journal_tail(self._replica, _TAIL_BYTES_MAX)

    def after_pull(self) -> None:
        """Do a piece of work if the cache is large; the caller holds the sync lock.

        A reader that pulls without ever being idle for a second reclaims only here.
        """
        with contextlib.suppress(GraftError):
            self._replica.bodies.flush()
            _clean_cache(self._replica, _BUSY_SLACK)

    def when_idle(self) -> None:
        """Reclaim once if nothing was committed, pushed or pulled since the last call."""
        now = self._changes()
        if now == self._seen_when_idle and now != self._done_at and reclaim(self._replica):
            self._done_at = now
        self._seen_when_idle = now

    def before_closing(self) -> None:
        """Reclaim unless nothing has changed."""
        if self._replica.cache.grew or self._changes() != self._done_at:
            reclaim(self._replica)

    def _changes(self) -> tuple[int, int]:
        """Return what differs after a commit, a push or a pull."""
        shared = self._replica.shared
        return shared.state_generation, shared.published_local_lsn


def reclaim(replica: Reclaimable) -> bool:
    """Do a large piece of work, for an idle time. Return whether nothing is left to do."""
    with contextlib.suppress(GraftError):
        done = _clean_cache_in_steps(replica)
        _drop_journal_tail(replica, min(replica.view().snapshot.byte_size // _TAIL_SHARE, _TAIL_BYTES_MAX))
        replica.state.shrink()
        replica.cache.shrink()
        return done
    return True  # it would fail again


def _clean_cache_in_steps(replica: Reclaimable) -> bool:
    for step in range(_STEPS_MAX):
        if step:
            replica.runtime.sleep_s(_PAUSE_S)  # all steps together may take longer than others wait for the lock
        with replica.sync_lock.held_briefly() as held:
            if not held:
                return False
            if not _clean_cache(replica, _IDLE_SLACK):
                return True
    return False


def _clean_cache(replica: Reclaimable, slack: int) -> bool:
    """Clean a part of the cache; return whether more is to be done. The caller holds the sync lock."""
    view = replica.view()

    def live(frames: Sequence[CachedFrame]) -> Sequence[Mask]:
        try:
            return live_in(replica.table, view, frames)
        except Corrupt as error:  # the page map is damaged, not the cache
            raise LocalStorageError(f"finding the live pages in the cache of {replica.path}: {error}") from error

    return replica.cache.clean(
        live,
        live_bytes=view.remote_map.live_pages * replica.page_size,
        slack=slack,
        bytes_max=_STEP_BYTES,
    )


def _drop_journal_tail(replica: Reclaimable, bytes_max: int) -> None:
    """Delete the newest journal file if the journal is larger than this and wholly pushed."""
    if replica.view().pending or replica.journal.disk_bytes() <= bytes_max:
        return
    with replica.writer_lock.held_briefly() as held:
        if held and not replica.view_of_writer().pending:
            replica.delete_pushed(spare_last=False)
