"""A measured process: ``python -m benchmarks.worker`` reads a task from its input and writes readings to its output.

Each measurement has its own process, so that neither caches nor the memory of one count in another; what is prepared
for several systems is prepared in one.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.local.scenario import Place
from benchmarks.local.sizes import Sizes
from benchmarks.local.suite import SCENARIOS
from benchmarks.local.systems import SYSTEMS
from benchmarks.memory import rss_peak_bytes
from benchmarks.rows import Reading


def main() -> None:
    """Do the task."""
    task: dict[str, Any] = json.load(sys.stdin)
    scenario = SCENARIOS[task["scenario"]]
    readings: list[Reading] = []
    for system in task["systems"]:
        place = Place(SYSTEMS[system], Path(task["directory"]) / system, Path(task["shared"]), Sizes(**task["sizes"]))
        place.directory.mkdir(parents=True, exist_ok=True)
        if task["action"] == "prepare":
            scenario.prepare(place)
        else:
            readings.extend(scenario.run(place))
            readings.append(Reading(scenario.name, "rss_bytes", rss_peak_bytes()))
    json.dump([asdict(reading) for reading in readings], sys.stdout)


if __name__ == "__main__":
    main()
