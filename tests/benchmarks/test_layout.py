"""The layout benchmark: what it counts is what an import would store, and its model is arithmetic."""

import json

import pytest

from benchmarks.__main__ import main
from benchmarks.layout.model import Cost, InteriorPages


def test_it_runs_and_bears_the_choice_out(tmp_path, capsys):
    assert main(["layout", "--quick", "--json", str(tmp_path / "found.json")]) == 0
    assert "zstd-3 + 64 KiB" in capsys.readouterr().out
    found = json.loads((tmp_path / "found.json").read_text())
    size = {
        (cost["name"], cost["pages_per_frame"]): cost["stored_bytes"] - cost["dictionary_bytes"]
        for cost in found["costs"]
    }
    assert size["zstd-3 + 64 KiB", 16] < size["zstd-3", 64] < size["zstd-3", 16] < size["lz4", 64]
    assert size["zstd-3 + 64 KiB", 4] < 0.9 * size["zstd-3", 4]
    whole = {(way["pages_at_once"], way["strides"]): way["all_bytes"] for way in found["interior"]}
    assert whole[64, True] < 0.6 * whole[64, False]


def test_the_model():
    cost = Cost("x", 16, 1_000_000, 10_000, 0, 1.0, 0.5)
    assert cost.lookup_s(20, 1e6) == pytest.approx(0.020 + 0.080 + 0.005)
    assert cost.scan_s(20, 1e6) == pytest.approx(0.2 + 8 + 0.5)
    assert InteriorPages(64, True, 1, 1000, 1000).open_s(20, 1e6) == pytest.approx(0.028)
    assert InteriorPages(16, True, 4, 1000, 4000).open_s(20, 1e6) == pytest.approx(0.056)
    assert InteriorPages(16, True, 1, 1000, 4000).requests_of_lookups(100) == 0
    assert InteriorPages(16, True, 3, 1000, 4000).requests_of_lookups(1) == pytest.approx(1)
