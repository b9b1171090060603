"""Starts and controls the latency proxy."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from testbed.shared_server import HOST
from testbed.traffic import SeenRequest


@dataclass(frozen=True, slots=True)
class ProxyAddress:
    """The address of a running proxy."""

    port: int
    control_port: int

    @property
    def endpoint(self) -> str:
        """The endpoint for an S3 client."""
        return f"http://{HOST}:{self.port}"


@contextmanager
def latency_proxy(upstream: str) -> Iterator[ProxyAddress]:
    """Run a proxy to an http://host:port, without latency at first, while a block runs."""
    command = [sys.executable, "-m", "testbed.latency_proxy", urlsplit(upstream).netloc]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None, "BUG: no pipe"
            port, control_port = process.stdout.readline().split()
            yield ProxyAddress(int(port), int(control_port))
        finally:
            process.kill()


class ProxyControl:
    """A control connection to the proxy."""

    def __init__(self, control_port: int) -> None:
        """Connect."""
        self._socket = socket.create_connection((HOST, control_port))
        self._lines = self._socket.makefile("rw")

    def begin(self, latency_ms: float, *, slow_every: int = 0, slow_ms: float = 0.0) -> None:
        """Forget all requests; delay each new one by ``latency_ms``, every ``slow_every``-th read by ``slow_ms``."""
        self._do({"latency_ms": latency_ms, "clear": True, "slow_every": slow_every, "slow_ms": slow_ms})

    def end(self) -> list[SeenRequest]:
        """Stop delaying requests, and return those seen since `begin`."""
        return [SeenRequest(*request) for request in self._do({"latency_ms": 0, "report": True})]

    def close(self) -> None:
        """Disconnect."""
        self._lines.close()
        self._socket.close()

    def _do(self, order: dict[str, Any]) -> Any:
        self._lines.write(json.dumps(order) + "\n")
        self._lines.flush()
        return json.loads(self._lines.readline())
