"""The host: opens documents when they are asked for, lets all users of one share it, and closes idle ones.

Invariants: a document's directory is in use by at most one `ServedDocument`; opening and closing one happens under its
lock; one that has users is closed only when its reducer is replaced, or with the server.
"""

import asyncio
import hashlib
import logging
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from graft.errors import GraftError, remote_errors
from graft.remote.remote import RemoteAddress
from graft_server.document import ServedDocument
from graft_server.reducers import LoadReducer, NoSuchReducer, Reducers
from graft_server.settings import ServerSettings
from pagestore.objectstore import ObjectStore
from pagestore.runtime import SYSTEM, Runtime
from sqlsync.coordination.coordinator import Coordinator
from sqlsync.ids import LENGTHS, base58, unbase58
from sqlsync.reducers.reducer import Reducer

REPLACED: Final = "the document's reducer was replaced by a newer one"
STOPPING: Final = "the server is stopping"
IDLE: Final = "nobody used the document"
_DIGITS_MAX: Final = 44
_SWEEP_S: Final = 5.0
_log = logging.getLogger(__name__)
Result = TypeVar("Result")


class ServerFull(Exception):
    """Too many documents are open, or too many clients use one; try again later."""


class NotADocument(Exception):
    """The text is no document id."""


class Host:
    """All documents of a server; lives on one event loop. `close` it."""

    def __init__(
        self,
        settings: ServerSettings,
        store: ObjectStore,
        load_reducer: LoadReducer,
        *,
        reducer: Reducer | None = None,
        runtime: Runtime = SYSTEM,
    ) -> None:
        """Serve the documents in ``store``. With ``reducer`` all of them run that one, and nobody chooses another."""
        self.settings = settings
        self.runtime = runtime
        self.reducers = Reducers(store, load_reducer)
        self.executor = ThreadPoolExecutor(settings.threads, thread_name_prefix="graft-server")
        self._store = store
        self._reducer = reducer
        self._served: dict[str, ServedDocument] = {}
        self._idle_since_s: dict[str, float] = {}
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self._sweeper = asyncio.create_task(self._sweep())

    def new_id(self, name: str | None = None) -> str:
        """Return the id of a document: a new one, or always the same one for a name."""
        if name is None:
            return base58(self.runtime.entropy(LENGTHS[0]))
        return base58(hashlib.sha256(b"graft document\0" + name.encode()).digest()[: LENGTHS[0]])

    async def keep_reducer(self, module: bytes, replaces: bytes | None = None) -> str:
        """Store a module and return its digest in base58; raises `NotAReducer`, and the errors of graft."""
        return await self.in_thread(self._keep, module, replaces)

    async def move(self, text: str, digest: bytes) -> None:
        """Have a document run another module, on behalf of somebody who may upload; raises `NoSuchReducer`."""
        if self._reducer is None:
            await self.in_thread(self._move, _name(text), digest)

    @asynccontextmanager
    async def document(self, text: str, asked: bytes | None) -> AsyncIterator[ServedDocument]:
        """Use a document for a block; ``asked`` is the digest of the reducer that the user has, None for any.

        Raises `NotADocument`, `ServerFull`, `NoSuchReducer`, `ReducerReplaced`, and the errors of sqlsync and graft.
        """
        name = _name(text)
        lock = self._locks.setdefault(name, asyncio.Lock())
        async with lock:
            served = await self._opened(name, asked)
            if served.users >= self.settings.connections_max:
                raise ServerFull(f"{served.users} clients use document {name}, as many as this server takes")
            served.users += 1
        try:
            yield served
        finally:
            served.users -= 1
            self._idle_since_s[name] = self.runtime.monotonic_s()

    def open_documents(self) -> list[ServedDocument]:
        """Return the documents that are open."""
        return list(self._served.values())

    def dismiss(self) -> None:
        """Tell all users to go; `close` comes next."""
        for served in self._served.values():
            served.dismiss(STOPPING)

    async def close(self) -> None:
        """Tell all users to go, and close all documents."""
        self._sweeper.cancel()
        await asyncio.gather(self._sweeper, return_exceptions=True)
        for name in list(self._served):
            async with self._locks.setdefault(name, asyncio.Lock()):
                await self._end(name, STOPPING)
        self.executor.shutdown()

    async def _opened(self, name: str, asked: bytes | None) -> ServedDocument:
        served = self._served.get(name)
        if served is not None and asked in {None, served.digest}:
            return served
        digest = await self.in_thread(self._chosen, name, asked)
        if served is not None:
            if digest == served.digest:
                return served
            await self._end(name, REPLACED)
        if len(self._served) >= self.settings.documents_max:
            raise ServerFull(f"{len(self._served)} documents are open, as many as this server takes; try again later")
        settings = self.settings
        served = ServedDocument(name, digest, executor=self.executor, poll_s=settings.poll_s, runtime=self.runtime)
        served.begin(await self.in_thread(self._coordinator, served))
        self._served[name] = served
        return served

    def _keep(self, module: bytes, replaces: bytes | None) -> str:
        with remote_errors("storing a reducer"):
            return self.reducers.keep(module, replaces)

    def _move(self, name: str, digest: bytes) -> None:
        with remote_errors(f"moving document {name} to another reducer"):
            self.reducers.move(name, digest)

    def _chosen(self, name: str, asked: bytes | None) -> bytes | None:
        if self._reducer is None:
            with remote_errors(f"looking for the reducer of document {name}"):
                return self.reducers.choose(name, asked)
        if asked is not None and asked != self._reducer.digest:
            raise NoSuchReducer(f"this server runs one reducer for all documents, and it is not {base58(asked)}")
        return self._reducer.digest

    def _coordinator(self, served: ServedDocument) -> Coordinator:
        reducer = self._reducer
        if reducer is None:
            assert served.digest is not None, "BUG: without a reducer of its own the server runs what was named"
            with remote_errors(f"loading the reducer of document {served.name}"):
                reducer = self.reducers.load(served.digest)
        return Coordinator(
            self.settings.directory / "documents" / served.name,
            RemoteAddress(self._store.url, served.name),
            reducer,
            on_moved=served.coordinator_moved,
            settings=self.settings.replica,
            store=self._store,
            runtime=self.runtime,
        )

    async def _end(self, name: str, why: str) -> None:
        served = self._served.pop(name, None)
        self._idle_since_s.pop(name, None)
        if served is not None:
            try:
                await served.end(why)
            except GraftError as error:
                _log.warning("closing document %s: %s", name, error)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(min(_SWEEP_S, max(self.settings.idle_s, 0.05)))
            for name in self._idle():
                async with self._locks.setdefault(name, asyncio.Lock()):
                    if name in self._idle():
                        await self._end(name, IDLE)

    def _idle(self) -> Sequence[str]:
        before_s = self.runtime.monotonic_s() - self.settings.idle_s
        return [
            name
            for name, served in self._served.items()
            if not served.users and self._idle_since_s.get(name, before_s) <= before_s
        ]

    async def in_thread(self, call: Callable[..., Result], *args: Any) -> Result:
        """Run what blocks."""
        return await asyncio.get_running_loop().run_in_executor(self.executor, call, *args)


def _name(text: str) -> str:
    try:
        raw = unbase58(text) if len(text) <= _DIGITS_MAX else b""
    except ValueError:
        raw = b""
    if len(raw) not in LENGTHS:
        raise NotADocument(f"no document id (16 or 32 bytes in base58): {text[:_DIGITS_MAX]!r}")
    return base58(raw)
