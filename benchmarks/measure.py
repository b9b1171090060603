"""Runs scenarios: prepare once per system, then round after round with the systems alternating.

Machines are never quiet: what disturbs one round disturbs all systems in it alike, and the medians of a run compare.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.memory import rss_anon_bytes
from benchmarks.rows import Reading, Row, summed_up
from benchmarks.scenarios.scenario import Scenario
from benchmarks.sizes import Sizes, as_json
from benchmarks.systems import SYSTEMS

_SAMPLE_S = 0.02

Told = Callable[[str], None]
"""Takes what is being done."""


def measure(scenarios: Sequence[Scenario], directory: Path, sizes: Sizes, told: Told) -> list[Row]:
    """Measure the scenarios with all their systems in ``directory``; raises if a measured process fails."""
    rows: list[Row] = []
    for scenario in scenarios:
        systems = [name for name in scenario.systems if name in SYSTEMS]
        told(f"{scenario.name}: preparing")
        _in_process("prepare", scenario, systems, directory, sizes)
        readings: list[tuple[str, Reading]] = []
        for number, system in alternating(systems, sizes.rounds):
            told(f"{scenario.name}: round {number} of {sizes.rounds}, {system}")
            found = _in_process("run", scenario, [system], directory, sizes)
            readings.extend((system, reading) for reading in found)
        rows.extend(summed_up(readings))
    return rows


def alternating(systems: Sequence[str], rounds: int) -> Iterator[tuple[int, str]]:
    """Yield every system once per round, each round beginning with another one."""
    for number in range(rounds):
        start = number % max(len(systems), 1)
        for system in (*systems[start:], *systems[:start]):
            yield number + 1, system


def _in_process(
    action: str, scenario: Scenario, systems: Sequence[str], directory: Path, sizes: Sizes
) -> list[Reading]:
    shared = directory / "shared"
    shared.mkdir(exist_ok=True)
    task = {
        "action": action,
        "scenario": scenario.name,
        "systems": list(systems),
        "directory": str(directory / scenario.name),
        "shared": str(shared),
        "sizes": as_json(sizes),
    }
    environment = {name: value for name, value in os.environ.items() if name != "GRAFT_PURE"}
    if action == "run":
        environment.update(SYSTEMS[systems[0]].environment)
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    ) as process:
        assert process.stdin is not None, "BUG: no pipe"
        assert process.stdout is not None, "BUG: no pipe"
        process.stdin.write(json.dumps(task))
        process.stdin.close()
        anon_peak = _watched(process)
        answer = process.stdout.read()
    if process.returncode:
        raise RuntimeError(
            f"{action} of {scenario.name} with {', '.join(systems)} failed with exit status {process.returncode}"
        )
    readings = [Reading(**reading) for reading in json.loads(answer)]
    if readings and anon_peak:
        readings.append(Reading(scenario.name, "rss_anon_bytes", anon_peak))
    return readings


def _watched(process: "subprocess.Popen[str]") -> int:
    """Wait for a process and return the peak of its anonymous memory, seen from outside so as not to disturb it."""
    peak = 0
    while True:
        peak = max(peak, rss_anon_bytes(process.pid))
        try:
            process.wait(_SAMPLE_S)
        except subprocess.TimeoutExpired:
            continue
        return peak
