"""A measured process of `python -m benchmarks remote`."""

from benchmarks.remote.scenario import Place
from benchmarks.remote.sizes import RemoteSizes
from benchmarks.remote.suite import SCENARIOS
from benchmarks.worker import Task, work
from testbed.latency import ProxyControl


def _place(task: Task) -> Place:
    control = ProxyControl(int(task.facts["control_port"]))
    return Place(task.system, task.directory, task.shared, RemoteSizes(**task.sizes), control)


if __name__ == "__main__":
    work(SCENARIOS, _place)
