"""Metrics of replicas for Prometheus, through its own client (the extra ``metrics``)."""

from collections.abc import Callable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest, start_http_server, write_to_textfile
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from graft.errors import local_errors
from graft.operations.metrics import metrics
from graft.replica.replica import Replica

HOST = "127.0.0.1"
PREFIX = "graft_"


class ReplicaCollector(Collector):
    """Collects metrics of open replicas on each scrape; register it beside your other collectors."""

    def __init__(self, *replicas: Replica) -> None:
        """Collect from replicas, which must stay open."""
        self._replicas = replicas

    def collect(self) -> Iterator[Metric]:
        """Yield a family for each metric, with a sample for each volume."""
        families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
        for replica in self._replicas:
            for metric in metrics(replica):
                family = families.get(metric.name)
                if family is None:
                    make = GaugeMetricFamily if metric.kind == "gauge" else CounterMetricFamily
                    families[metric.name] = family = make(PREFIX + metric.name, metric.help, labels=["volume"])
                family.add_metric([replica.name], metric.value)
        yield from families.values()


def as_text(*replicas: Replica) -> str:
    """Return the metrics in Prometheus's text format."""
    return generate_latest(_registry(*replicas)).decode()


def serve(replica: Replica, port: int) -> str:
    """Serve ``GET /metrics`` on the loopback interface from a thread, and return the address."""
    with local_errors(f"listening on {HOST}:{port}"):
        server, _ = start_http_server(port, HOST, _registry(replica))
    return f"http://{HOST}:{server.server_port}/metrics"


def keep_in_file(replica: Replica, path: Path) -> Callable[[], None]:
    """Return a function that writes the metrics to a file, atomically, for node_exporter."""
    registry = _registry(replica)

    def write() -> None:
        with local_errors(f"writing {path}"):
            write_to_textfile(str(path), registry)

    return write


def _registry(*replicas: Replica) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ReplicaCollector(*replicas))
    return registry
