"""Presence: the transient state of clients, such as cursor positions and typing. It is never stored.

A state lives until its time to live ends, its client replaces it, or the client leaves. Listeners get all states
whenever one changes. So the number of clients and bytes of a document is limited. At the limit, clients that have been
silent for `TTL_S` are removed for others, whatever time to live they asked for.
"""

import json
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pagestore.runtime import SYSTEM, Runtime
from sqlsync.errors import CoordinatorBusy, NotTheOwner
from sqlsync.plain_json import require_plain

TTL_S = 30.0
CLIENTS_MAX = 1000
STATES_BYTES_MAX = 1024 * 1024
"""The limit for all states of a document, as JSON."""

_log = logging.getLogger(__name__)
States = Mapping[str, Mapping[str, Any]]
"""The state of each client, by its id."""
Listener = Callable[[States], None]
Unsubscribe = Callable[[], None]


class Presence(Protocol):
    """The requests of a client; threads may share it."""

    def set(self, client: str, state: Mapping[str, Any], *, ttl_s: float = TTL_S) -> None:
        """Replace the state of ``client`` for ``ttl_s`` seconds."""

    def leave(self, client: str) -> None:
        """Remove a client's state."""

    def states(self) -> States:
        """Return the states that have not expired."""

    def subscribe(self, listener: Listener) -> Unsubscribe:
        """Call ``listener`` with all states now and after each change, until the returned function is called."""


@dataclass(frozen=True, slots=True)
class _Entry:
    owner: str
    state: Mapping[str, Any]
    size: int
    set_s: float
    until_s: float


class PresenceHub:
    """The presence of one document, in the coordinator's process."""

    def __init__(self, runtime: Runtime = SYSTEM) -> None:
        """Start without clients."""
        self._runtime = runtime
        self._lock = threading.Lock()  # guards what follows
        self._entries: dict[str, _Entry] = {}
        self._listeners: dict[int, Listener] = {}
        self._number = 0

    def set(self, client: str, state: Mapping[str, Any], *, ttl_s: float = TTL_S, owner: str = "") -> None:
        """Replace the state of ``client``, which belongs to ``owner`` while it is alive.

        Repeating a state only extends its life; listeners are not called. Raises `ValueError` for a state that is not
        JSON, `CoordinatorBusy` if there is no room for it, `NotTheOwner` for another owner's client.
        """
        require_plain(state)
        size = len(client.encode(errors="replace")) + len(json.dumps(state).encode())
        with self._lock:
            self._require_owner(client, owner)
            now_s, expired = self._runtime.monotonic_s(), self._drop_expired()
            expired |= self._make_room(client, size, now_s)
            before = self._entries.pop(client, None)
            self._entries[client] = _Entry(owner, dict(state), size, now_s, now_s + ttl_s)
        if expired or before is None or before.state != state:
            self._tell()

    def leave(self, client: str, *, owner: str = "") -> None:
        """Remove a client's state; raises `NotTheOwner` for another owner's."""
        with self._lock:
            self._require_owner(client, owner)
            expired = self._drop_expired()
            left = self._entries.pop(client, None) is not None
        if left or expired:
            self._tell()

    def states(self) -> States:
        """Return the states that have not expired."""
        self.expire()
        with self._lock:
            return {client: entry.state for client, entry in self._entries.items()}

    def expire(self) -> float | None:
        """Remove expired states, call listeners, and return the seconds until the next one expires; None without
        states.

        The hub's owner calls this when that time has passed; every other call also removes expired states.
        """
        with self._lock:
            expired = self._drop_expired()
            ends = [entry.until_s for entry in self._entries.values()]
        if expired:
            self._tell()
        return max(0.0, min(ends) - self._runtime.monotonic_s()) if ends else None

    def subscribe(self, listener: Listener) -> Unsubscribe:
        """Call ``listener`` with all states now and after each change, until the returned function is called."""
        with self._lock:
            self._number += 1
            number = self._number
            self._listeners[number] = listener
        listener(self.states())

        def unsubscribe() -> None:
            with self._lock:
                self._listeners.pop(number, None)

        return unsubscribe

    def _require_owner(self, client: str, owner: str) -> None:
        entry = self._entries.get(client)
        is_alive = entry is not None and entry.until_s > self._runtime.monotonic_s()
        if is_alive and entry is not None and entry.owner != owner:
            raise NotTheOwner(f"client {client!r} belongs to another principal than the one of the request's token")

    def _drop_expired(self) -> bool:
        now_s = self._runtime.monotonic_s()
        over = [client for client, entry in self._entries.items() if entry.until_s <= now_s]
        for client in over:
            del self._entries[client]
        return bool(over)

    def _make_room(self, client: str, size: int, now_s: float) -> bool:
        """Remove the longest silent clients if needed; return whether any was. Raises `CoordinatorBusy`."""
        others = [name for name in self._entries if name != client]  # the longest silent come first
        count, total = len(others) + 1, size + sum(self._entries[name].size for name in others)
        gone = []
        for name in others:
            if count <= CLIENTS_MAX and total <= STATES_BYTES_MAX:
                break
            if self._entries[name].set_s + TTL_S > now_s:
                break
            gone.append(name)
            count, total = count - 1, total - self._entries[name].size
        if count > CLIENTS_MAX or total > STATES_BYTES_MAX:
            error = CoordinatorBusy(
                f"{len(others)} clients have {total - size} bytes of presence, the limit of a document "
                f"({CLIENTS_MAX} clients, {STATES_BYTES_MAX} bytes)"
            )
            error.retry_after_s = TTL_S
            raise error
        for name in gone:
            del self._entries[name]
        return bool(gone)

    def _tell(self) -> None:
        with self._lock:
            states = {client: entry.state for client, entry in self._entries.items()}
            listeners = list(self._listeners.values())
        for listener in listeners:
            try:
                listener(states)
            except Exception:  # noqa: BLE001 - a listener may raise anything
                _log.exception("a listener of presence failed; the others are still called")


class OwnPresence:
    """One client's presence, and its access to all others; threads may share it."""

    def __init__(self, presence: Presence, client: str, runtime: Runtime = SYSTEM) -> None:
        """Publish as ``client``."""
        self.client = client
        self._presence = presence
        self._runtime = runtime
        self._lock = threading.Lock()  # guards what follows
        self._state: Mapping[str, Any] | None = None
        self._ttl_s = TTL_S
        self._repeat_at_s = 0.0

    def set(self, state: Mapping[str, Any], *, ttl_s: float = TTL_S) -> None:
        """Publish a state for ``ttl_s`` seconds; a document with a running `start` refreshes it."""
        self._presence.set(self.client, state, ttl_s=ttl_s)
        with self._lock:
            self._state, self._ttl_s = dict(state), ttl_s
            self._repeat_at_s = self._runtime.monotonic_s() + ttl_s / 3

    def repeat(self) -> None:
        """Refresh the state if it is about to expire."""
        with self._lock:
            state, ttl_s, is_due = self._state, self._ttl_s, self._runtime.monotonic_s() >= self._repeat_at_s
        if state is not None and is_due:
            self.set(state, ttl_s=ttl_s)

    def leave(self) -> None:
        """Remove this client's state."""
        with self._lock:
            state, self._state = self._state, None
        if state is not None:
            self._presence.leave(self.client)

    def states(self) -> States:
        """Return all states, by client."""
        return self._presence.states()

    def subscribe(self, listener: Listener) -> Unsubscribe:
        """Call ``listener`` with all states, now and after each change."""
        return self._presence.subscribe(listener)
