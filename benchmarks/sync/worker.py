"""A measured process of `python -m benchmarks sqlsync`: reads a task from its input, writes readings to its output."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.rows import Reading
from benchmarks.sync.scenario import Place
from benchmarks.sync.sizes import SyncSizes
from benchmarks.sync.suite import SCENARIOS
from benchmarks.sync.systems import SYSTEMS


def main() -> None:
    """Do the task."""
    task: dict[str, Any] = json.load(sys.stdin)
    scenario = SCENARIOS[task["scenario"]]
    told: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in task["sizes"].items()}
    readings: list[Reading] = []
    for system in task["systems"]:
        place = Place(SYSTEMS[system], Path(task["directory"]) / system, SyncSizes(**told))
        place.directory.mkdir(parents=True, exist_ok=True)
        if task["action"] == "prepare":
            scenario.prepare(place)
        else:
            readings.extend(scenario.run(place))
    json.dump([asdict(reading) for reading in readings], sys.stdout)


if __name__ == "__main__":
    main()
