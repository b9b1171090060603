"""That the remote benchmark runs on a real server, and says well-formed things; never that anything is fast."""

import json

import pytest

from benchmarks.__main__ import main
from benchmarks.remote.sizes import QUICK, RemoteSizes
from benchmarks.remote.suite import SCENARIOS
from benchmarks.remote.targets import TARGETS
from benchmarks.rows import UNITS

METRICS = {"seconds", "requests", "round_trips", "bytes_up", "bytes_down", "rss_growth_bytes"}


def rows_of(path, *arguments):
    assert main(["remote", "--quick", "--json", str(path / "rows.json"), *arguments]) == 0
    return json.loads((path / "rows.json").read_text())


def check(rows, names):
    for row in rows:
        assert UNITS[row["metric"]] == row["unit"]
        assert 0 <= row["min"] <= row["median"] <= row["max"]
        assert row["runs"] >= 1
    found = {}
    for row in rows:
        found.setdefault((row["scenario"], row["system"]), set()).add(row["metric"])
    assert all(metrics >= METRICS for metrics in found.values())
    assert {(scenario.partition("/")[0], system) for scenario, system in found} == {
        (name, system) for name in names for system in SCENARIOS[name].systems
    }
    return {scenario for scenario, _ in found}


@pytest.mark.real_s3
def test_a_push_and_a_cold_open(tmp_path, capsys):
    rows = rows_of(tmp_path, "--only", "bare", "push_small", "cold_open", "--latency-ms", "5")
    check(rows, ["bare", "push_small", "cold_open"])
    medians = {(row["scenario"], row["system"], row["metric"]): row["median"] for row in rows}
    for request in ("bare/put", "bare/get"):
        assert medians[request, "graft", "requests"] == 1
        assert medians[request, "graft", "seconds"] >= 0.005
    for system in ("graft", "graft-boto3"):
        assert medians["push_small", system, "requests"] == 1
        assert medians["push_small", system, "seconds"] >= 0.005
        assert medians["cold_open", system, "seconds"] >= 0.005 * medians["cold_open", system, "round_trips"]
    told = capsys.readouterr().out
    assert "push_small, requests" in told
    assert "push_small ÷ bare put, seconds" in told


@pytest.mark.long
@pytest.mark.real_s3
def test_everything(tmp_path):
    scenarios = check(rows_of(tmp_path, "--work", str(tmp_path / "work")), SCENARIOS)
    sizes = {str(pushes) for pushes in RemoteSizes().histories}
    for target in TARGETS:
        for cell in (target.value, target.against):
            if cell is not None and cell.scenario.replace("-", "/").rpartition("/")[2] not in sizes | {"0"}:
                assert cell.scenario in scenarios, target.what
    assert {f"clone_after_pushes/{pushes}" for pushes in QUICK.histories} <= scenarios
