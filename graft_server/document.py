"""A served document: its coordinator, its storage log, its presence, and the users to notify.

    clients --> submit --> Coordinator --> volume --> moved (broadcast) --> clients
    every `poll_s` seconds, while a client is connected: commits of other writers --> moved

All blocking calls run in the document's own threads, in two lanes. The local lane runs calls that need only the
document's directory, so that mutations are acknowledged while the store does not answer. The store lane runs calls that
may send requests to the store. Everything else runs on the event loop.
"""

import asyncio
import logging
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from graft.errors import GraftError
from graft_server.broadcast import Broadcast, wait
from graft_server.lanes import Lane, Overloaded
from graft_server.settings import ServerSettings
from graft_server.storage import StorageLog
from pagestore.runtime import Runtime
from sqlsync.coordination.coordinator import Coordinator
from sqlsync.coordination.health import Health
from sqlsync.coordination.intake import Caller
from sqlsync.envelope import Mutation
from sqlsync.errors import TimelineExpired, TimelineGap
from sqlsync.identity import Proof
from sqlsync.ids import TimelineId
from sqlsync.links.link import Acknowledged
from sqlsync.links.presence import States

Result = TypeVar("Result")
_LOCAL_THREADS: Final = 2
_STORE_THREADS: Final = 4
_CALLS_PER_USER_MAX: Final = 4
"""The most calls that one connection or request has waiting at once."""
_log = logging.getLogger(__name__)


