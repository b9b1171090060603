"""Receipts: the state of a mutation, for its caller.

    local --> acknowledged --> confirmed
      `------------+---------> rejected

`confirmed` means that this client saw it applied in the shared volume. `confirmed` and `rejected` are final.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Generator
from enum import StrEnum
from typing import Any

from sqlsync.envelope import Mutation
from sqlsync.errors import MutationRejected


class ReceiptState(StrEnum):
    """The state of a mutation."""

    LOCAL = "local"
    """Durable here."""
    ACKNOWLEDGED = "acknowledged"
    """Durable with a coordinator too."""
    CONFIRMED = "confirmed"
    """In the volume."""
    REJECTED = "rejected"
    """Rejected; it has no effect."""


FINAL = frozenset({ReceiptState.CONFIRMED, ReceiptState.REJECTED})


class Receipt:
    """The fate of one mutation; threads may share it."""

    def __init__(self, mutation: Mutation) -> None:
        """Begin as local."""
        self.mutation = mutation
        self._changed = threading.Condition()  # guards what follows
        self._state = ReceiptState.LOCAL
        self._reason: str | None = None
        self._provisional_error: str | None = None
        self._listeners: list[Callable[[Receipt], None]] = []

    @property
    def state(self) -> ReceiptState:
        """Its state."""
        return self._state

    @property
    def reason(self) -> str | None:
        """Why it was rejected."""
        return self._reason

    @property
    def provisional_error(self) -> str | None:
        """Why it has no effect in the local view at present, although it is pending; None if it has."""
        return self._provisional_error

    def wait(self, timeout_s: float | None = None) -> "Receipt":
        """Wait until its state is final and return this receipt.

        Raises `MutationRejected` with the reason if it was refused, `TimeoutError` if nothing was decided in time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._state in FINAL, timeout_s):
                raise TimeoutError(f"{self} after {timeout_s:g} s")
            return self.settled()

    def settled(self) -> "Receipt":
        """Return this receipt, or raise `MutationRejected` if it was refused."""
        if self._state is ReceiptState.REJECTED:
            raise MutationRejected(self._reason)
        return self

    def __await__(self) -> Generator[Any, None, "Receipt"]:
        """Wait like `wait`, in asyncio; use `asyncio.wait_for` or `asyncio.timeout` for a time limit."""
        return self._finished().__await__()

    async def _finished(self) -> "Receipt":
        loop, finished = asyncio.get_running_loop(), asyncio.Event()

        def tell(receipt: "Receipt") -> None:
            if receipt.state in FINAL:
                with contextlib.suppress(RuntimeError):  # the loop was closed: there is no waiter
                    loop.call_soon_threadsafe(finished.set)

        self.on_change(tell)
        try:
            await finished.wait()
        finally:
            with self._changed:
                if tell in self._listeners:
                    self._listeners.remove(tell)
        return self.settled()

    def on_change(self, listener: Callable[["Receipt"], None]) -> None:
        """Call ``listener`` after each change of state, in the thread that makes it; at once if it is final."""
        with self._changed:
            if self._state not in FINAL:
                self._listeners.append(listener)
                return
        listener(self)

    def moved(self, state: ReceiptState, reason: str | None = None) -> None:
        """Move to a new state; a final state stays, and a state never goes back."""
        with self._changed:
            if self._state in FINAL or state is self._state:
                return
            self._state, self._reason = state, reason
            if state in FINAL:
                self._provisional_error = None
            listeners = list(self._listeners)
            self._changed.notify_all()
        for listener in listeners:
            listener(self)

    def replayed(self, error: str | None) -> None:
        """Note whether its last replay failed."""
        self._provisional_error = error

    def __repr__(self) -> str:
        told = f": {self._reason}" if self._reason else ""
        return f"mutation {self.mutation.name!r} {self.mutation.lsn} of {self.mutation.timeline} is {self._state}{told}"


class Receipts:
    """The receipts of a document's unsettled mutations, by LSN; the document's lock guards it."""

    def __init__(self) -> None:
        """Begin with none."""
        self._by_lsn: dict[int, Receipt] = {}

    def issue(self, mutation: Mutation) -> Receipt:
        """Return the receipt of a mutation; create it if there is none."""
        return self._by_lsn.setdefault(mutation.lsn, Receipt(mutation))

    def acknowledged(self, before_lsn: int) -> list[Callable[[], None]]:
        """Return a function that marks the receipts before an LSN as acknowledged; call it without any lock."""
        told = [receipt for lsn, receipt in self._by_lsn.items() if lsn < before_lsn]
        return [_teller(receipt, ReceiptState.ACKNOWLEDGED, None) for receipt in told]

    def settled(self, before_lsn: int, rejected: dict[int, str]) -> list[Callable[[], None]]:
        """Drop the receipts before an LSN; return a function that sets their final state; call it without any lock."""
        tellers = []
        for lsn in sorted(lsn for lsn in self._by_lsn if lsn < before_lsn):
            receipt, reason = self._by_lsn.pop(lsn), rejected.get(lsn)
            state = ReceiptState.CONFIRMED if reason is None else ReceiptState.REJECTED
            tellers.append(_teller(receipt, state, reason))
        return tellers

    def replayed(self, lsn: int, error: str | None) -> None:
        """Note whether a mutation's replay failed."""
        receipt = self._by_lsn.get(lsn)
        if receipt is not None:
            receipt.replayed(error)

    def renumbered(self, start: int) -> None:
        """Renumber for a renewed timeline: LSN ``start`` becomes 0."""
        self._by_lsn = {lsn - start: receipt for lsn, receipt in self._by_lsn.items()}


def _teller(receipt: Receipt, state: ReceiptState, reason: str | None) -> Callable[[], None]:
    return lambda: receipt.moved(state, reason)
