"""``python -m benchmarks layout``: the table behind the choice of frame size, codec and dictionary."""

import argparse
import dataclasses
import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.layout.measure import Database, costs, ways_down
from benchmarks.layout.model import NETWORKS, Cost, InteriorPages
from testbed.messages import message_database

_SIZE, _QUICK_SIZE = 100_000_000, 6_000_000
_SAMPLE_PAGES, _QUICK_SAMPLE_PAGES = 4096, 256


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--json", metavar="FILE", help="write what was measured as JSON")
    parser.add_argument("--quick", action="store_true", help="a small database, to see that everything runs")
    parser.add_argument("--work", metavar="DIR", help="keep the database here between runs; needs 100 MB")
    parser.add_argument("--database", metavar="FILE", help="measure this SQLite file, with pages of 4 KiB, instead")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure and print; returns the exit status."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 170)
    with ExitStack() as stack:
        directory = Path(options.work or stack.enter_context(tempfile.TemporaryDirectory(prefix="graft-benchmarks-")))
        directory.mkdir(parents=True, exist_ok=True)
        size = _QUICK_SIZE if options.quick else _SIZE
        path = Path(options.database) if options.database else message_database(directory, size)
        database = Database(path)
        sample = _QUICK_SAMPLE_PAGES if options.quick else _SAMPLE_PAGES
        found = list(costs(database, sample, lambda what: print(f"benchmarks: {what}", file=sys.stderr)))
        down = list(ways_down(database))
    console.print(_costs_table(found))
    console.print(_interior_table(down))
    if options.json:
        document = {
            "costs": [dataclasses.asdict(cost) for cost in found],
            "interior": [dataclasses.asdict(way) for way in down],
        }
        Path(options.json).write_text(json.dumps(document, indent=1) + "\n")
    return 0


def _costs_table(found: Sequence[Cost]) -> Table:
    table = Table(title="Leaves: bytes counted, processor time measured, a lookup and a scan by the model, in ms")
    for title in ("codec", "pages", "MB", "KB a frame", "in, s", "out, s"):
        table.add_column(title, justify="right")
    for latency_ms, bits in NETWORKS:
        table.add_column(f"{latency_ms} ms, {bits / 1e6:.0f} Mbit/s", justify="right")
    previous = ""
    for cost in found:
        if previous and cost.name != previous:
            table.add_section()
        previous = cost.name
        table.add_row(
            cost.name, str(cost.pages_per_frame), f"{cost.stored_bytes / 1e6:.2f}", f"{cost.frame_bytes / 1e3:.1f}",
            f"{cost.encode_s:.2f}", f"{cost.decode_s:.2f}",
            *(f"{1000 * cost.lookup_s(*to):.1f} / {1000 * cost.scan_s(*to):.0f}" for to in NETWORKS),
        )  # fmt: skip
    return table


def _interior_table(found: Sequence[InteriorPages]) -> Table:
    table = Table(title="Interior pages by frame size; modelled time to a first row, in ms")
    for title in ("pages", "differences", "frames", "KB, first", "KB, all", "requests of 100 lookups"):
        table.add_column(title, justify="right")
    for latency_ms, bits in NETWORKS:
        table.add_column(f"{latency_ms} ms, {bits / 1e6:.0f} Mbit/s", justify="right")
    for way in found:
        table.add_row(
            str(way.pages_at_once), "yes" if way.strides else "", str(way.frames),
            f"{way.first_frame_bytes / 1e3:.1f}", f"{way.all_bytes / 1e3:.1f}", f"{way.requests_of_lookups(100):.1f}",
            *(f"{1000 * way.open_s(*to):.1f}" for to in NETWORKS),
        )  # fmt: skip
    return table
