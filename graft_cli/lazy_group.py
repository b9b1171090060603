"""A group of commands that are imported only when they run.

`graft --help` lists the commands from a table, because importing them all would import numpy, pydantic and SQLite. A
test compares the table with the commands.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import click
from click.shell_completion import CompletionItem


@dataclass(frozen=True, slots=True)
class LazyCommand:
    """A command that is not imported yet."""

    name: str
    target: str
    """``module:attribute``."""
    short_help: str

    def load(self) -> click.Command:
        """Import the command."""
        module, _, attribute = self.target.partition(":")
        command = getattr(import_module(f"graft_cli.commands.{module}"), attribute)
        assert isinstance(command, click.Command), f"BUG: {self.target} is not a command"
        return command


@dataclass(frozen=True, slots=True)
class Section:
    """Commands that are listed under one heading."""

    title: str
    commands: tuple[LazyCommand, ...]


class LazyGroup(click.Group):
    """A `click.Group` over sections of lazy commands."""

    def __init__(
        self,
        *args: Any,
        sections: Sequence[Section] = (),
        examples: Sequence[str] = (),
        instead: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        """List the commands of ``sections`` in order, then ``examples``; other arguments are click's.

        ``instead`` maps command names of other tools to a hint about what to use.
        """
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)
        self.sections = tuple(sections)
        self.instead = instead or {}
        self._lazy = {command.name: command for section in sections for command in section.commands}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names."""
        return [*self._lazy, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command of this name, if there is one."""
        lazy = self._lazy.get(cmd_name)
        return lazy.load() if lazy else super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or suggest those that the user may have meant."""
        name = args[0]
        if name in self._lazy or name.startswith("-"):
            return super().resolve_command(ctx, args)
        raise click.UsageError(f"no such command: {name!r}{self._hint(name)}", ctx)

    def _hint(self, name: str) -> str:
        from difflib import get_close_matches  # noqa: PLC0415 - needed only after a mistyped command

        if (instead := self.instead.get(name.lower())) is not None:
            return f"; {instead}"
        close = get_close_matches(name.lower(), [*self._lazy, *self.instead])
        if close and close[0] not in self._lazy:
            return f"; if you mean {close[0]}: {self.instead[close[0]]}"
        ours = [found for found in close if found in self._lazy]
        return f"; did you mean {' or '.join(ours)}?" if ours else ""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """List the commands by section."""
        width = max((len(name) for name in self._lazy), default=0)
        for section in self.sections:
            with formatter.section(section.title):
                formatter.write_dl([(command.name.ljust(width), command.short_help) for command in section.commands])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Append the examples."""
        write_examples(formatter, self.examples)
        super().format_epilog(ctx, formatter)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete a command's name without importing any command."""
        return [*self._matching(incomplete), *click.Command.shell_complete(self, ctx, incomplete)]

    def _matching(self, incomplete: str) -> Iterator[CompletionItem]:
        for command in self._lazy.values():
            if command.name.startswith(incomplete):
                yield CompletionItem(command.name, help=command.short_help)


def write_examples(formatter: click.HelpFormatter, examples: Sequence[str]) -> None:
    """Append examples to a help page, without wrapping long lines."""
    with formatter.section("Example" if len(examples) == 1 else "Examples"):
        for example in examples:
            formatter.write(f"{'':>{formatter.current_indent}}{example}\n")
