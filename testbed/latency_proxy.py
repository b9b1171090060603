"""A proxy on loopback that delays requests and records them: ``python -m …latency_proxy HOST:PORT``.

    client ── keep-alive ──▶ proxy: wait ──▶ forward, byte for byte ──▶ server

A request waits once, between its head and everything else, as on a network whose round trip takes that long; the time
that the server takes is added, the time that the proxy takes is not: a request is forwarded a little early, and the
reply is held until the wait is over. A client that sends ``Expect: 100-continue`` waits twice, as it would there.
Connections cost nothing, and bandwidth is the machine's. Heads are forwarded as they came, ``Host`` included, since
S3's signatures cover them.

Prints the ports of the proxy and of its control connection. That takes one JSON object a line and answers each:
``{"latency_ms": 20}`` sets the wait, and with ``"slow_every": 50, "slow_ms": 400`` that of each fiftieth read;
``{"clear": true}`` forgets the requests, ``{"report": true}`` tells them.
"""

import json
import select
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BufferedReader

from testbed.shared_server import HOST
from testbed.traffic import SeenRequest

_CHUNK_BYTES = 256 * 1024
_HEAD_START_S = 0.001
"""A request is forwarded this long before its wait ends: about the time that the proxy itself takes."""
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_BODILESS = frozenset({204, 304})


@dataclass(slots=True)
class Proxy:
    """What all connections share."""

    upstream: tuple[str, int]
    latency_s: float = 0.0
    slow_every: int = 0
    """Every ``slow_every``-th read waits ``slow_s``; 0: none."""
    slow_s: float = 0.0
    reads: int = 0
    seen: list[SeenRequest] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)  # guards seen and reads

    def note(self, request: SeenRequest) -> None:
        """Record a request."""
        with self.lock:
            self.seen.append(request)

    def wait_s(self, method: str) -> float:
        """Return how long a request has to wait."""
        if method != "GET":
            return self.latency_s
        with self.lock:
            self.reads += 1
            is_slow = self.slow_every and self.reads % self.slow_every == 0
        return self.slow_s if is_slow else self.latency_s

    def obey(self, order: dict[str, object]) -> object:
        """Carry out a command from the control connection."""
        latency_ms = order.get("latency_ms")
        if isinstance(latency_ms, int | float):
            self.latency_s = latency_ms / 1000
        slow_every, slow_ms = order.get("slow_every", 0), order.get("slow_ms", 0)
        if isinstance(slow_every, int) and isinstance(slow_ms, int | float):
            self.slow_every, self.slow_s, self.reads = slow_every, slow_ms / 1000, 0
        with self.lock:
            if order.get("clear"):
                self.seen = []
            return self.seen if order.get("report") else []


@dataclass(slots=True)
class _Head:
    """The head of a request or reply."""

    raw: bytes
    first_line: list[str]
    fields: dict[str, str]

    @property
    def body_bytes(self) -> int | None:
        """None: the head does not say."""
        told = self.fields.get("content-length")
        return int(told) if told is not None else None

    @property
    def is_chunked(self) -> bool:
        return self.fields.get("transfer-encoding", "").lower() == "chunked"

    @property
    def is_last(self) -> bool:
        return self.fields.get("connection", "").lower() == "close"

    def without(self, name: str) -> bytes:
        lines = self.raw.split(b"\r\n")
        return b"\r\n".join(line for line in lines if not line.lower().startswith(name.encode() + b":"))


