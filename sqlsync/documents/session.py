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
"""What becomes of a mutation that was rejected for good: nothing, kept until retried or forgotten, or a call."""


@dataclass(slots=True)
class Client:
    """An open document, inside."""

    timeline: Timeline
    view: View
    reducer: Reducer
    link: CoordinatorLink | None
    on_rejected: OnRejected
    runtime: Runtime
    receipts: Receipts = field(default_factory=Receipts)
    lock: threading.RLock = field(default_factory=threading.RLock)
    """Guards the timeline, the receipts and changes of the view. Never held while somebody else is called back."""
    syncing: threading.Lock = field(default_factory=threading.Lock)
    """Held by the one thread that talks to the coordinator and the remote; taken before `lock`."""
    acknowledged: int = 0
    """The coordinator has all mutations before this LSN."""
    is_expired: bool = False
    """Whether the volume may have forgotten the timeline, and with it what it had applied; without a coordinator."""
    is_forked: bool = False
    """Whether the volume has other mutations of the timeline than this client: a copy of its directory went on."""
    to_tell: list[Callable[[], None]] = field(default_factory=list)
    """Call-backs that wait for `lock` to be free."""
    presence: OwnPresence | None = None
    """What this client says of itself, where its link carries that."""
    view_changed: Callable[[Snapshot], None] | None = None
    """Called with a version of the view that was not there before, without `lock`."""

    def tell(self) -> None:
        """Run the call-backs that wait; the caller does not hold `lock`."""
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
