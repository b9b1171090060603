"""``python -m benchmarks scale``: simulate, compute, and write docs/scale.md from that."""

import argparse
import json
import sys
from pathlib import Path

from benchmarks.scale.document import document
from benchmarks.scale.figures import LENGTHS, VOLUMES, LogFigures, as_json, figures

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "scale.md"
FIGURES = ROOT / "docs" / "scale.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.add_argument(
        "--commits", type=int, default=LENGTHS[-1], metavar="COUNT", help="length of the simulated logs"
    )
    parser.add_argument("--only", nargs="+", choices=VOLUMES, metavar="VOLUME", help=", ".join(VOLUMES))
    parser.add_argument("--json", metavar="FILE", help="write the simulated figures as JSON")
    parser.add_argument("--write", action="store_true", help="write docs/scale.json and docs/scale.md")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Do what the arguments ask for; returns the exit status."""
    rows = []
    for row in figures(options.commits, options.only or tuple(VOLUMES)):
        sys.stderr.write(f"benchmarks: {row.volume}, {row.commits:,} commits\n")
        rows.append(row)
    text = json.dumps(as_json(rows), indent=1) + "\n"
    if options.json:
        Path(options.json).write_text(text)
    if options.write:
        FIGURES.write_text(text)
    rendered = document(DOCUMENT.read_text(), stored() if options.write else rows)
    if options.write:
        DOCUMENT.write_text(rendered)
    else:
        sys.stdout.write(rendered)
    return 0


def stored() -> list[LogFigures]:
    """Return the figures that docs/scale.md was written from."""
    return [LogFigures(**row) for row in json.loads(FIGURES.read_text())]
