"""The scenarios of ``python -m benchmarks remote``: this project against a bucket behind a slow network."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.remote.bare import Bare
from benchmarks.remote.command import SqlCold
from benchmarks.remote.following import PullNoop, PullOne
from benchmarks.remote.fragmented import ScanFragmented, Warm
from benchmarks.remote.opening import CloneAfterPushes, ColdOpen, PullAfterPushes, TimeTravelOpen
from benchmarks.remote.pushing import PUSH_ROLLUP, PUSH_SMALL, PushBulk
from benchmarks.remote.reading import COLD_LOOKUP, COLD_RANGE, COLD_SCAN, Hydrate
from benchmarks.remote.scenario import Place
from benchmarks.remote.tail import Tail
from benchmarks.scenario import Scenario
from testbed.latency import ProxyAddress, latency_proxy
from testbed.s3_servers import FAKE_AWS, seaweedfs
from testbed.shared_server import shared_server

_ALL: tuple[Scenario[Place], ...] = (
    Bare(),
    PUSH_SMALL,
    PUSH_ROLLUP,
    PushBulk(),
    ColdOpen(),
    COLD_LOOKUP,
    COLD_RANGE,
    COLD_SCAN,
    Hydrate(),
    PullNoop(),
    PullOne(),
    CloneAfterPushes(),
    PullAfterPushes(),
    TimeTravelOpen(),
    ScanFragmented(),
    Warm(),
    SqlCold(),
    Tail(),
)

SCENARIOS = {scenario.name: scenario for scenario in _ALL}
"""By name, in the order in which they run."""


@contextmanager
def slow_server(directory: Path) -> Iterator[ProxyAddress]:
    """Run a fresh S3 server behind a latency proxy for a block; it stores its data in ``directory``."""
    with ExitStack() as stack:
        data = stack.enter_context(TemporaryDirectory(prefix="server-", dir=directory))
        endpoint = stack.enter_context(shared_server(Path(data), seaweedfs()))
        yield stack.enter_context(latency_proxy(endpoint))


def environment(proxy: ProxyAddress) -> dict[str, str]:
    """Return the variables that point measured processes to the server, with fake credentials."""
    return FAKE_AWS | {"AWS_ENDPOINT_URL": proxy.endpoint}
