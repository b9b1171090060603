"""That the benchmark runs, and that what it says is well-formed; never that anything is fast."""

import json

import pytest

from benchmarks.__main__ import main
from benchmarks.local.suite import SCENARIOS
from benchmarks.local.systems import SYSTEMS
from benchmarks.local.targets import TARGETS, judge
from benchmarks.measure import alternating
from benchmarks.report import quantity
from benchmarks.rows import UNITS, Reading, latencies, summed_up

KEYS = ["scenario", "system", "metric", "unit", "median", "min", "max", "runs"]


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """The rows of one quick run of everything."""
    path = tmp_path_factory.mktemp("rows") / "rows.json"
    assert main(["local", "--quick", "--json", str(path)]) == 0
    return json.loads(path.read_text())


def test_rows_are_well_formed(quick):
    for row in quick:
        assert list(row) == KEYS
        assert row["system"] in SYSTEMS
        assert UNITS[row["metric"]] == row["unit"]
        assert 0 < row["min"] <= row["median"] <= row["max"]
        assert row["runs"] >= 1


def test_every_scenario_has_every_system(quick):
    found = {(row["scenario"].partition("/")[0], row["system"]) for row in quick}
    assert found == {(name, system) for name in SCENARIOS for system in SCENARIOS[name].systems if system in SYSTEMS}


def test_every_target_names_rows_that_exist(quick):
    cells = {(row["scenario"], row["system"], row["metric"]) for row in quick}
    for target in TARGETS:
        for cell in (target.value, target.against):
            assert cell is None or (cell.scenario, cell.system, cell.metric) in cells, target.what


def test_one_scenario_alone(capsys):
    assert main(["local", "--quick", "--only", "convoy"]) == 0
    printed = capsys.readouterr().out
    assert "convoy" in printed
    assert "autocommit" not in printed


def test_unknown_scenario(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["local", "--only", "nothing"])
    assert stopped.value.code == 2
    assert "nothing" in capsys.readouterr().err


def test_every_system_once_per_round_and_not_always_first():
    order = list(alternating(["a", "b", "c"], 3))
    assert order == [
        (1, "a"), (1, "b"), (1, "c"), (2, "b"), (2, "c"), (2, "a"), (3, "c"), (3, "a"), (3, "b"),
    ]  # fmt: skip


def test_median_and_spread():
    (row,) = summed_up([("graft", Reading("scan", "seconds", value)) for value in (3.0, 1.0, 10.0)])
    assert (row.median, row.min, row.max, row.runs, row.unit) == (3.0, 1.0, 10.0, 3, "s")


def test_percentiles():
    p50, p99 = latencies("autocommit", [float(value) for value in range(101)])
    assert (p50.value, p99.value) == (50.0, 99.0)
    assert [reading.value for reading in latencies("autocommit", [4.0])] == [4.0, 4.0]


@pytest.mark.parametrize(("seconds", "met"), [(3.0, True), (3.1, False)])
def test_a_target_is_met_or_missed(seconds, met):
    rows = summed_up(
        [
            ("graft", Reading("convoy", "seconds", seconds)),
            ("sqlite-wal-normal", Reading("convoy", "seconds", 2.0)),
        ]
    )
    assert [verdict.met for verdict in judge(rows)] == [met]


def test_two_readers_are_better_the_more_they_do():
    rows = summed_up(
        [
            ("graft", Reading("readers/threads-1", "seconds", 1.0)),
            ("graft", Reading("readers/threads-2", "seconds", 1.25)),
        ]
    )
    (verdict,) = judge(rows)
    assert verdict.measured == pytest.approx(1.6)
    assert verdict.met is False


def test_memory_may_grow_with_the_volume():
    rows = summed_up(
        [
            ("graft", Reading("memory", "live_bytes", 4096 * 1_000_000)),
            ("graft", Reading("memory", "rss_anon_bytes", 79_000_000)),
        ]
    )
    (verdict,) = [verdict for verdict in judge(rows) if "memory" in verdict.target.what]
    assert verdict.limit == 12_000_000 + 64 * 1024 * 1024
    assert verdict.met is True


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0000731, "s", "73.1 µs"),
        (0.0731, "s", "73.10 ms"),
        (7.31, "s", "7.31 s"),
        (67_108_864, "bytes", "67.1 MB"),
    ],
)
def test_quantities(value, unit, text):
    assert quantity(value, unit) == text
