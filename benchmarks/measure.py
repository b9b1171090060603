"""Runs scenarios: prepare once per system, then round after round with the systems alternating.

No machine is ever quiet. What disturbs one round disturbs all systems in it alike, so the medians of one run compare.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from benchmarks.rows import Reading, Row, summed_up
from testbed.memory import rss_anon_bytes

_SAMPLE_S = 0.02

Told = Callable[[str], None]
"""Receives a line that says what is being done."""


class Measured(Protocol):
    """The part of a scenario that this module needs."""

    @property
    def name(self) -> str:
        """The name on the command line."""
        ...

    @property
    def systems(self) -> tuple[str, ...]:
        """The systems that take part, if they can run here."""
        ...


class Compared(Protocol):
    """The part of a system that this module needs."""

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables that the measured process needs."""
        ...


@dataclass(frozen=True, slots=True)
class Suite:
    """What the scenarios of one command have in common."""

    worker: str
    """The module that the measured processes run."""
    systems: Mapping[str, Compared]
    """The systems that can run on this machine, by name."""
    rounds: int
    sizes: Mapping[str, object]
    """How much the worker has to do; see `benchmarks.worker.Task.sizes`."""
    facts: Mapping[str, object] = field(default_factory=dict)
    """Other values for the worker, such as a port."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of all measured processes."""
    watches_memory: bool = True
    """Whether each process gets the metric ``rss_anon_bytes``."""


def measure(scenarios: Sequence[Measured], directory: Path, suite: Suite, told: Told) -> Iterator[list[Row]]:
    """Measure each scenario with all its systems in ``directory``, and yield its rows.

    Raises if a measured process fails.
    """
    for scenario in scenarios:
        systems = [name for name in scenario.systems if name in suite.systems]
        told(f"{scenario.name}: preparing")
        _in_process("prepare", scenario, systems, directory, suite)
        readings: list[tuple[str, Reading]] = []
        for number, system in alternating(systems, suite.rounds):
            told(f"{scenario.name}: round {number} of {suite.rounds}, {system}")
            found = _in_process("run", scenario, [system], directory, suite)
            readings.extend((system, reading) for reading in found)
        yield summed_up(readings)


def alternating(systems: Sequence[str], rounds: int) -> Iterator[tuple[int, str]]:
    """Yield every system once per round; each round starts with a different one."""
    for number in range(rounds):
        start = number % max(len(systems), 1)
        for system in (*systems[start:], *systems[:start]):
            yield number + 1, system


def _in_process(
    action: str, scenario: Measured, systems: Sequence[str], directory: Path, suite: Suite
) -> list[Reading]:
    shared = directory / "shared"
    shared.mkdir(exist_ok=True)
    task = {
        "action": action,
        "scenario": scenario.name,
        "systems": list(systems),
        "directory": str(directory / scenario.name),
        "shared": str(shared),
        "sizes": suite.sizes,
        "facts": suite.facts,
    }
    environment = {name: value for name, value in os.environ.items() if name != "GRAFT_PURE"}
    environment.update(suite.environment)
    if action == "run":
        environment.update(suite.systems[systems[0]].environment)
    with subprocess.Popen(
        [sys.executable, "-m", suite.worker],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    ) as process:
        assert process.stdin is not None, "BUG: no pipe"
        assert process.stdout is not None, "BUG: no pipe"
        try:
            process.stdin.write(json.dumps(task))
            process.stdin.close()
            anon_peak = _watched(process)
        except BaseException:
            process.kill()
            raise
        answer = process.stdout.read()
    if process.returncode:
        raise RuntimeError(
            f"{action} of {scenario.name} with {', '.join(systems)} failed with exit status {process.returncode}"
        )
    readings = [Reading(**reading) for reading in json.loads(answer)]
    if readings and anon_peak and suite.watches_memory:
        readings.append(Reading(scenario.name, "rss_anon_bytes", anon_peak))
    return readings


def _watched(process: "subprocess.Popen[str]") -> int:
    """Wait for a process and return the peak of its anonymous memory, sampled from outside, so as not to disturb it."""
    peak = 0
    while True:
        peak = max(peak, rss_anon_bytes(process.pid))
        try:
            process.wait(_SAMPLE_S)
        except subprocess.TimeoutExpired:
            continue
        return peak