class ServedDocument:
    """One open document."""

    def __init__(self, name: str, digest: bytes | None, *, settings: ServerSettings, runtime: Runtime) -> None:
        """Create the document without its coordinator, which `begin` sets; ``digest`` names its reducer."""
        self.name = name
        self.digest = digest
        self.runtime = runtime
        self.moved = Broadcast()
        """Notifies when the volume has moved, or the document is about to be closed."""
        self.closing = ""
        """Why the document is about to be closed; empty while it is not."""
        self.users = 0
        """How many connections and requests use it."""
        self.used_s = runtime.monotonic_s()
        """When the last user left, or when the document was opened."""
        self.presence_version = 0
        self.presence_moved = Broadcast()
        self._coordinator_moved = Broadcast()
        self._states: States = {}
        self._expiry_changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        calls_max = settings.connections_max * _CALLS_PER_USER_MAX
        self._local = Lane(f"document {name}", threads=_LOCAL_THREADS, waiting_max=calls_max)
        self._store = Lane(f"the store of document {name}", threads=_STORE_THREADS, waiting_max=calls_max)
        self._call_s = settings.call_s
        self._poll_s = settings.poll_s
        self._tasks: list[asyncio.Task[None]] = []
        self._coordinator: Coordinator | None = None
        self._storage: StorageLog | None = None

    @property
    def coordinator_moved(self) -> Callable[[], None]:
        """The coordinator's callback for a moved volume."""
        return self._coordinator_moved.notify_from_thread

    @property
    def coordinator(self) -> Coordinator:
        """The coordinator, from `begin` on."""
        assert self._coordinator is not None, "BUG: the document was used before `begin`"
        return self._coordinator

    @property
    def is_blank(self) -> bool:
        """Whether it has no mutations, as far as the coordinator knows."""
        return self._coordinator is None or self._coordinator.is_blank

    def begin(self, coordinator: Coordinator) -> None:
        """Serve with this coordinator, which `end` closes."""
        self._coordinator = coordinator
        coordinator.start()
        coordinator.presence.subscribe(self._presence_changed)
        self._tasks = [
            asyncio.create_task(self._persist(task)) for task in (self._follow, self._poll, self._expire_presence)
        ]

    async def _persist(self, task: Callable[[], Awaitable[None]]) -> None:
        """Run an endless task, and restart it after any exception: one failure must not end the document."""
        while True:
            try:
                await task()
            except Exception:  # noqa: BLE001 - the task is restarted after any failure
                _log.exception("document %s: a task failed and is restarted", self.name)
            await asyncio.sleep(self._poll_s)

    def health(self) -> Health:
        """Return the coordinator's state."""
        return self.coordinator.health()

    def dismiss(self, why: str) -> None:
        """Make all users leave."""
        self.closing = why
        self.moved.notify()
        self.presence_moved.notify()

    async def end(self, why: str, lane: Lane) -> None:
        """Make all users leave, and close the coordinator in ``lane``; acknowledged mutations are durable.

        The directory of a document without any mutation is deleted, so that invented ids cannot fill the disk.
        """
        self.dismiss(why)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._local.close()
        self._store.close()
        if self._coordinator is not None:
            await lane.run(_close, self._coordinator)

    async def _locally(self, call: Callable[..., Result], *args: Any) -> Result:
        """Run a call that needs only the document's directory; raises `Overloaded`."""
        return await self._local.run(call, *args, timeout_s=self._call_s)

    async def with_store(self, call: Callable[..., Result], *args: Any) -> Result:
        """Run a call that may send requests to the store; raises `Overloaded`."""
        return await self._store.run(call, *args, timeout_s=self._call_s)

    async def submit(
        self,
        timeline: TimelineId,
        mutations: Sequence[Mutation],
        *,
        rejections_seen: int | None = None,
        born_us: int | None = None,
        proof: Proof | None = None,
        principal: str = "",
        captured_here: bool = False,
    ) -> Acknowledged:
        """Hand mutations to the coordinator; see `Coordinator.submit`."""
        caller = Caller(proof, principal, captured_here)

        def take() -> Acknowledged:
            return self.coordinator.take(
                timeline, mutations, rejections_seen=rejections_seen, born_us=born_us, caller=caller
            )

        try:
            return await self._locally(take)
        except (TimelineGap, TimelineExpired):
            await self.catch_up()  # another server may have the missing mutations
            return await self._locally(take)

    async def position(self, timeline: TimelineId) -> Acknowledged:
        """Return the position of a timeline."""
        return await self._locally(lambda: self.coordinator.wait(timeline, -1, timeout_s=0.0))

    async def wait(self, timeline: TimelineId, lsn: int, timeout_s: float) -> Acknowledged:
        """Return once the volume has a timeline's mutation, or after ``timeout_s`` seconds."""
        deadline_s = self.runtime.monotonic_s() + timeout_s
        with self.moved.watched() as event:
            while True:
                event.clear()
                found = await self.position(timeline)
                left_s = deadline_s - self.runtime.monotonic_s()
                if self.closing or left_s <= 0 or (found.applied is not None and found.applied >= lsn):
                    return found
                await wait(event, left_s)

    async def storage(self, frame_bytes_max: int) -> StorageLog:
        """Return the storage log, which the first call creates; raises `NotServable`."""
        if self._storage is None:
            made = await self.with_store(StorageLog, self.coordinator.replica, frame_bytes_max)
            self._storage = self._storage or made
        return self._storage

    async def catch_up(self) -> None:
        """Pull the commits of other writers; raises the errors of graft."""
        await self.with_store(self.coordinator.catch_up)
        await self._refresh_storage()

    async def presence_after(self, version: int, timeout_s: float) -> tuple[int, States]:
        """Return all presence as soon as its version differs from ``version``, or after ``timeout_s`` seconds."""
        with self.presence_moved.watched() as event:
            if self.presence_version == version and not self.closing:
                await wait(event, timeout_s)
        return self.presence_version, self._states

    def set_presence(self, client: str, state: Mapping[str, Any], ttl_s: float, principal: str) -> None:
        """Set the presence of a client, on behalf of a principal."""
        self.coordinator.presence.set(client, state, ttl_s=ttl_s, owner=principal)
        self._expiry_changed.set()

    async def _follow(self) -> None:
        with self._coordinator_moved.watched() as event:
            while True:
                event.clear()
                await self._refresh_storage()
                await event.wait()

    async def _refresh_storage(self) -> None:
        if self._storage is not None:
            await self.with_store(self._storage.refresh)
        self.moved.notify()

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            if self.users:
                try:
                    await self.with_store(self.coordinator.catch_up)
                except (GraftError, Overloaded) as error:
                    _log.warning("document %s: %s", self.name, error)

    def _presence_changed(self, states: States) -> None:
        """Take changed presence; called in the thread that changed it."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._show_presence, states)

    def _show_presence(self, states: States) -> None:
        self._states = states
        self.presence_version += 1
        self.presence_moved.notify()

    async def _expire_presence(self) -> None:
        while True:
            await wait(self._expiry_changed, self.coordinator.presence.expire())
            self._expiry_changed.clear()


def _close(coordinator: Coordinator) -> None:
    is_blank = coordinator.is_blank
    coordinator.close()
    if is_blank:
        shutil.rmtree(coordinator.directory, ignore_errors=True)
