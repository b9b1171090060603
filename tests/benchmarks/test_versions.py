"""The benchmark of versions runs, and checks what it measures."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_everything(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "versions", "--quick", "--json", tmp_path / "found.json"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())["graft"]
    assert set(found) == {
        "diff", "blame of a row", "history of a row", "branch",
        "merge, disjoint rows", "merge, other columns", "merge, conflicts",
    }  # fmt: skip
    assert all(seconds > 0 for rounds in found.values() for seconds in rounds)
