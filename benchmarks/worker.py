"""A measured process: it reads one task from its input and writes readings to its output.

Each measurement has its own process, so that no cache and no memory of one counts in another. What is prepared for
several systems is prepared in one process. `benchmarks.measure` starts the worker of a suite.
"""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.rows import Reading
from benchmarks.scenario import Scenario

PlaceT = TypeVar("PlaceT")


@dataclass(frozen=True, slots=True)
class Task:
    """The task of a measured process, for one system."""

    system: str
    directory: Path
    """Private to this scenario and system; what `prepare` creates here stays for all rounds."""
    shared: Path
    """Shared by all scenarios of the suite."""
    sizes: dict[str, Any]
    """Fields of the suite's sizes class."""
    facts: dict[str, Any]


def work(
    scenarios: Mapping[str, Scenario[PlaceT]],
    place_of: Callable[[Task], PlaceT],
    *,
    at_end: Callable[[str], list[Reading]] = lambda _scenario: [],
) -> None:
    """Do the task read from standard input; after each run, ``at_end`` returns further readings."""
    told: dict[str, Any] = json.load(sys.stdin)
    scenario = scenarios[told["scenario"]]
    sizes = {name: tuple(value) if isinstance(value, list) else value for name, value in told["sizes"].items()}
    readings: list[Reading] = []
    for system in told["systems"]:
        task = Task(system, Path(told["directory"]) / system, Path(told["shared"]), sizes, told["facts"])
        task.directory.mkdir(parents=True, exist_ok=True)
        place = place_of(task)
        if told["action"] == "prepare":
            scenario.prepare(place)
        else:
            readings.extend(scenario.run(place))
            readings.extend(at_end(scenario.name))
    json.dump([asdict(reading) for reading in readings], sys.stdout)
