"""Runs the app under uvicorn: one process, clean shutdown.

SIGTERM or Ctrl-C stops new connections, tells clients that the server stops, and closes the documents; everything that
they have acknowledged is durable. A second Ctrl-C stops without waiting.
"""

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import uvicorn
from starlette.applications import Starlette

from graft.disk.locks import FileLock
from graft.errors import BadRequest, local_errors, remote_errors
from graft.remote.address import parse_remote
from graft.remote.remote import opened_remote, require_safe
from graft_server.app import create_app
from graft_server.descriptors import raise_limit
from graft_server.maintenance import Maintenance
from graft_server.modules import load_module
from graft_server.reducers import LoadReducer
from graft_server.settings import ServerSettings
from sqlsync.errors import DocumentBusy
from sqlsync.reducers.reducer import Reducer

_GRACE_S = 10


class Server(uvicorn.Server):
    """Calls back once it listens, and makes clients leave before it waits for them."""

    def __init__(self, app: Starlette, *, message_bytes_max: int, on_ready: Callable[[], None] | None = None) -> None:
        """Serve the app that `create_app` returned."""
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                ws="websockets-sansio",
                ws_max_size=message_bytes_max,
                timeout_graceful_shutdown=_GRACE_S,
            )
        )
        self._state = app.state
        self._on_ready = on_ready

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Shut down on SIGTERM and Ctrl-C, and return normally; uvicorn would raise the signal again afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen."""
        await super().startup(sockets)
        if self.started and self._on_ready is not None:
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Shut down."""
        self._state.host.dismiss()
        await super().shutdown(sockets)


def serve(
    settings: ServerSettings,
    *,
    load_reducer: LoadReducer = load_module,
    host: str = "127.0.0.1",
    port: int = 8787,
    reducer: Reducer | None = None,
    on_ready: Callable[[str], None],
) -> None:
    """Serve until SIGTERM or Ctrl-C; calls ``on_ready`` with the server's URL once it listens.

    Raises `BadRequest`, `DocumentBusy` if another server uses the directory, `LocalStorageError` if it cannot listen on
    the address, and the errors of graft for the remote.
    """
    address = parse_remote(settings.remote)
    if address.volume is not None:
        raise BadRequest(f"{address} names a volume; a server needs a whole store, as in {address.store_url}")
    with local_errors(f"opening {settings.directory}"):
        settings.directory.mkdir(parents=True, exist_ok=True)
    raise_limit()
    lock = FileLock(settings.directory / "server.lock", f"the server in {settings.directory}")
    with closing(lock), opened_remote(address.store_url, settings=settings.replica) as remote:
        if not lock.try_acquire():
            raise DocumentBusy(f"another server has {settings.directory} open")
        with remote_errors("checking the remote"):
            require_safe(remote)
        with local_errors(f"listening on {host}:{port}"):
            listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        with listener:
            shown = f"[{host}]" if ":" in host else host
            url = f"http://{shown}:{listener.getsockname()[1]}"
            app = create_app(settings, remote.store, load_reducer, reducer=reducer)
            bytes_max = settings.message_bytes_max
            with Maintenance(address, remote.store, settings.maintain_every_s, settings.replica):
                Server(app, message_bytes_max=bytes_max, on_ready=lambda: on_ready(url)).run([listener])
