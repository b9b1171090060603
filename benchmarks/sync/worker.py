"""A measured process of `python -m benchmarks sqlsync`."""

from benchmarks.sync.scenario import Place
from benchmarks.sync.sizes import SyncSizes
from benchmarks.sync.suite import SCENARIOS
from benchmarks.sync.systems import SYSTEMS
from benchmarks.worker import Task, work


def _place(task: Task) -> Place:
    return Place(SYSTEMS[task.system], task.directory, SyncSizes(**task.sizes))


if __name__ == "__main__":
    work(SCENARIOS, _place)
