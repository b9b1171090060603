"""A link to a coordinator over HTTP, from a Python document to `graft serve`."""

import json
import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import urllib3

from sqlsync import errors
from sqlsync.envelope import Mutation, digest
from sqlsync.errors import CoordinatorBusy, CoordinatorRefused, CoordinatorUnavailable, SqlSyncError, TimelineGap
from sqlsync.identity import Proof, linked
from sqlsync.ids import TimelineId, base58
from sqlsync.links.link import Acknowledged
from sqlsync.links.mutation_batch import numbered_batches
from sqlsync.links.presence import TTL_S, Listener, States, Unsubscribe
from sqlsync.plain_json import require_plain
from sqlsync.reducers.reducer import Reducer

SECRET_HEADER = "Graft-Timeline-Secret"  # noqa: S105 - the name of a header
_log = logging.getLogger(__name__)
_CONNECT_S = 10.0
_ANSWER_S = 60.0
_PRESENCE_ANSWER_S = 5.0
"""Presence has a short timeout, so that a document closes quickly."""
_PRESENCE_WAIT_S = 25.0
_RETRY_S = 1.0
_RETRY_AFTER_S_MAX = 3600.0
_TOO_MANY = 429
_UNAVAILABLE = {408, 502, 503, 504}


class HttpLink:
    """A `sqlsync.links.link.CoordinatorLink` to one document of a server; threads may share it."""

    def __init__(
        self,
        url: str,
        document: str,
        *,
        reducer: Reducer | None = None,
        token: str | None = None,
        timeout_s: float = _ANSWER_S,
    ) -> None:
        """Connect to a document of the server at ``url``; nothing is sent yet.

        ``reducer`` is the one that the local document runs; the server refuses it if it runs another module.
        """
        digest = reducer.digest if reducer is not None else None
        self.presence = HttpPresence(self)
        self.timeout_s = timeout_s
        self._base = f"{url.rstrip('/')}/doc/{quote(document, safe='')}"
        self._reducer = {} if digest is None else {"reducer": base58(digest)}
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._pool = urllib3.PoolManager(maxsize=8, retries=False)
        self._closed = threading.Event()

    @property
    def closed(self) -> threading.Event:
        """Set by `close`."""
        return self._closed

    def submit(
        self,
        timeline: TimelineId,
        mutations: Sequence[Mutation],
        *,
        rejections_seen: int = -1,
        born_us: int | None = None,
        proof: Proof | None = None,
    ) -> Acknowledged:
        """Submit mutations; see `sqlsync.links.link.CoordinatorLink`."""
        query: dict[str, Any] = {"seen": rejections_seen}
        if born_us is not None:
            query["born_us"] = born_us
        answer, link, at = None, None if proof is None else proof.link, 0
        for batch, first in numbered_batches(mutations):
            if link is not None and proof is not None:
                for mutation in mutations[at:first]:
                    link = linked(link, digest(mutation))
                query |= {"first": proof.lsn + first, "link": link.hex()}
                at = first
            secret = None if proof is None else proof.secret
            answer = self.ask("POST", f"/timelines/{timeline}", query, body=batch, secret=secret)
        return _acknowledged(answer)

    def wait(self, timeline: TimelineId, lsn: int, *, timeout_s: float) -> Acknowledged:
        """Wait until a mutation is in the volume."""
        query = {"lsn": lsn, "timeout_s": timeout_s}
        return _acknowledged(self.ask("GET", f"/timelines/{timeline}", query, wait_s=timeout_s))

    def close(self) -> None:
        """Close connections."""
        self._closed.set()
        self._pool.clear()

    def ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        *,
        body: bytes = b"",
        wait_s: float = 0.0,
        answer_s: float = _ANSWER_S,
        secret: bytes | None = None,
    ) -> Any:
        """Send a request once and return the decoded answer; raises the error of `sqlsync.errors` that it names.

        The server may take ``wait_s`` seconds; the answer has ``answer_s`` seconds more, or the link's own limit.
        ``secret`` is the secret of the request's timeline.
        """
        answer_s = min(answer_s, self.timeout_s)
        if self._closed.is_set():
            raise CoordinatorUnavailable(f"the link to {self._base} was closed")
        headers = self._headers if secret is None else {**self._headers, SECRET_HEADER: secret.hex()}
        url = f"{self._base}{path}?{urlencode({**(query or {}), **self._reducer})}"
        try:
            response = self._pool.request(
                method, url, body=body, headers=headers, redirect=False,
                timeout=urllib3.Timeout(connect=min(_CONNECT_S, answer_s), read=answer_s + wait_s),
            )  # fmt: skip
        except urllib3.exceptions.HTTPError as error:
            raise CoordinatorUnavailable(f"{self._base} did not answer: {error}") from error
        if response.status == 204:
            return None
        try:
            content = json.loads(response.data)
        except ValueError:
            content = {}
        if response.status == 200:
            return content
        raise _error(response.status, content, self._base, response.headers.get("Retry-After"))


