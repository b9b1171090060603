"""A reverse proxy on loopback that injects chosen faults.

    with FaultyProxy("http://127.0.0.1:9000") as proxy:
        proxy.faults += [Status(503, "SlowDown"), LostReply()]  # for the next two requests only
        proxy.drop_headers = {"if-none-match"}                  # for every request
        …
        assert [request.method for request in proxy.requests] == ["PUT", "PUT", "PUT"]

Each connection serves one request, so that nothing stays open. The upstream server must not check signatures.
"""

import gzip
import http.client
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

from testbed.patience import PATIENCE_S
from testbed.shared_server import HOST


@dataclass(frozen=True)
class Status:
    """Answer with an S3 error; the server behind never sees the request."""

    status: int
    code: str = "Fault"
    headers: dict[str, str] = field(default_factory=dict)
    message: str = "told to"


@dataclass(frozen=True)
class Page:
    """Answer with a body that is no S3 error: what gateways, proxies and login pages send."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Closed:
    """Close the connection without having done anything."""


@dataclass(frozen=True)
class LostReply:
    """Forward the request, then close the connection instead of replying."""


@dataclass(frozen=True)
class Truncated:
    """Announce the whole body, but send only this many bytes."""

    keep_bytes: int


@dataclass(frozen=True)
class Changed:
    """Change status or headers of the reply (None removes one); bodies stay."""

    status: int | None = None
    headers: dict[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Compressed:
    """Compress the body, as some proxies do."""


@dataclass(frozen=True)
class Held:
    """Hold the request until ``go_on`` is set."""

    go_on: threading.Event


@dataclass(frozen=True)
class Passed:
    """No fault: let this request through."""


Fault = Status | Page | Closed | LostReply | Truncated | Changed | Compressed | Held | Passed


@dataclass(frozen=True)
class SeenRequest:
    """A request, as the proxy got it."""

    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case, as they came."""


class FaultyProxy:
    """Forwards to ``upstream`` (an http://host:port)."""

    def __init__(self, upstream: str) -> None:
        """Listen; requests are answered from ``with`` on."""
        self.faults: deque[Fault] = deque()
        """What happens to the next requests, one each."""
        self.always: Fault | None = None
        """The fault of every request for which ``faults`` has none."""
        self.drop_headers: set[str] = set()
        """Request headers, in lower case, that are not forwarded."""
        self.requests: list[SeenRequest] = []
        self.held: list[SeenRequest] = []
        """Requests that are held now."""
        self.url = ""
        """The store's URL through the proxy; the fixture sets it."""
        self._upstream = urlsplit(upstream).netloc
        self._server = _Server((HOST, 0), _Handler, self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def endpoint(self) -> str:
        """The endpoint for an S3 client."""
        return f"http://{HOST}:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def forward(self, request: SeenRequest, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Forward a request, and return status, headers and body of the reply."""
        connection = http.client.HTTPConnection(self._upstream, timeout=PATIENCE_S)
        try:
            unwanted = self.drop_headers | {"expect", "connection"}
            headers = {name: value for name, value in request.headers.items() if name not in unwanted}
            connection.request(request.method, request.path, body=body, headers=headers)
            reply = connection.getresponse()
            return reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()
        finally:
            connection.close()

    def next_fault(self) -> Fault:
        """Return the fault of the next request."""
        try:
            return self.faults.popleft()
        except IndexError:
            return self.always or Passed()


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler], proxy: FaultyProxy) -> None:
        super().__init__(address, handler)
        self.proxy = proxy

    def handle_error(self, *_: object) -> None:
        """Ignore clients that hang up."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = PATIENCE_S
    server: _Server

    def do_any(self) -> None:
        proxy = self.server.proxy
        seen = SeenRequest(self.command, self.path, {name.lower(): value for name, value in self.headers.items()})
        body = self.rfile.read(int(seen.headers.get("content-length", 0)))
        proxy.requests.append(seen)
        self.close_connection = True
        fault = proxy.next_fault()
        match fault:
            case Closed():
                return
            case Held(go_on):
                proxy.held.append(seen)
                go_on.wait(self.timeout)
                proxy.held.remove(seen)
            case Page(status, page, headers):
                self._reply(status, {"content-length": str(len(page))} | headers, page)
                return
            case Status(status, code, headers, message):
                error = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
                xml = {"content-type": "application/xml", "content-length": str(len(error))}
                self._reply(status, xml | headers, error)
                return
        status, headers, reply = proxy.forward(seen, body)
        match fault:
            case LostReply():
                return
            case Truncated(keep_bytes):
                self._reply(status, headers, reply, keep_bytes)
                return
            case Changed(new_status, changes):
                status = new_status or status
                headers = {name: value for name, value in {**headers, **changes}.items() if value is not None}
            case Compressed():
                reply = gzip.compress(reply)
                headers = headers | {"content-encoding": "gzip", "content-length": str(len(reply))}
        self._reply(status, headers, reply)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_any  # noqa: N815 - http.server's names

    def _reply(self, status: int, headers: Mapping[str, str], body: bytes, keep_bytes: int | None = None) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name not in {"connection", "transfer-encoding"}:
                self.send_header(name, value)
        self.send_header("connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body if keep_bytes is None else body[:keep_bytes])
        self.wfile.flush()

    def log_message(self, *_: Any) -> None:
        """Log nothing."""
