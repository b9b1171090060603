"""One picture per scenario; needs matplotlib (`pip install --group bench`, with pip 25.1 or newer)."""

import importlib
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.rows import Row

_PICTURED = ("p50", "seconds")


def can_plot() -> bool:
    """Return whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def plot(rows: Sequence[Row], directory: Path) -> list[Path]:
    """Write a bar chart of the durations of each scenario, with whiskers from the smallest to the largest run."""
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("svg")
    pyplot = importlib.import_module("matplotlib.pyplot")
    directory.mkdir(parents=True, exist_ok=True)
    return [
        _picture(pyplot, name, [row for row in rows if row.scenario == name and row.metric in _PICTURED], directory)
        for name in _pictured(rows)
    ]


def _pictured(rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(row.scenario for row in rows if row.metric in _PICTURED))


def _picture(pyplot: Any, name: str, rows: Sequence[Row], directory: Path) -> Path:
    figure, axes = pyplot.subplots(figsize=(7, 0.6 + 0.45 * len(rows)))
    labels = [f"{row.system} ({row.metric})" if row.metric != "seconds" else row.system for row in rows]
    medians = [row.median * 1000 for row in rows]
    below = [(row.median - row.min) * 1000 for row in rows]
    above = [(row.max - row.median) * 1000 for row in rows]
    axes.barh(labels, medians, xerr=[below, above], capsize=3)
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds")
    axes.set_title(name)
    path = directory / f"{name.replace('/', '-')}.svg"
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
    return path
