"""A measured process of `python -m benchmarks remote`: reads a task from its input, writes readings to its output."""

import json
import sys
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.remote.scenario import Place
from benchmarks.remote.sizes import RemoteSizes
from benchmarks.remote.suite import SCENARIOS
from benchmarks.rows import Reading
from benchmarks.servers.latency import ProxyControl


def main() -> None:
    """Do the task."""
    task: dict[str, Any] = json.load(sys.stdin)
    scenario = SCENARIOS[task["scenario"]]
    told: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in task["sizes"].items()}
    readings: list[Reading] = []
    with closing(ProxyControl(int(task["facts"]["control_port"]))) as control:
        for system in task["systems"]:
            place = Place(system, Path(task["directory"]) / system, Path(task["shared"]), RemoteSizes(**told), control)
            place.directory.mkdir(parents=True, exist_ok=True)
            if task["action"] == "prepare":
                scenario.prepare(place)
            else:
                readings.extend(scenario.run(place))
    json.dump([asdict(reading) for reading in readings], sys.stdout)


if __name__ == "__main__":
    main()
