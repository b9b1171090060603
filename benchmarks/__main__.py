"""Benchmarks that anyone can run: ``python -m benchmarks local``. See docs/reference/benchmarks.md."""

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import apsw
from rich.console import Console

from benchmarks import rows as row_format
from benchmarks.local import SCENARIOS
from benchmarks.measure import measure
from benchmarks.plots import can_plot, plot
from benchmarks.report import print_rows, print_verdicts
from benchmarks.sizes import QUICK, Sizes
from benchmarks.systems import Graft
from benchmarks.targets import judge


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the arguments ask for; returns the exit status."""
    options = _parser().parse_args(arguments)
    if options.plot and not can_plot():
        sys.stderr.write("benchmarks: --plot needs matplotlib: pip install --group bench\n")
        return 2
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    scenarios = [SCENARIOS[name] for name in options.only or SCENARIOS]
    with ExitStack() as stack:
        if options.work:
            directory = Path(options.work)
            directory.mkdir(parents=True, exist_ok=True)
        else:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="graft-benchmarks-")))
        console.print(_machine())
        console.print(_read_paths(directory))
        rows = measure(scenarios, directory, QUICK if options.quick else Sizes(), _told)
    print_rows(console, rows)
    print_verdicts(console, judge(rows))
    if options.quick:
        console.print("--quick: sizes are tiny, so that none of these figures says anything about speed.")
    if options.json:
        Path(options.json).write_text(json.dumps(row_format.as_json(rows), indent=1) + "\n")
    if options.plot:
        console.print(f"{len(plot(rows, Path(options.plot)))} pictures are in {options.plot}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    local = commands.add_parser("local", help="this project against plain SQLite on this machine")
    local.add_argument("--json", metavar="FILE", help="write the rows as JSON")
    local.add_argument("--plot", metavar="DIR", help="write a picture for each scenario; needs matplotlib")
    local.add_argument("--only", metavar="SCENARIO", nargs="+", choices=SCENARIOS, help=", ".join(SCENARIOS))
    local.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything runs")
    local.add_argument("--work", metavar="DIR", help="keep databases here between runs; needs about 10 GB")
    return parser


def _machine() -> str:
    return (
        f"Python {platform.python_version()}, SQLite {apsw.sqlite_lib_version()}, apsw {apsw.apsw_version()}, "
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors"
    )


def _read_paths(directory: Path) -> str:
    system = Graft("graft")
    path = directory / "read-path"
    system.create(path)
    found = system.read_path(path)
    if found.startswith("pure"):
        return f"read path of graft: {found}; graft and graft-pure are the same here"
    return f"read path of graft: {found}; of graft-pure: pure"


def _told(what: str) -> None:
    sys.stderr.write(f"benchmarks: {what}\n")


if __name__ == "__main__":
    sys.exit(main())
