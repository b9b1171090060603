"""Benchmarks that anyone can run: ``python -m benchmarks local``, ``… remote`` and ``… sqlsync``.

See docs/reference/benchmarks.md.
"""

import argparse
import dataclasses
import json
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import apsw
from rich.console import Console

from benchmarks import rows as row_format
from benchmarks.layout import command as layout
from benchmarks.local import sizes, targets
from benchmarks.local.suite import SCENARIOS
from benchmarks.local.systems import SYSTEMS, Graft
from benchmarks.measure import Measured, Suite, measure
from benchmarks.plots import can_plot, plot
from benchmarks.remote import sizes as remote_sizes
from benchmarks.remote import suite as remote
from benchmarks.remote import targets as remote_targets
from benchmarks.remote.systems import CLIENTS
from benchmarks.report import print_remote_rows, print_rows, print_verdicts
from benchmarks.rows import Row
from benchmarks.scale import command as scale
from benchmarks.sync import sizes as sync_sizes
from benchmarks.sync import suite as sync
from benchmarks.sync import systems as sync_systems
from benchmarks.sync import targets as sync_targets
from benchmarks.targets import Verdict
from benchmarks.versions import command as versions

Judge = Callable[[Sequence[Row]], Sequence[Verdict]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the arguments ask for; returns the exit status."""
    options = _parser().parse_args(arguments)
    if "run" in options:
        status: int = options.run(options)
        return status
    if options.plot and not can_plot():
        sys.stderr.write("benchmarks: --plot needs matplotlib: pip install --group bench (pip 25.1 or newer)\n")
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are ended too
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 170)
    with ExitStack() as stack:
        if options.work:
            directory = Path(options.work)
            directory.mkdir(parents=True, exist_ok=True)
        else:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="graft-benchmarks-")))
        console.print(_machine())
        console.print(_read_paths(directory))
        prepare: Callable[[argparse.Namespace, Path, ExitStack], _Prepared] = options.prepare
        prepared = prepare(options, directory, stack)
        chosen = [prepared.scenarios[name] for name in options.only or prepared.scenarios]
        rows: list[Row] = []
        for found in measure(chosen, directory, prepared.suite, _report):
            rows += found
            if options.json:  # at once, since a run is long and may be cut short
                Path(options.json).write_text(json.dumps(row_format.as_json(rows), indent=1) + "\n")
    prepared.print_rows(console, rows)
    print_verdicts(console, prepared.judge(rows))
    if options.quick:
        console.print("--quick: sizes are tiny, so these figures say nothing about speed.")
    if options.plot:
        console.print(f"{len(plot(rows, Path(options.plot)))} pictures are in {options.plot}")
    return 0


@dataclasses.dataclass(frozen=True, slots=True)
class _Prepared:
    scenarios: Mapping[str, Measured]
    suite: Suite
    judge: Judge
    print_rows: Callable[[Console, Sequence[Row]], None]


def _local(options: argparse.Namespace, _directory: Path, _stack: ExitStack) -> _Prepared:
    chosen = sizes.QUICK if options.quick else sizes.Sizes()
    suite = Suite("benchmarks.local.worker", SYSTEMS, chosen.rounds, sizes.as_json(chosen))
    return _Prepared(SCENARIOS, suite, targets.judge, print_rows)


def _remote(options: argparse.Namespace, directory: Path, stack: ExitStack) -> _Prepared:
    chosen = remote_sizes.QUICK if options.quick else remote_sizes.RemoteSizes()
    if options.latency_ms is not None:
        chosen = dataclasses.replace(chosen, latency_ms=options.latency_ms)
    proxy = stack.enter_context(remote.slow_server(directory))
    suite = Suite(
        "benchmarks.remote.worker",
        CLIENTS,
        chosen.rounds,
        dataclasses.asdict(chosen),
        facts={"control_port": proxy.control_port},
        environment=remote.environment(proxy),
        watches_memory=False,
    )
    return _Prepared(remote.SCENARIOS, suite, remote_targets.judge, print_remote_rows)


def _sqlsync(options: argparse.Namespace, _directory: Path, _stack: ExitStack) -> _Prepared:
    chosen = sync_sizes.QUICK if options.quick else sync_sizes.SyncSizes()
    suite = Suite(
        "benchmarks.sync.worker",
        sync_systems.SYSTEMS,
        chosen.rounds,
        dataclasses.asdict(chosen),
        watches_memory=False,
    )
    return _Prepared(sync.SCENARIOS, suite, sync_targets.judge, partial(print_rows, baseline="python"))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    local = commands.add_parser("local", help="this project against plain SQLite on this machine")
    local.set_defaults(prepare=_local)
    distant = commands.add_parser("remote", help="this project against a bucket behind a slow network")
    distant.set_defaults(prepare=_remote)
    distant.add_argument("--latency-ms", metavar="MS", type=float, help="latency of each request; 20 by default")
    documents = commands.add_parser("sqlsync", help="documents: mutations, coordinator, rebase")
    documents.set_defaults(prepare=_sqlsync)
    for command, scenarios, needs in (
        (local, tuple(SCENARIOS), "about 10 GB"),
        (distant, tuple(remote.SCENARIOS), "about 2 GB"),
        (documents, tuple(sync.SCENARIOS), "about 1 GB"),
    ):
        command.add_argument("--json", metavar="FILE", help="write the rows as JSON")
        command.add_argument("--plot", metavar="DIR", help="write a picture for each scenario; needs matplotlib")
        command.add_argument("--only", metavar="SCENARIO", nargs="+", choices=scenarios, help=", ".join(scenarios))
        command.add_argument("--quick", action="store_true", help="tiny sizes, only to check that everything runs")
        command.add_argument(
            "--work", metavar="DIR", help=f"store databases here and reuse them in later runs; needs {needs}"
        )
    layout.add_arguments(commands.add_parser("layout", help="codecs, dictionaries and frame sizes"))
    scale.add_arguments(commands.add_parser("scale", help="the log's metadata alone, to ten million commits"))
    versions.add_arguments(commands.add_parser("versions", help="diff, merge and history of rows"))
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


def _report(what: str) -> None:
    sys.stderr.write(f"benchmarks: {what}\n")


if __name__ == "__main__":
    sys.exit(main())
