"""Arguments and options that several commands have, and the decorator that makes a command."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from graft_cli.lazy_group import write_examples
from graft_cli.root import TRACEBACK

Function = TypeVar("Function", bound=Callable[..., Any])


def show_traceback(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    """Remember that the user wants to see where an error comes from."""
    if value:
        ctx.meta[TRACEBACK] = True


class Command(click.Command):
    """A command whose help ends with examples."""

    examples: tuple[str, ...] = ()

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        write_examples(formatter, self.examples)
        super().format_epilog(ctx, formatter)


def command(name: str, *examples: str) -> Callable[[Callable[..., None]], Command]:
    """Make a function a command that takes `--traceback` too, as the whole of graft does."""

    def decorate(function: Callable[..., None]) -> Command:
        option = click.option(
            "--traceback", is_flag=True, hidden=True, expose_value=False, is_eager=True, callback=show_traceback
        )
        made = click.command(name, cls=Command)(option(function))
        made.examples = examples
        return made

    return decorate


def directory(function: Function) -> Function:
    """Add the argument ``[DIR]``: a replica, by default the working directory."""
    argument = click.argument("directory", metavar="[DIR]", default=".", type=click.Path(path_type=Path))
    return argument(function)


def at(function: Function) -> Function:
    """Add ``--at``: a version of the past."""
    option = click.option(
        "--at",
        metavar="LSN|TIME",
        help="Use the version at this LSN, or the newest one at this ISO 8601 time (UTC unless it names an offset).",
    )
    return option(function)


def as_json(function: Function) -> Function:
    """Add ``--json``: one JSON document on stdout."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(function)


def as_json_lines(function: Function) -> Function:
    """Add ``--json`` to a command with rows: one JSON document per line."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")(function)
