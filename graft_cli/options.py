"""Arguments and options shared by commands, and the decorator that turns a function into a command."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from graft_cli.lazy_group import write_examples
from graft_cli.root import TRACEBACK

Function = TypeVar("Function", bound=Callable[..., Any])


def show_traceback(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    """Record that the user wants the traceback of an error."""
    if value:
        ctx.meta[TRACEBACK] = True


class Command(click.Command):
    """A command whose help ends with examples."""

    examples: tuple[str, ...] = ()

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse empty values, which would otherwise mean the working directory or no value."""
        empty = None if ctx.resilient_parsing else self._empty_one(ctx, args)
        rest = super().parse_args(ctx, args)
        if empty is not None:
            raise click.BadParameter("it must not be empty", ctx, empty)
        return rest

    def _empty_one(self, ctx: click.Context, args: list[str]) -> click.Parameter | None:
        values, _, _ = self.make_parser(ctx).parse_args(list(args))
        for parameter in self.params:
            if parameter.envvar is not None:
                continue  # the command checks both the option and the variable for empty values
            given = values.get(parameter.name or "")
            if given == "" or (isinstance(given, list | tuple) and "" in given):
                return parameter
        return None

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Append the examples."""
        write_examples(formatter, self.examples)
        super().format_epilog(ctx, formatter)


def command(name: str, *examples: str) -> Callable[[Callable[..., None]], Command]:
    """Return a decorator that turns a function into a command, which also takes `--traceback`."""

    def decorate(function: Callable[..., None]) -> Command:
        option = click.option(
            "--traceback", is_flag=True, hidden=True, expose_value=False, is_eager=True, callback=show_traceback
        )
        made = click.command(name, cls=Command)(option(function))
        made.examples = examples
        return made

    return decorate


class ReplicaPath(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic in click 8.5 alone
    """The path of an existing or new replica; not the address of a remote."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path."""
        from pagestore.mistyped import looks_like_url  # noqa: PLC0415 - `graft --help` does not need this package

        if isinstance(value, str) and looks_like_url(value):
            self.fail("expected a local directory, and this looks like the address of a remote", param, ctx)
        return Path(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002 - click's
        """Let the shell complete directories."""
        return [CompletionItem(incomplete, type="dir")]


def directory(function: Function) -> Function:
    """Add the argument ``[DIR]``: a replica, by default the working directory."""
    return click.argument("directory", metavar="[DIR]", default=".", type=ReplicaPath())(function)


def split_directory(words: Sequence[str]) -> tuple[Path, list[str]]:
    """Return the replica among arguments, the first or the last one, and the other arguments.

    By default the working directory. What has a slash is meant as a directory, also where there is no replica.
    """
    from graft.replica.directory import is_replica  # noqa: PLC0415 - `graft --help` does without this package

    found = list(words)
    ends = (0, -1) if found else ()
    tests: tuple[Callable[[str], bool], ...] = (lambda word: "/" in word or word in {".", ".."}, is_replica)
    for looks_like_one in tests:  # a branch may be called like a directory: what has a slash is none
        for end in ends:
            if looks_like_one(found[end]):
                where = found.pop(end)
                return ReplicaPath().convert(where, None, None), found
    return Path(), found


def at(function: Function) -> Function:
    """Add ``--at``: an old version."""
    option = click.option(
        "--at",
        metavar="VERSION",
        help="Use an old version: an LSN, an ISO 8601 time (UTC unless it has an offset), a tag, a branch, or "
        "BRANCH@VERSION.",
    )
    return option(function)


def conflict_policy(function: Function) -> Function:
    """Add ``--conflicts``: who wins where both sides of a merge changed a row."""
    option = click.option(
        "--conflicts",
        type=click.Choice(("fail", "ours", "theirs", "record")),
        default="fail",
        show_default=True,
        help="In a merge: what to do with rows that both sides changed. record takes theirs and lists the conflict for "
        "graft conflicts.",
    )
    return option(function)


def as_json(function: Function) -> Function:
    """Add ``--json``: one JSON document on stdout."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(function)


def as_json_lines(function: Function) -> Function:
    """Add ``--json`` to a command with rows: one JSON object per line."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")(function)
