"""What several tests of the server need: a server in a thread, a reducer that is found by digest, and clients."""

import contextlib
import hashlib
import socket
import threading
import time

import urllib3

from graft_server.app import create_app
from graft_server.runner import Server
from graft_server.settings import ServerSettings
from sqlsync.ids import base58
from testbed.patience import PATIENCE_S
from tests.graft import support as graft_support

MODULE = b"\0asm notes 1"
NEWER_MODULE = b"\0asm notes 2"
UPLOAD_TOKEN = "may upload"


class OpaqueNotes:
    """A reducer over mutations like ``put\\0key\\0value``, standing in for the WebAssembly module with its digest."""

    version = 0

    def __init__(self, module=MODULE):
        if b"notes" not in module:
            raise ValueError("it has no exports")
        self.digest = hashlib.sha256(module).digest()

    def migrate(self, context, version):
        raise AssertionError("there is no version")

    def check(self, mutation):
        pass

    def apply(self, context):
        name, *arguments = context.mutation.body.payload.decode().split("\0")
        context.execute("CREATE TABLE IF NOT EXISTS notes (key TEXT PRIMARY KEY, value TEXT, seed TEXT, time TEXT)")
        if name == "put":
            context.execute(
                "INSERT OR REPLACE INTO notes VALUES (?, ?, ?, ?)",
                (*arguments, str(context.mutation.seed), context.now.isoformat()),
            )
        elif name == "append":
            context.execute(
                "INSERT INTO notes (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = value || ?",
                (*arguments, arguments[1]),
            )
        elif name == "fill":
            context.execute(
                "INSERT INTO notes (key, value) WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n "
                "WHERE i < ?) SELECT ? || i, hex(zeroblob(1000)) FROM n",
                (int(arguments[1]), arguments[0]),
            )
        elif name == "index":
            context.execute("CREATE INDEX by_value ON notes (value)")
        elif name == "clear":
            context.execute("DELETE FROM notes")
        elif name == "reject":
            context.reject(arguments[0])


class RunningServer:
    """A server on a port of the loopback interface."""

    def __init__(self, directory, store, **chosen):
        self.store = store
        self._listener = socket.create_server(("127.0.0.1", chosen.pop("port", 0)))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        load_reducer = chosen.pop("load_reducer", OpaqueNotes)
        given = {"upload_token": UPLOAD_TOKEN, "poll_s": 0.05, **chosen}
        self.settings = ServerSettings(remote=store.url, directory=directory, **given)
        self.app = create_app(self.settings, store, load_reducer)
        self._server = Server(self.app, message_bytes_max=self.settings.message_bytes_max)
        self._thread = threading.Thread(target=self._server.run, args=([self._listener],), daemon=True)
        self._thread.start()

    @property
    def served(self):
        """The open documents."""
        return self.app.state.host._served

    def websocket_url(self, document, module=MODULE):
        return f"ws://127.0.0.1:{self.port}/doc/{document}?reducer={digest_of(module)}"

    def stop(self):
        self._server.should_exit = True
        self._thread.join()
        self._listener.close()


@contextlib.contextmanager
def running(directory, store=None, **chosen):
    server = RunningServer(directory, store or graft_support.fresh_store(), **chosen)
    try:
        yield server
    finally:
        server.stop()


def digest_of(module):
    return base58(hashlib.sha256(module).digest())


def ask(server, method, path, *, token=None, body=None):
    """Send a request; return the status and the text of the answer."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    response = urllib3.request(method, server.url + path, body=body, headers=headers, retries=False, timeout=PATIENCE_S)
    return response.status, response.data.decode()


def upload(server, module=MODULE, *, replaces=None):
    path = "/reducer" if replaces is None else f"/reducer?replaces={digest_of(replaces)}"
    status, text = ask(server, "PUT", path, token=UPLOAD_TOKEN, body=module)
    assert (status, text) == (200, f"{digest_of(module)}.wasm")


def wait_for(condition, seconds=300):
    """Wait until something holds that another thread brings about; the time only ends a test that hangs."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        threading.Event().wait(0.01)
