"""One server process shared by all test processes of a run, started by the first and ended by the last.

{directory}/lock     locked exclusively by the process that starts or ends the server
{directory}/users    locked shared by each user while it needs the server; the lock of a killed user is released
{directory}/state    endpoint and pid of the running server
"""

import fcntl
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
READY_S_MAX = 60
START_TRIES = 3
"""More than one, since a port that was free a moment ago may be taken."""

_started: dict[int, subprocess.Popen[bytes]] = {}
"""Servers that this process started, by pid; one may outlive the process if another still uses it."""


@dataclass(frozen=True)
class ServerSpec:
    """How to start a server in a directory."""

    command: Callable[[Path, int], Sequence[str | Path]]
    """From the data directory and the port."""
    is_ready: Callable[[str], bool]
    """From the endpoint."""
    env: dict[str, str]


@contextmanager
def shared_server(directory: Path, spec: ServerSpec) -> Iterator[str]:
    """Yield the endpoint of the server that lives in ``directory``."""
    directory.mkdir(exist_ok=True)
    with (directory / "users").open("wb") as users:
        with _locked(directory):
            fcntl.flock(users, fcntl.LOCK_SH)
            endpoint = _running_endpoint(directory) or _start(directory, spec)
        try:
            yield endpoint
        finally:
            with _locked(directory):
                try:
                    fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    pass  # the last user ends it
                else:
                    _stop(directory)


def free_ports(count: int, *, also_offset: int) -> list[int]:
    """Return free ports, below the range that the kernel hands out for connections.

    ``port + also_offset`` is free as well (SeaweedFS opens port+10000 beside each port).
    """
    with ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            port = random.randrange(10_000, 22_000)
            if _hold(held, port) and _hold(held, port + also_offset):
                ports.append(port)
        return ports


def _hold(held: ExitStack, port: int) -> bool:
    listener = held.enter_context(socket.socket())
    try:
        listener.bind((HOST, port))
    except OSError:
        return False
    return True


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    with (directory / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _running_endpoint(directory: Path) -> str | None:
    state = directory / "state"
    return json.loads(state.read_bytes())["endpoint"] if state.exists() else None


def _start(directory: Path, spec: ServerSpec) -> str:
    data = directory / "data"
    log = directory / "log"
    for _ in range(START_TRIES):
        data.mkdir(exist_ok=True)
        [port] = free_ports(1, also_offset=10_000)
        endpoint = f"http://{HOST}:{port}"
        with log.open("wb") as output:
            server = subprocess.Popen(
                spec.command(data, port), stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=spec.env
            )
        _started[server.pid] = server
        (directory / "state").write_text(json.dumps({"endpoint": endpoint, "pid": server.pid}))
        try:
            if _becomes_ready(server, spec, endpoint):
                return endpoint
        except BaseException:
            _stop(directory)
            raise
        _stop(directory)
    raise RuntimeError(f"no server came up in {START_TRIES} tries: {log.read_text(errors='replace')[-2000:]}")


def _becomes_ready(server: subprocess.Popen[bytes], spec: ServerSpec, endpoint: str) -> bool:
    deadline_s = time.monotonic() + READY_S_MAX
    while server.poll() is None and time.monotonic() < deadline_s:
        if spec.is_ready(endpoint):
            return True
        time.sleep(0.05)
    return False


def _stop(directory: Path) -> None:
    """Kill the server (SeaweedFS takes half a minute to end on a signal) and drop its data."""
    state = directory / "state"
    pid = json.loads(state.read_bytes())["pid"]
    state.unlink()
    ours = _started.pop(pid, None)
    if ours is None:
        os.kill(pid, signal.SIGKILL)
    else:
        ours.kill()
        ours.wait()
    shutil.rmtree(directory / "data", ignore_errors=True)
