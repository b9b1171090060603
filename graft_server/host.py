"""The host: opens documents on demand, shares each between all its users, and closes idle ones.

    document --> open? --> yes: share it
                  `-- no: a task opens it: make room (close the idle document that was unused longest), load its
                      reducer, create its coordinator

Invariants: at most one `ServedDocument` uses a document's directory. While a document is being opened or closed, its
name is in `_tasks`, and new users wait. A document with users is closed only when its reducer is replaced, when the
server stops, or, if it has had no mutation for `blank_s`, to make room. Users wait at most `open_s`; the task then
continues without them.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from graft.errors import remote_errors
from graft.remote.address import RemoteAddress
from graft_server.budget import Budget
from graft_server.descriptors import documents_that_fit
from graft_server.document import ServedDocument
from graft_server.lanes import Lane, Overloaded
from graft_server.reducers import LoadReducer, NoSuchReducer, Reducers
from graft_server.settings import ServerSettings
from pagestore.objectstore import ObjectStore
from pagestore.runtime import SYSTEM, Runtime
from sqlsync.coordination.coordinator import Coordinator
from sqlsync.coordination.limits import Limits
from sqlsync.ids import LENGTHS, base58, unbase58
from sqlsync.reducers.reducer import Reducer

REPLACED: Final = "the document's reducer was replaced by a newer one"
STOPPING: Final = "the server is stopping"
IDLE: Final = "the document was not in use"
LIMITS: Final = Limits()
"""The limits of each document."""
_DIGITS_MAX: Final = 44
_SWEEP_S: Final = 5.0
_UPLOAD_THREADS: Final = 2
_UPLOADS_MAX: Final = 16
_log = logging.getLogger(__name__)
Result = TypeVar("Result")


class ServerFull(Exception):
    """Too many documents are in use, or too many clients use one; try again later."""


class NotADocument(Exception):
    """The text is not a document id."""


class Host:
    """All documents of a server, on one event loop; `close` ends it."""

    def __init__(
        self,
        settings: ServerSettings,
        store: ObjectStore,
        load_reducer: LoadReducer,
        *,
        reducer: Reducer | None = None,
        runtime: Runtime = SYSTEM,
    ) -> None:
        """Serve the documents in ``store``. With ``reducer``, all of them run that reducer and no other."""
        self.settings = settings
        self.runtime = runtime
        self.reducers = Reducers(store, load_reducer)
        self.bodies = Budget(settings.bodies_bytes_max, settings.bodies_bytes_max // 4)
        self._store = store
        self._reducer = reducer
        self._documents_max = documents_that_fit(settings.documents_max)
        self._opening = Lane("opening documents", threads=settings.threads, waiting_max=2 * settings.documents_max)
        self._uploads = Lane("uploading", threads=_UPLOAD_THREADS, waiting_max=_UPLOADS_MAX)
        self._served: dict[str, ServedDocument] = {}
        self._tasks: dict[str, asyncio.Task[Any]] = {}
        """Documents that are being opened or closed."""
        self._closing: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._sweeper = asyncio.create_task(self._sweep())

    def new_id(self, name: str | None = None) -> str:
        """Return the id of a document: a new one, or always the same one for a name."""
        if name is None:
            return base58(self.runtime.entropy(LENGTHS[0]))
        return base58(hashlib.sha256(b"graft document\0" + name.encode()).digest()[: LENGTHS[0]])

    async def keep_reducer(self, module: bytes, replaces: bytes | None = None) -> str:
        """Store a module and return its digest in base58; raises `NotAReducer`, and the errors of graft."""
        return await self._uploads.run(self._keep, module, replaces, timeout_s=self.settings.call_s)

    async def move(self, text: str, digest: bytes) -> None:
        """Move a document to another module, for a sender that may upload; raises `NoSuchReducer`."""
        if self._reducer is None:
            await self._opening.run(self._move, _name(text), digest, timeout_s=self.settings.open_s)

    @asynccontextmanager
    async def document(self, text: str, asked: bytes | None) -> AsyncIterator[ServedDocument]:
        """Use a document during a block; ``asked`` is the digest of the user's reducer, None for any.

        Raises `NotADocument`, `ServerFull`, `Overloaded`, `NoSuchReducer`, `ReducerReplaced`, and the errors of sqlsync
        and graft.
        """
        served = await self._found(_name(text), asked)
        if served.users >= self.settings.connections_max:
            raise ServerFull(f"{served.users} clients use document {served.name}, the limit of this server")
        served.users += 1
        try:
            yield served
        finally:
            served.users -= 1
            served.used_s = self.runtime.monotonic_s()

    def open_documents(self) -> list[ServedDocument]:
        """Return the documents that are open."""
        return list(self._served.values())

    def dismiss(self) -> None:
        """Make all users leave; call `close` next."""
        for served in self._served.values():
            served.dismiss(STOPPING)

    async def close(self) -> None:
        """Make all users leave, and close all documents; gives up on unfinished ones after `close_s`."""
        self._stopping.set()
        self._sweeper.cancel()
        await asyncio.gather(self._sweeper, return_exceptions=True)
        try:
            async with asyncio.timeout(self.settings.close_s):
                while self._served or self._tasks:
                    for served in list(self._served.values()):
                        if served.name not in self._tasks:
                            self._end(served, STOPPING)
                    await asyncio.wait(self._tasks.values(), return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            names = sorted({*self._served, *self._tasks})
            _log.warning("not closed within %g s: documents %s", self.settings.close_s, ", ".join(names))
        self._opening.close()
        self._uploads.close()

    async def _found(self, name: str, asked: bytes | None) -> ServedDocument:
        """Return the document, opening it if necessary."""
        try:
            async with asyncio.timeout(self.settings.open_s) as limit:
                while True:
                    if (task := self._tasks.get(name)) is not None:
                        await asyncio.wait({task})
                        continue
                    served = self._served.get(name)
                    if served is not None and asked in {None, served.digest}:
                        return served
                    opening = self._begin(name, self._open(name, asked, served))
                    await asyncio.wait({opening})
                    if self._served.get(name) is (opened := opening.result()):
                        return opened
        except TimeoutError:
            if not limit.expired():
                raise
            raise Overloaded(f"opening document {name} takes too long; try again later") from None

    def _begin(self, name: str, work: Coroutine[None, None, Result]) -> asyncio.Task[Result]:
        """Open or close a document in a task, which continues even if its callers stop waiting."""
        self._tasks[name] = task = asyncio.create_task(work)

        def done(_: asyncio.Task[Result]) -> None:
            if self._tasks.get(name) is task:
                del self._tasks[name]
            if not task.cancelled():
                task.exception()  # marks it as retrieved; the waiting caller raises it

        task.add_done_callback(done)
        return task

    async def _open(self, name: str, asked: bytes | None, current: ServedDocument | None) -> ServedDocument:
        if self._stopping.is_set():
            raise Overloaded("the server is stopping; try again later")
        digest = await self._opening.run(self._chosen, name, asked)
        if current is not None:
            if digest == current.digest:
                return current
            await self._close(current, REPLACED)
        await self._make_room()
        served = ServedDocument(name, digest, settings=self.settings, runtime=self.runtime)
        served.begin(await self._opening.run(self._coordinator, served))
        self._served[name] = served
        if self._stopping.is_set():
            await self._close(served, STOPPING)
        return served

    async def _make_room(self) -> None:
        """Close documents until there is room for the one that is being opened, which is in `_tasks`.

        Raises `ServerFull` if all open documents have users and mutations.
        """
        while len(self._served) + len(self._tasks) > self._documents_max:
            victim = self._least_used()
            if victim is not None:
                await asyncio.wait({self._end(victim, IDLE)})
            elif self._closing:
                await asyncio.wait(self._closing, return_when=asyncio.FIRST_COMPLETED)
            else:
                raise ServerFull(f"{len(self._served)} documents are in use, the limit of this server; try again later")

    def _least_used(self) -> ServedDocument | None:
        """Return the document to close: the longest unused one without users, else one without mutations."""
        before_s = self.runtime.monotonic_s() - self.settings.blank_s
        served = [
            each
            for each in self._served.values()
            if each.name not in self._tasks and (not each.users or (each.is_blank and each.used_s <= before_s))
        ]
        return min(served, key=lambda each: (each.users > 0, each.used_s), default=None)

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
            assert served.digest is not None, "BUG: neither the server nor the document has a reducer"
            with remote_errors(f"loading the reducer of document {served.name}"):
                reducer = self.reducers.load(served.digest)
        return Coordinator(
            self.settings.directory / "documents" / served.name,
            RemoteAddress(self._store.url, served.name),
            reducer,
            limits=LIMITS,
            on_moved=served.coordinator_moved,
            settings=self.settings.replica,
            store=self._store,
            runtime=self.runtime,
        )

    def _end(self, served: ServedDocument, why: str) -> asyncio.Task[None]:
        """Close a document in a task; new users do not get it from now on."""
        task = self._begin(served.name, self._close(served, why))
        self._served.pop(served.name, None)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        return task

    async def _close(self, served: ServedDocument, why: str) -> None:
        self._served.pop(served.name, None)
        try:
            await served.end(why, self._opening)
        except Exception as error:  # noqa: BLE001 - the document is closed in any case
            _log.warning("closing document %s: %s", served.name, error)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(min(_SWEEP_S, max(self.settings.idle_s, 0.05)))
            before_s = self.runtime.monotonic_s() - self.settings.idle_s
            for served in list(self._served.values()):
                if not served.users and served.used_s <= before_s and served.name not in self._tasks:
                    self._end(served, IDLE)


def _name(text: str) -> str:
    try:
        raw = unbase58(text) if len(text) <= _DIGITS_MAX else b""
    except ValueError:
        raw = b""
    if len(raw) not in LENGTHS:
        raise NotADocument(f"not a document id (16 or 32 bytes in base58): {text[:_DIGITS_MAX]!r}")
    return base58(raw)
