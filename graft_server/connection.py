"""One SQLSync client on one WebSocket.

    receive: Frame -> waiting -> apply: coordinator -> Range        (the client's timeline)
             RangeRequest -> Range
             Range -> stream: storage log -> Frame                  (the document's pages)

An invalid message closes this connection, with a reason, and affects nothing else. The client's reducer runs
unmodified, so the server captures the time and random seed of a mutation when its frame arrives.

The published client stops once its window is full, and continues when it connects again. So the server closes a
connection whose client may have stopped, or whose announced frames do not arrive: see `graft_server.client_window`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeAlias

from graft_server.broadcast import wait as wait_for_event
from graft_server.client_window import ClientWindow
from graft_server.document import ServedDocument
from graft_server.error_replies import Stalled, Stopping
from graft_server.replication import Changes, Outgoing
from graft_server.storage import StorageLog
from graft_server.wire import (
    WINDOW_FRAMES_MAX,
    BadMessage,
    Empty,
    Frame,
    LsnRange,
    Message,
    Range,
    RangeRequest,
    Span,
    decode,
    encode,
    first_lsn,
    span_until,
)
from sqlsync.envelope import Mutation, Opaque
from sqlsync.errors import CoordinatorBusy, TimelineExpired, TimelineGap
from sqlsync.ids import TimelineId
from sqlsync.links.link import Acknowledged

_WAITING_FRAMES_MAX: Final = 2 * WINDOW_FRAMES_MAX
"""A client that respects the window never has more waiting."""
_WAITING_BYTES_MAX: Final = 4 * 1024 * 1024
"""With more bytes waiting, the server reads nothing from the client."""
_GO_ON: Final = "connect again to continue"
_STALLED_S: Final = 1.0
"""How long a client may be silent after its window may have been full."""
_GAP_S: Final = 10.0
"""How long a client may be silent before it has sent all announced frames."""

Wait: TypeAlias = Callable[[asyncio.Event, float | None], Awaitable[bool]]
"""Waits for an event, at most for a number of seconds; returns whether the event was set."""


class Socket(Protocol):
    """An open WebSocket."""

    async def receive(self) -> bytes | None:
        """Return the next message, None after the last; raises `BadMessage` for text."""

    async def send(self, data: bytes) -> None:
        """Send a message; several tasks may call this."""


class Connection:
    """A connected client; `run` serves it until it disconnects."""

    def __init__(
        self,
        socket: Socket,
        served: ServedDocument,
        storage: StorageLog,
        document: bytes,
        *,
        principal: str = "",
        wait: Wait = wait_for_event,
    ) -> None:
        """Serve a document to a principal; ``document`` is its id in the protocol.

        ``wait`` measures the client's silence.
        """
        self._socket = socket
        self._served = served
        self._principal = principal
        self._storage = storage
        self._document = document
        self._timeline: TimelineId | None = None
        self._window = ClientWindow()
        self._wait = wait
        self._outgoing: Outgoing | None = None
        self._waiting: list[Frame] = []
        self._arrived = asyncio.Event()
        self._taken = asyncio.Event()

    async def run(self) -> None:
        """Return when the client has disconnected; raises the errors of `graft_server.error_replies`."""
        with self._served.moved.watched() as moved:
            self._moved = moved
            await self._send(RangeRequest(self._document, self._source()))
            tasks = [asyncio.create_task(part) for part in (self._receive(), self._apply(), self._stream())]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            for task in done:
                task.result()

    async def _receive(self) -> None:
        while (data := await self._socket.receive()) is not None:
            match decode(data):
                case RangeRequest(id=timeline, source=source):
                    await self._meet(TimelineId(timeline), source)
                case Range(range=found):
                    await self._acknowledged(found)
                case Frame() as frame:
                    await self._take(frame)

    async def _meet(self, timeline: TimelineId, source: LsnRange) -> None:
        """Tell the client how far the server has its timeline."""
        if self._timeline not in {None, timeline}:
            raise BadMessage(f"this connection is for timeline {self._timeline}, not for {timeline}")
        self._timeline = timeline
        next_lsn = (await self._served.position(timeline)).next_lsn
        if next_lsn < source.next_lsn:
            await self._served.catch_up()  # another server may have had it
            next_lsn = (await self._served.position(timeline)).next_lsn
        if next_lsn < first_lsn(source):
            raise TimelineExpired(
                f"timeline {timeline} begins at {first_lsn(source)}, and the server has deleted {next_lsn}: start anew"
            )
        if next_lsn > source.next_lsn:
            raise TimelineExpired(
                f"timeline {timeline} ends before {source.next_lsn}, but the server has more: start anew"
            )
        self._window.meet(next_lsn, source.next_lsn)
        await self._send(Range(span_until(next_lsn)))

    async def _acknowledged(self, found: LsnRange) -> None:
        if self._outgoing is None:
            if found.next_lsn - 1 > self._storage.head:
                await self._served.catch_up()  # another server may have sent it
            self._outgoing = Outgoing.to(found, self._storage.base, self._storage.head)
        else:
            self._outgoing.acknowledge(found)
            self._window.storage_acknowledged(self._outgoing.acknowledged)
        self._moved.set()

    async def _take(self, frame: Frame) -> None:
        if self._timeline is None or frame.id != self._timeline.raw:
            raise BadMessage(f"the frame is of another timeline than the announced one ({self._timeline})")
        if len(self._waiting) >= _WAITING_FRAMES_MAX:
            raise BadMessage(f"the client sent more than {_WAITING_FRAMES_MAX} frames without an acknowledgement")
        self._waiting.append(frame)
        self._window.receive(frame.lsn)
        self._arrived.set()
        while sum(len(waiting.payload) for waiting in self._waiting) > _WAITING_BYTES_MAX:
            self._taken.clear()
            await self._taken.wait()

    async def _apply(self) -> None:
        while True:
            patience_s = self._window.patience_s(stalled_s=_STALLED_S, gap_s=_GAP_S)
            if not await self._wait(self._arrived, patience_s):
                raise Stalled(_GO_ON)
            self._arrived.clear()
            frames, self._waiting = self._waiting, []
            self._taken.set()
            await self._hand_over(frames)

    async def _hand_over(self, frames: list[Frame]) -> None:
        """Hand frames to the coordinator and acknowledge them."""
        timeline = self._timeline
        assert timeline is not None, "BUG: a frame was taken before its timeline was known"
        mutations = [
            Mutation.captured(timeline, frame.lsn, Opaque(frame.payload), runtime=self._served.runtime)
            for frame in frames
        ]
        try:
            answer = await self._submit(timeline, mutations)
        except TimelineGap as gap:
            # The client goes back only when it connects again, since it then asks where to begin.
            await self._send(Range(span_until(gap.expected)))
            raise
        await self._send(Range(span_until(answer.next_lsn)))
        self._window.acknowledge(answer.next_lsn)

    async def _submit(self, timeline: TimelineId, mutations: list[Mutation]) -> Acknowledged:
        """Submit mutations as soon as there is room; until then the client gets no acknowledgement, and waits."""
        with self._served.moved.watched() as moved:
            while True:
                moved.clear()
                try:
                    return await self._served.submit(timeline, mutations, principal=self._principal, captured_here=True)
                except CoordinatorBusy as busy:
                    if self._served.closing:
                        raise Stopping(self._served.closing) from busy
                    await self._wait(moved, busy.retry_after_s)

    async def _stream(self) -> None:
        while True:
            self._moved.clear()
            if self._served.closing:
                raise Stopping(self._served.closing)
            while self._outgoing is not None and (due := self._outgoing.due(head := self._storage.head)) is not None:
                since = due.since if isinstance(due, Changes) else head
                payload = await self._served.with_store(self._storage.payload, since)
                self._window.send_storage(due.lsn)
                await self._send(Frame(self._document, due.lsn, payload))
            await self._moved.wait()

    def _source(self) -> LsnRange:
        head = self._storage.head
        return Span(head, head) if head > self._storage.base else Empty(head + 1)

    async def _send(self, message: Message) -> None:
        await self._socket.send(encode(message))
