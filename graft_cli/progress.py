"""Progress on stderr, if somebody is watching there."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager as Context
from contextlib import contextmanager, nullcontext
from typing import TypeAlias

Report: TypeAlias = Callable[[int, int], None]
"""Called with what is done and what there is in all."""


def progress(doing: str, *, of_bytes: bool = False, quiet: bool = False) -> Context[Report | None]:
    """Show a bar for a block, which reports to what it gets; None when nobody is watching."""
    return _bar(doing, of_bytes=of_bytes) if _watched(quiet) else nullcontext()


def working(doing: str, *, quiet: bool = False) -> Context[object]:
    """Show that a block is at work."""
    return _spinner(doing) if _watched(quiet) else nullcontext()


def _watched(quiet: bool) -> bool:
    return not quiet and sys.stderr.isatty()


@contextmanager
def _bar(doing: str, *, of_bytes: bool) -> Iterator[Report]:
    from rich import progress as rich_progress  # noqa: PLC0415 - costs more than most commands, and few are watched
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
