"""``python -m benchmarks versions``: diff, merge and history of rows, beside DoltLite if that is installed."""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from rich.table import Table

_ROWS, _CHANGED, _ROUNDS = 1_000_000, 1000, 5
_QUICK = 5000, 50, 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--json", metavar="FILE", help="write the seconds of each round as JSON")
    parser.add_argument("--quick", action="store_true", help="few rows, to see that everything runs")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure and print; returns the exit status."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 170)
    rows, changed, rounds = _QUICK if options.quick else (_ROWS, _CHANGED, _ROUNDS)
    found = {"graft": _measured("graft", rows, changed, rounds)}
    if find_spec("doltlite") is not None:
        found["doltlite"] = _measured("doltlite", rows, changed, rounds)
    else:
        console.print("doltlite is not installed (pip install doltlite): measured alone")
    table = Table(title=f"{rows:,} rows, {changed:,} changed; medians of {rounds} rounds in ms")
    table.add_column("operation")
    for system in found:
        table.add_column(system, justify="right")
    if len(found) > 1:
        table.add_column("graft ÷ doltlite", justify="right")
    for name, seconds in found["graft"].items():
        medians = [statistics.median(seconds)]
        if name in found.get("doltlite", {}):
            medians.append(statistics.median(found["doltlite"][name]))
        ratio = [f"{medians[0] / medians[1]:.2f}"] if len(medians) > 1 else []
        table.add_row(name, *(f"{1000 * median:.1f}" for median in medians), *ratio)
    console.print(table)
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=1) + "\n")
    return 0


def _measured(system: str, rows: int, changed: int, rounds: int) -> dict[str, list[float]]:
    with tempfile.TemporaryDirectory(prefix="graft-benchmarks-") as directory:
        worker = ["-m", f"benchmarks.versions.{system}_worker", directory, *map(str, (rows, changed, rounds))]
        done = subprocess.run(
            [sys.executable, *worker],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"benchmarks: {system} failed: {done.stderr.strip()[-2000:]}")
    measured: dict[str, list[float]] = json.loads(done.stdout)
    return measured
