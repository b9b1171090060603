"""A measured process of `python -m benchmarks local`."""

from benchmarks.local.scenario import Place
from benchmarks.local.sizes import Sizes
from benchmarks.local.suite import SCENARIOS
from benchmarks.local.systems import SYSTEMS
from benchmarks.rows import Reading
from benchmarks.worker import Task, work
from testbed.memory import rss_peak_bytes


def _place(task: Task) -> Place:
    return Place(SYSTEMS[task.system], task.directory, task.shared, Sizes(**task.sizes))


def _memory(scenario: str) -> list[Reading]:
    return [Reading(scenario, "rss_bytes", rss_peak_bytes())]


if __name__ == "__main__":
    work(SCENARIOS, _place, at_end=_memory)