class HttpPresence:
    """The `sqlsync.links.presence.Presence` of a document's clients, through its link."""

    def __init__(self, link: HttpLink) -> None:
        self._link = link

    def set(self, client: str, state: Mapping[str, Any], *, ttl_s: float = TTL_S) -> None:
        """Replace the state of ``client`` for ``ttl_s`` seconds."""
        require_plain(state)
        body = json.dumps({"state": dict(state), "ttl_s": ttl_s}, allow_nan=False).encode()
        self._link.ask("PUT", f"/presence/{quote(client, safe='')}", body=body, answer_s=_PRESENCE_ANSWER_S)

    def leave(self, client: str) -> None:
        """Remove a client's state."""
        self._link.ask("DELETE", f"/presence/{quote(client, safe='')}", answer_s=_PRESENCE_ANSWER_S)

    def states(self) -> States:
        """Return the states that have not expired."""
        states: States = self._link.ask("GET", "/presence", answer_s=_PRESENCE_ANSWER_S)["states"]
        return states

    def subscribe(self, listener: Listener) -> Unsubscribe:
        """Call ``listener``, in a thread of its own, with all states now and after each change."""
        ended = threading.Event()
        threading.Thread(target=self._listen, args=(listener, ended), name="sqlsync-presence", daemon=True).start()
        return ended.set

    def _listen(self, listener: Listener, ended: threading.Event) -> None:
        version, closed = -1, self._link.closed
        while not ended.is_set() and not closed.is_set():
            query = {"version": version, "timeout_s": _PRESENCE_WAIT_S}
            try:
                reply = self._link.ask("GET", "/presence", query, wait_s=_PRESENCE_WAIT_S)
            except SqlSyncError:
                closed.wait(_RETRY_S)
                continue
            if reply["version"] != version and not ended.is_set():
                version = reply["version"]
                try:
                    listener(reply["states"])
                except Exception:  # noqa: BLE001 - the application's code may raise anything
                    _log.exception("a listener of presence failed; it is called again at the next change")


def _acknowledged(answer: Any) -> Acknowledged:
    try:
        return Acknowledged(answer["next_lsn"], answer["applied"], answer["volume_lsn"])
    except (KeyError, TypeError) as error:
        raise CoordinatorUnavailable(f"the coordinator's answer is not valid: {answer!r:.200}") from error


def _error(status: int, answer: Any, base: str, retry_after: str | None = None) -> SqlSyncError:
    """Return the error that an answer names; an answer not from a coordinator counts as unavailable or refused."""
    answer = answer if isinstance(answer, dict) else {}
    name, message = answer.get("error", ""), answer.get("message", f"{base} answered {status}")
    if name == "TimelineGap" and isinstance(answer.get("expected"), int):
        return TimelineGap(message, expected=answer["expected"])
    kind = getattr(errors, str(name), None)
    if isinstance(kind, type) and issubclass(kind, SqlSyncError) and kind is not TimelineGap:
        error = kind(message)
    elif status == _TOO_MANY:
        error = CoordinatorBusy(message)
    elif status in _UNAVAILABLE or status >= 500:
        error = CoordinatorUnavailable(message)
    elif name == "ReducerReplaced":
        error = errors.ReducerTooOld(message)
    else:
        error = CoordinatorRefused(message)
    if isinstance(error, CoordinatorUnavailable) and retry_after is not None and retry_after.isdecimal():
        error.retry_after_s = min(float(retry_after), _RETRY_AFTER_S_MAX)
    return error
