"""What the parts of an open document share: its timeline, its view, its receipts, and the locks around them."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from graft.reading.snapshot import Snapshot
from pagestore.runtime import Runtime
from sqlsync.documents.receipts import Receipts
from sqlsync.documents.timeline import Refusal, Timeline
from sqlsync.documents.view import View
from sqlsync.links.link import CoordinatorLink
from sqlsync.links.presence import OwnPresence
from sqlsync.reducers.reducer import Reducer

OnRejected = Literal["drop", "keep"] | Callable[[Refusal], None]
"""What to do with a rejected mutation: drop it, store it until it is retried or forgotten, or call a function."""


@dataclass(slots=True)
class Client:
    """The internal state of an open document."""

    timeline: Timeline
    view: View
    reducer: Reducer
    link: CoordinatorLink | None
    on_rejected: OnRejected
    runtime: Runtime
    receipts: Receipts = field(default_factory=Receipts)
    lock: threading.RLock = field(default_factory=threading.RLock)
    """Guards the timeline, the receipts and changes of the view. Never held during callbacks."""
    syncing: threading.Lock = field(default_factory=threading.Lock)
    """Held by the thread that sends requests to the coordinator and the remote; acquired before `lock`."""
    acknowledged: int = 0
    """The coordinator has all mutations before this LSN."""
    is_expired: bool = False
    """Whether the volume may have forgotten the timeline and its position; only without a coordinator."""
    is_forked: bool = False
    """Whether the volume has different mutations of the timeline: a copy of the directory continued it."""
    to_tell: list[Callable[[], None]] = field(default_factory=list)
    """Callbacks to run once `lock` is released."""
    presence: OwnPresence | None = None
    """This client's presence, if its link supports presence."""
    view_changed: Callable[[Snapshot], None] | None = None
    """Called with each new version of the view, without `lock`."""

    def tell(self) -> None:
        """Run the waiting callbacks; the caller does not hold `lock`."""
        while True:
            with self.lock:
                if not self.to_tell:
                    return
                teller = self.to_tell.pop(0)
            teller()

    def note_change(self) -> None:
        """Have subscribers told that the view may be another one; the caller holds `lock`.

        While the view is stale there is nothing to tell: its readers stay where they are until it is made again.
        """
        changed = self.view_changed
        if changed is not None and not self.view.stale:
            after = self.view.snapshot()
            self.to_tell.append(lambda: changed(after))
