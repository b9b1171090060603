"""Shows progress on stderr, if that is a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager as Context
from contextlib import contextmanager, nullcontext
from typing import TypeAlias

Report: TypeAlias = Callable[[int, int], None]
"""Called with the amount done and the total."""


def progress(doing: str, *, of_bytes: bool = False, quiet: bool = False) -> Context[Report | None]:
    """Show a progress bar during a block; yields the function to report to, None if stderr is not a terminal."""
    return _bar(doing, of_bytes=of_bytes) if _watched(quiet) else nullcontext()


def working(doing: str, *, quiet: bool = False) -> Context[object]:
    """Show a spinner during a block."""
    return _spinner(doing) if _watched(quiet) else nullcontext()


def _watched(quiet: bool) -> bool:
    return not quiet and sys.stderr.isatty()


@contextmanager
def _bar(doing: str, *, of_bytes: bool) -> Iterator[Report]:
    from rich import progress as rich_progress  # noqa: PLC0415 - a slow import that most runs do not need
    from rich.console import Console  # noqa: PLC0415

    amount = rich_progress.DownloadColumn(binary_units=True) if of_bytes else rich_progress.MofNCompleteColumn()
    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        amount,
        rich_progress.TimeRemainingColumn(),
    )
    with rich_progress.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(doing, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def _spinner(doing: str) -> Iterator[None]:
    from rich.console import Console  # noqa: PLC0415 - as above

    with Console(stderr=True).status(doing):
        yield
