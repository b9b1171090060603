"""Live queries: a query runs again when data that it reads changed, and only then.

    view changed --> which trees changed (graft_sqlite_vfs.btree.pointer_map) --> which queries read them
                 --> run these again --> notify subscribers whose result changed

One thread per document does this, from the first subscription on, so that neither mutations nor synchronizing wait for
it. Too many queries may run again, never too few: a changed schema, or an unknown change, affects all of them.
"""

import threading
from collections.abc import Callable, Sequence

import apsw

from graft.errors import GraftError
from graft.reading.snapshot import Snapshot
from graft_sqlite_vfs.btree.pointer_map import changed_roots
from sqlsync.documents.view import View
from sqlsync.errors import SqlSyncError
from sqlsync.queries.row_diff import Change
from sqlsync.queries.subscription import Subscription
from sqlsync.reducers.reducer import Bindings

Roots = frozenset[int] | None
"""Root pages of trees; None for any."""


class LiveQueries:
    """The subscriptions to one document's view; threads may share it."""

    def __init__(self, view: View, current: Callable[[], Snapshot | None]) -> None:
        """Watch ``view``; ``current`` returns its version, or None while it is being rebased."""
        self.reruns = 0
        """How many times queries ran again."""
        self._view = view
        self._current = current
        self._running = threading.Lock()  # held while queries run; taken before `_changed`
        self._changed = threading.Condition()  # guards what follows
        self._reads: dict[Subscription, Roots] = {}
        self._seen: Snapshot | None = None
        self._newest: Snapshot | None = None
        self._idle = True
        self._is_closed = False
        self._thread: threading.Thread | None = None

    def subscribe(
        self,
        sql: str,
        bindings: Bindings = (),
        *,
        key: Sequence[str] | None = None,
        callback: Callable[[Change], object] | None = None,
    ) -> Subscription:
        """See `sqlsync.documents.document.Document.subscribe`."""
        made = Subscription(sql, bindings, key=key, callback=callback, on_close=self._forget)
        self._check_open()
        self._watch()
        with self._running:
            with self._changed:
                self._check_open()
                self._reads[made] = None
            try:
                found = self._view.examine(sql, bindings)
                found.places(key)
            except BaseException:
                self._forget(made)
                raise
            with self._changed:
                if made in self._reads:
                    self._reads[made] = found.roots
            made.showed(found)
        return made

    def note(self, after: Snapshot) -> None:
        """Record that the view is now at ``after``."""
        with self._changed:
            if self._reads and not self._is_closed:
                self._newest = after
                self._idle = False
                self._changed.notify_all()
            else:
                self._seen = None

    def settle(self, timeout_s: float | None = None) -> bool:
        """Wait until all recorded changes were delivered; return whether they were."""
        with self._changed:
            return self._changed.wait_for(lambda: self._idle or self._is_closed, timeout_s)

    def close(self) -> None:
        """Close all subscriptions; may be called again."""
        with self._changed:
            self._is_closed = True
            left, thread = list(self._reads), self._thread
            self._changed.notify_all()
        for subscription in left:
            subscription.close()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _check_open(self) -> None:
        if self._is_closed:
            raise SqlSyncError("the document was closed")

    def _watch(self) -> None:
        """Start watching, if not yet watching, from a version not newer than the one that the first query reads."""
        current = self._current()
        with self._changed:
            if self._seen is None and self._newest is None:
                self._seen = current
            if self._thread is None and not self._is_closed:
                self._thread = threading.Thread(target=self._run, name="sqlsync-live-queries", daemon=True)
                self._thread.start()

    def _forget(self, subscription: Subscription) -> None:
        with self._changed:
            self._reads.pop(subscription, None)

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._newest is None:
                    self._idle = True
                    self._changed.notify_all()
                self._changed.wait_for(lambda: self._newest is not None or self._is_closed)
                if self._is_closed:
                    return
                before, after = self._seen, self._newest
                self._seen, self._newest = after, None
            assert after is not None, "BUG: nothing to do"
            self._rerun(_changed(before, after))

    def _rerun(self, changed: Roots) -> None:
        with self._running:
            with self._changed:
                concerned = [each for each, reads in self._reads.items() if _meet(reads, changed)]
            for subscription in concerned:
                self.reruns += 1
                try:
                    found = self._view.examine(subscription.sql, subscription.bindings)
                except (apsw.Error, GraftError, MemoryError) as error:
                    subscription.showed(error)
                    roots = None  # try again at the next change, whatever it is
                else:
                    subscription.showed(found)
                    roots = found.roots
                with self._changed:
                    if subscription in self._reads:
                        self._reads[subscription] = roots


def _changed(before: Snapshot | None, after: Snapshot) -> Roots:
    if before is None:
        return None
    try:
        return changed_roots(before, after)
    except GraftError:
        return None  # the pages that would tell are out of reach


def _meet(reads: Roots, changed: Roots) -> bool:
    return reads is None or changed is None or not reads.isdisjoint(changed)
