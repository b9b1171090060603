"""Documents for asyncio: blocking calls run in threads, and callbacks run in the event loop."""

import asyncio
import inspect
import os
from collections.abc import Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import Any, Literal, Self

from graft.remote.address import RemoteAddress
from sqlsync.documents.document import Document
from sqlsync.documents.receipts import Receipt
from sqlsync.documents.session import OnRejected
from sqlsync.documents.timeline import Refusal
from sqlsync.envelope import Mutation
from sqlsync.ids import TimelineId
from sqlsync.reducers.reducer import Bindings, Reducer, SQLValue

AsyncOnRejected = Literal["drop", "keep"] | Callable[[Refusal], Awaitable[None] | None]


class AsyncDocument:
    """A `Document` for asyncio. Use as an asynchronous context manager, or `close` it.

    A receipt can be awaited: ``await (await document.mutate("add", …))`` returns when the mutation is confirmed, and
    raises `MutationRejected` if it is refused.
    """

    def __init__(self, document: Document) -> None:
        """Wrap a document; see `open`."""
        self.document = document
        """The wrapped document; threads may use it at the same time."""

    @classmethod
    async def open(
        cls,
        directory: str | os.PathLike[str],
        remote: str | os.PathLike[str] | RemoteAddress,
        reducer: Reducer,
        *,
        on_rejected: AsyncOnRejected = "drop",
        **options: Any,
    ) -> Self:
        """Open a document; see `Document`. ``on_rejected`` may be a coroutine function, and runs in the event loop."""
        told = on_rejected if isinstance(on_rejected, str) else _in_loop(asyncio.get_running_loop(), on_rejected)
        return cls(await asyncio.to_thread(Document, directory, remote, reducer, on_rejected=told, **options))

    @property
    def timeline(self) -> TimelineId:
        """The id of this client's timeline."""
        return self.document.timeline

    async def mutate(self, name_or_payload: str | bytes, /, **arguments: Any) -> Receipt:
        """Call a mutation; see `Document.mutate`."""
        return await asyncio.to_thread(partial(self.document.mutate, name_or_payload, **arguments))

    async def query(self, sql: str, bindings: Bindings = ()) -> list[tuple[SQLValue, ...]]:
        """Return the rows of a query on the view; see `Document.query`."""
        return await asyncio.to_thread(self.document.query, sql, bindings)

    async def pending(self) -> list[Mutation]:
        """Return this client's mutations that are not confirmed, oldest first."""
        return list(await asyncio.to_thread(self.document.pending))

    async def sync(self, *, wait_s: float = 0.0) -> None:
        """Do one round; see `Document.sync`."""
        await asyncio.to_thread(partial(self.document.sync, wait_s=wait_s))

    def start(self, **options: Any) -> None:
        """Synchronize from now on, in a thread; see `Document.start`."""
        self.document.start(**options)

    async def stop(self) -> None:
        """Stop the thread of `start`."""
        await asyncio.to_thread(self.document.stop)

    async def refusals(self) -> list[Refusal]:
        """Return the stored rejected mutations."""
        return await asyncio.to_thread(self.document.refusals)

    async def retry(self, refusal: Refusal) -> Receipt:
        """Call a rejected mutation again; see `Document.retry`."""
        return await asyncio.to_thread(self.document.retry, refusal)

    async def forget(self, refusal: Refusal) -> None:
        """Delete a stored rejected mutation."""
        await asyncio.to_thread(self.document.forget, refusal)

    async def renew_timeline(self) -> TimelineId:
        """Continue as a new timeline; see `Document.renew_timeline`."""
        return await asyncio.to_thread(self.document.renew_timeline)

    async def close(self) -> None:
        """Stop, and close all files; may be called again."""
        await asyncio.to_thread(self.document.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _in_loop(loop: asyncio.AbstractEventLoop, told: Callable[[Refusal], Awaitable[None] | None]) -> OnRejected:
    async def tell(refusal: Refusal) -> None:
        answer = told(refusal)
        if inspect.isawaitable(answer):
            await answer

    def from_thread(refusal: Refusal) -> None:
        asyncio.run_coroutine_threadsafe(tell(refusal), loop).result()

    return from_thread
