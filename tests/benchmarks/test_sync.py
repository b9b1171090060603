"""That the benchmark of documents runs; of what it says, what counts bytes and round trips is asserted."""

import json

from benchmarks.__main__ import main
from benchmarks.rows import UNITS
from benchmarks.sync.suite import SCENARIOS
from benchmarks.sync.systems import SYSTEMS
from benchmarks.sync.targets import TARGETS


def test_one_quick_run_of_everything(tmp_path):
    path = tmp_path / "rows.json"
    assert main(["sqlsync", "--quick", "--json", str(path)]) == 0
    rows = json.loads(path.read_text())
    _every_scenario_has_every_system(rows)
    _every_target_names_a_metric_that_exists(rows)
    values = {(row["scenario"], row["system"], row["metric"]): row["max"] for row in rows}
    assert values["confirm", "python", "round_trips"] == 2
    for variant, most in (("range", 0.1), ("scattered", 0.5)):
        scenario = f"read_1_percent/{variant}"
        assert values[scenario, "python", "bytes_down"] < most * values[scenario, "python", "live_bytes"]


def _every_scenario_has_every_system(rows):
    found = {(row["scenario"].partition("/")[0], row["system"]) for row in rows}
    assert found == {(name, system) for name in SCENARIOS for system in SCENARIOS[name].systems if system in SYSTEMS}
    for row in rows:
        assert UNITS[row["metric"]] == row["unit"]
        assert 0 < row["min"] <= row["median"] <= row["max"]


def _every_target_names_a_metric_that_exists(rows):
    cells = {(row["scenario"].partition("/")[0], row["system"], row["metric"]) for row in rows}
    for target in TARGETS:
        for cell in (target.value, target.against):
            assert cell is None or (cell.scenario.partition("/")[0], cell.system, cell.metric) in cells, target.what
