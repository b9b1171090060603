"""`graft shell`: opens SQLite's shell on a volume."""

import sys

import apsw
import click

from graft_cli.database import database, left_open
from graft_cli.exitcodes import ExitCode
from graft_cli.options import at as at_option
from graft_cli.options import command


@command(
    "shell",
    "graft shell ./airports",
    'echo "SELECT count(*) FROM airports;" | graft shell ./airports',
)
@click.argument("where", metavar="DIR|REMOTE", default=".")
@at_option
@click.pass_context
def shell(ctx: click.Context, where: str, at: str | None) -> None:
    """Open an SQLite shell on a replica DIR (by default the working directory), or to read a REMOTE volume.

    Type .help for help. Ctrl-C stops a statement. Statements from a pipe run until the first error. The exit code is
    then 1, as it is if a transaction with changes is still open at the end: it is rolled back.
    """
    from apsw.shell import Shell  # noqa: PLC0415 - as large as the rest of apsw, and `graft sql` does not need it

    with database(where, at) as connection:
        prompt = Shell(db=connection, stdin=sys.stdin, stdout=sys.stdout, stderr=sys.stderr)
        prompt.bail = not prompt.interactive
        described = "\n".join(str(row[0]) for row in connection.execute("PRAGMA graft_snapshot"))
        failed = lost = False
        try:
            prompt.cmdloop(intro=f'{described}\nEnter ".help" for instructions\n')  # type: ignore[no-untyped-call]
        except (apsw.Error, Shell.Error):
            failed = True  # the shell has printed the error
        finally:
            lost = left_open({connection, prompt.db})
        if failed or (lost and not prompt.interactive):
            ctx.exit(ExitCode.FAILED)
