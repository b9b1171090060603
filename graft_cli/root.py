"""Runs a command line, and ends it with a message on stderr and an exit code after any error."""

import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import click

from graft_cli.exitcodes import ExitCode
from graft_cli.interrupts import Interrupted
from graft_cli.lazy_group import LazyGroup

TRACEBACK = "graft_cli.traceback"
"""Key in a context's metadata: whether to show an error's traceback."""


class RootGroup(LazyGroup):
    """The `graft` command itself."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; any exception becomes a one-line message and an exit code."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()  # here a broken pipe can still be handled
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:
            _drop_output()
            ctx.exit(ExitCode.BROKEN_PIPE)
        except Interrupted as interrupt:
            complain(str(interrupt))
            ctx.exit(ExitCode.INTERRUPTED)
        except KeyboardInterrupt:
            complain("interrupted")
            ctx.exit(ExitCode.INTERRUPTED)
        except Exception as error:  # noqa: BLE001 - the outermost handler
            ctx.exit(_failed(error, show_traceback=ctx.meta.get(TRACEBACK, False)))
        return result

    def main(  # type: ignore[override]  # click has overloads for standalone_mode, which is fixed here
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        """Run a command line and exit, with one message format for click's errors and graft's."""
        extra["standalone_mode"] = False
        try:
            code = super().main(args, prog_name, **extra)
        except click.UsageError as error:
            command = error.ctx.command_path if error.ctx else "graft"
            complain(f"{_lower_first(error.format_message()).rstrip('.')} (see `{command} --help`)")
            code = ExitCode.USAGE
        except click.ClickException as error:
            complain(_lower_first(error.format_message()))
            code = error.exit_code
        except click.Abort:
            complain("interrupted")
            code = ExitCode.INTERRUPTED
        with _quiet_about_broken_pipes():
            sys.stdout.flush()
        sys.exit(int(code or ExitCode.OK))


def complain(message: str) -> None:
    """Print a one-line message on stderr."""
    click.echo(f"graft: {message}", err=True)


def _failed(error: Exception, *, show_traceback: bool) -> ExitCode:
    from graft_cli.errors import exit_code, sentence  # noqa: PLC0415 - imports packages that `graft --help` must not load

    if show_traceback:
        _show_all_causes(error)
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    complain(sentence(error))
    return exit_code(error)


def _show_all_causes(error: BaseException) -> None:
    """Make a traceback include exceptions that were suppressed with ``from None``."""
    seen: set[int] = set()
    above: BaseException | None = error
    while above is not None and id(above) not in seen:
        seen.add(id(above))
        above.__suppress_context__ = above.__cause__ is not None
        above = above.__cause__ or above.__context__


def _lower_first(message: str) -> str:
    return message[:1].lower() + message[1:] if message[1:2].islower() else message


def _drop_output() -> None:
    """Redirect stdout to nowhere, so that the interpreter's last flush does not fail too."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):
        return  # not a file, but a test's buffer
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


@contextmanager
def _quiet_about_broken_pipes() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        _drop_output()