class _Side:
    """A socket with a reader."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = connection
        self.reader = BufferedReader(connection.makefile("rb", buffering=0), _CHUNK_BYTES)

    def head(self) -> tuple[_Head, float] | None:
        """Read a head; return it with the time of its first bytes, or None at the end of the connection."""
        lines = [self.reader.readline()]
        begun_s = time.monotonic()
        while lines[-1] not in {b"\r\n", b""}:
            lines.append(self.reader.readline())
        if lines[-1] == b"":
            return None
        fields = (line.decode("latin-1").partition(":") for line in lines[1:-1])
        named = {name.strip().lower(): value.strip() for name, _, value in fields}
        return _Head(b"".join(lines), lines[0].decode("latin-1").split(), named), begun_s

    def body(self, count: int) -> Iterator[bytes]:
        """Read ``count`` bytes, yielding pieces as they arrive."""
        while count:
            piece = self.reader.read1(min(count, _CHUNK_BYTES))
            if not piece:
                raise ConnectionError("cut off in a body")
            count -= len(piece)
            yield piece

    def chunked(self) -> Iterator[bytes]:
        """Read a body in chunks, framing included."""
        while True:
            line = self.reader.readline()
            size = int(line.split(b";")[0], 16)
            yield line + self.reader.read(size + 2)
            if not size:
                return

    def is_spent(self) -> bool:
        """Return whether the other side has closed an idle connection."""
        return bool(select.select([self.socket], [], [], 0)[0])

    def close(self) -> None:
        self.reader.close()
        self.socket.close()


class _Connection:
    """One client, served by one thread over one connection to the server."""

    def __init__(self, proxy: Proxy, client: socket.socket) -> None:
        self._proxy = proxy
        self._client = _Side(client)
        self._server: _Side | None = None

    def serve(self) -> None:
        try:
            while self._one():
                pass
        except (OSError, ValueError):
            pass  # the side that is left notices the closed connection
        finally:
            self._client.close()
            if self._server is not None:
                self._server.close()

    def _one(self) -> bool:
        came = self._client.head()
        if came is None:
            return False
        head, begun_s = came
        if head.is_chunked:
            raise ValueError("a request in chunks: no S3 client here sends any")
        wait_s = self._proxy.wait_s(head.first_line[0])
        _sleep_until(begun_s + wait_s - _HEAD_START_S)
        server = self._opened()
        server.socket.sendall(head.without("expect"))
        early_s = begun_s + wait_s - time.monotonic()
        if "expect" in head.fields:
            self._client.socket.sendall(_CONTINUE)
            time.sleep(self._proxy.latency_s)
        for piece in self._client.body(head.body_bytes or 0):
            server.socket.sendall(piece)
        answered = server.head()
        if answered is None:
            raise ConnectionError("the server ended the connection")
        reply, answered_s = answered
        self._relay(head, reply, server, begun_s, not_before_s=answered_s + early_s)
        return not (reply.is_last or head.is_last)

    def _opened(self) -> _Side:
        if self._server is not None and self._server.is_spent():
            self._server.close()
            self._server = None
        if self._server is None:
            self._server = _Side(socket.create_connection(self._proxy.upstream))
        return self._server

    def _relay(self, head: _Head, reply: _Head, server: _Side, begun_s: float, *, not_before_s: float) -> None:
        """Forward the reply; the request is recorded before the reply's last bytes are sent."""
        method, target = head.first_line[:2]
        status = int(reply.first_line[1])
        down = 0
        waiting = reply.raw
        for piece in self._pieces(method, status, reply, server):
            _sleep_until(not_before_s)
            self._client.socket.sendall(waiting)
            waiting = piece
            down += len(piece)
        _sleep_until(not_before_s)
        up = head.body_bytes or 0
        self._proxy.note(SeenRequest(method, target, status, begun_s, time.monotonic(), up, down))
        self._client.socket.sendall(waiting)

    @staticmethod
    def _pieces(method: str, status: int, reply: _Head, server: _Side) -> Iterator[bytes]:
        if method == "HEAD" or status in _BODILESS:
            return iter(())
        return server.chunked() if reply.is_chunked else server.body(reply.body_bytes or 0)


def _sleep_until(moment_s: float) -> None:
    """Sleep until a moment by the monotonic clock."""
    time.sleep(max(moment_s - time.monotonic(), 0))


def _accept(listener: socket.socket, proxy: Proxy) -> None:
    while True:
        client, _ = listener.accept()
        threading.Thread(target=_Connection(proxy, client).serve, daemon=True).start()


def _control(listener: socket.socket, proxy: Proxy) -> None:
    while True:
        commander, _ = listener.accept()
        threading.Thread(target=_obey, args=(commander, proxy), daemon=True).start()


def _obey(commander: socket.socket, proxy: Proxy) -> None:
    with commander, commander.makefile("rw") as lines:
        for line in lines:
            lines.write(json.dumps(proxy.obey(json.loads(line))) + "\n")
            lines.flush()


def main() -> None:
    """Serve until the input ends: the proxy ends with the process that started it."""
    host, _, port = sys.argv[1].rpartition(":")
    proxy = Proxy((host, int(port)))
    with socket.create_server((HOST, 0), backlog=128) as served, socket.create_server((HOST, 0)) as controlled:
        threading.Thread(target=_accept, args=(served, proxy), daemon=True).start()
        threading.Thread(target=_control, args=(controlled, proxy), daemon=True).start()
        sys.stdout.write(f"{served.getsockname()[1]} {controlled.getsockname()[1]}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
